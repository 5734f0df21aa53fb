"""Public keys whose private half is known to others, or can be computed: on a list, or weak by its numbers.

Two sources, each by setting: a file in the format of badkeys' blocklist.dat, and the computations of the package
badkeys (Fermat, ROCA, shared prime factors, small factors, Wiener and the like), which need no network.

Diagnostics: what cannot be used is told in `fault`, and the rest works without it; whoever starts the daemon refuses.
Limits: the answers for the last 4,096 keys are remembered. A computation takes below a millisecond up to 4096 bits, a
search in the file about 25 steps; the file is mapped and not read.
Security: the numbers come from DNS. badkeys' own blocklist functions end the process where their file is missing:
they are never called.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import mmap
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RECORD = 16  # octets: 15 of the SHA-256 of the modulus or key, and the number of the list it comes from
_HASH = RECORD - 1
_COMPUTATIONS = ("fermat", "roca", "rsainvalid", "rsapoly", "sharedprimes", "smalld", "smallfactors")


class CompromisedKeys:
    """What is known of keys; shared by all threads."""

    def __init__(self, blocklist: str = "", weak: bool = False) -> None:
        """`blocklist`: path of the file, "" for none. `weak`: whether badkeys computes."""
        self.faults: list[str] = []
        self._list = self._open(Path(blocklist)) if blocklist else None
        self._badkeys: Any = None
        if weak:
            try:
                self._badkeys = importlib.import_module("badkeys.checks")
            except ImportError:
                self.faults.append("check_weak_keys needs a package: pip install 'gatepost[badkeys]'")
        self._known = functools.lru_cache(maxsize=4096)(self._find)

    def _open(self, path: Path) -> mmap.mmap | None:
        try:
            with path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size or os.fstat(file.fileno()).st_size % RECORD:
                    self.faults.append(
                        f"blocklist: {path} is no list of {RECORD}-byte records (badkeys' blocklist.dat)"
                    )
                    return None
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as fault:
            self.faults.append(f"blocklist: {path}: {getattr(fault, 'strerror', None) or fault}")
            return None

    def reason(self, public: RSAPublicKey | Ed25519PublicKey) -> str:
        """Why this key proves nothing, "" if nothing speaks against it."""
        if isinstance(public, Ed25519PublicKey):
            return self._known(int.from_bytes(public.public_bytes_raw(), "big"), 0)
        numbers = public.public_numbers()
        return self._known(numbers.n, numbers.e)

    def _find(self, number: int, exponent: int) -> str:
        """`exponent`: 0 for an Ed25519 key."""
        if self._list is not None and self._listed(number):
            return "the private key is publicly known"
        if self._badkeys is None or not exponent:
            return ""
        try:
            found = self._badkeys.checkrsa(number, exponent, checks=_COMPUTATIONS)
        except (ArithmeticError, ValueError):  # a number that nobody thought of
            return ""
        return f"the private key can be computed ({', '.join(found)})" if found else ""

    def _listed(self, number: int) -> bool:
        data = self._list
        assert data is not None
        wanted = hashlib.sha256(number.to_bytes((number.bit_length() + 7) // 8, "big")).digest()[:_HASH]
        low, high = 0, len(data) // RECORD
        while low < high:
            middle = (low + high) // 2
            here = data[middle * RECORD : middle * RECORD + _HASH]
            if here == wanted:
                return True
            if here < wanted:
                low = middle + 1
            else:
                high = middle
        return False
