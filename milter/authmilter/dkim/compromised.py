"""Public keys whose private half is known to others, or can be computed: on a list, or weak by its numbers.

Two sources, each by setting: a file in the format of badkeys' blocklist.dat, and the computations of the package
badkeys (Fermat, ROCA, shared prime factors, small factors, Wiener and the like), which need no network.

Diagnostics: what cannot be used is told in `fault`, and the rest works without it; whoever starts the daemon refuses.
Limits: the answers for the last 4,096 keys are remembered. A computation takes below a millisecond up to 4096 bits, a
search in the file about 25 reads of one record.
Security: the numbers come from DNS. badkeys' own blocklist functions end the process where their file is missing:
they are never called.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import importlib
import os
import stat
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RECORD = 16  # octets: 15 of the SHA-256 of the modulus or key, and the number of the list it comes from
_HASH = RECORD - 1
_SAMPLES = 1_000  # records that are looked at when the file is opened
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

    def _open(self, path: Path) -> _Blocklist | None:
        try:
            return _Blocklist(path)
        except OSError as fault:
            self.faults.append(f"blocklist: {path}: {fault.strerror}")
        except ValueError as fault:
            self.faults.append(f"blocklist: {path}: {fault}")
        return None

    def reason(self, public: RSAPublicKey | Ed25519PublicKey) -> str:
        """Why this key proves nothing, "" if nothing speaks against it."""
        if isinstance(public, Ed25519PublicKey):
            return self._known(int.from_bytes(public.public_bytes_raw(), "big"), 0)
        numbers = public.public_numbers()
        return self._known(numbers.n, numbers.e)

    def _find(self, number: int, exponent: int) -> str:
        """`exponent`: 0 for an Ed25519 key."""
        if self._list is not None and number in self._list:
            return "the private key is publicly known"
        if self._badkeys is None or not exponent:
            return ""
        try:
            found = self._badkeys.checkrsa(number, exponent, checks=_COMPUTATIONS)
        except (ArithmeticError, ValueError):  # a number that nobody thought of
            return ""
        return f"the private key can be computed ({', '.join(found)})" if found else ""


class _Blocklist:
    """The sorted records of the file. They are read as they are needed: a file that is cut short while it is in use
    makes a search end early, where a mapped one would end the process.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, or ValueError if this is no such file."""
        # O_NONBLOCK: a FIFO there must not stop the daemon
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self._descriptor)
        self._records = found.st_size // RECORD
        if not stat.S_ISREG(found.st_mode) or not self._records or found.st_size % RECORD or not self._is_sorted():
            raise ValueError(f"is no list of {RECORD}-byte records in order (badkeys' blocklist.dat)")

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def _is_sorted(self) -> bool:
        step = max(self._records // _SAMPLES, 1)
        sample = [self._hash(place) for place in range(0, self._records, step)]
        return sample == sorted(sample)

    def _hash(self, place: int) -> bytes:
        return os.pread(self._descriptor, _HASH, place * RECORD)

    def __contains__(self, number: int) -> bool:
        wanted = hashlib.sha256(number.to_bytes((number.bit_length() + 7) // 8, "big")).digest()[:_HASH]
        place = bisect.bisect_left(range(self._records), wanted, key=self._hash)
        return place < self._records and self._hash(place) == wanted
