"""Key records: what a domain publishes at `<s>._domainkey.<d>` (RFC 6376 §3.6.1, RFC 8301, RFC 8463).

Takes the text of one TXT record, strings joined (RFC 6376 §3.6.2.2), gives a `Key`. Pure: the last ones are remembered.

Diagnostics: a record that cannot be used has a `defect`: permerror, or policy for an RSA key out of all proportion.
Limits: 8,192 octets per record; RSA moduli of 17,000 bits, exponents of 64 bits (RFC 6376 §8.13); 1,024 keys are
remembered.
Security: the record is hostile; it may be any text that somebody publishes under a wildcard.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from authmilter.dkim import taglist
from authmilter.dkim.signature import Defect
from authmilter.facts import DkimResult

MAX_RECORD = 8_192  # octets; an 8192-bit key takes 1,400
MAX_DER = 2_200  # octets; a modulus of 16,384 bits takes 2,048
MAX_EXPONENT_BITS = 64

_PADDING = PKCS1v15()
_DIGEST = Prehashed(SHA256())


@dataclass(frozen=True, slots=True)
class Key:
    """One key record."""

    defect: Defect | None
    malformed: bool = False  # not a key record at all: passed over if there is another (RFC 6376 §6.1.2)
    kind: str = ""  # k=: "rsa" or "ed25519"
    public: RSAPublicKey | Ed25519PublicKey | None = None  # there if there is no defect
    bits: int = 0  # of the RSA modulus; 256 for Ed25519
    testing: bool = False  # t=y
    strict: bool = False  # t=s: the domain of i= must be d= itself

    def verify(self, signature: bytes, digest: bytes) -> bool:
        """Say whether `signature` was made with the private half of this key over `digest`, a SHA-256."""
        try:
            # the classes of `public` are abstract: asking isinstance() costs a tenth of the verification
            if self.public is None:
                return False
            if self.kind == "rsa":
                cast(RSAPublicKey, self.public).verify(signature, digest, _PADDING, _DIGEST)  # RFC 6376 §3.3.2
            else:
                cast(Ed25519PublicKey, self.public).verify(signature, digest)  # RFC 8463 §3: over the SHA-256
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            return False
        return True


def _malformed(reason: str) -> Key:
    return Key(Defect(DkimResult.PERMERROR, reason), malformed=True)


def _unusable(reason: str) -> Defect:
    return Defect(DkimResult.PERMERROR, reason)


def _load(kind: str, octets: bytes) -> tuple[RSAPublicKey | Ed25519PublicKey | None, int]:
    """Give the key in p= and its size in bits, or None and 0."""
    try:
        if kind == "ed25519":  # RFC 8463 §4: the 32 octets themselves, no SubjectPublicKeyInfo
            return Ed25519PublicKey.from_public_bytes(octets), 256
        # RFC 6376 §3.6.1 and erratum 3017: RSAPublicKey by the text, SubjectPublicKeyInfo in practice; both are taken
        loaded = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        return None, 0
    return (loaded, loaded.key_size) if isinstance(loaded, RSAPublicKey) else (None, 0)


def _words(tags: dict[bytes, bytes], tag: bytes) -> list[bytes] | None:
    return taglist.items(tags[tag].lower()) if tag in tags else None


@functools.lru_cache(maxsize=1024)
def parse(record: bytes) -> Key:
    """Read the text of one TXT record."""
    tags = taglist.parse(record) if len(record) <= MAX_RECORD else None
    if tags is None:
        return _malformed("the record is not a key record")
    # RFC 6376 §3.6.1: v= comes first and is exactly "DKIM1", or is left out
    if b"v" in tags and (next(iter(tags)) != b"v" or tags[b"v"] != b"DKIM1"):
        return _malformed("the record is not a key record")
    if b"p" not in tags:  # RFC 6376 §3.6.1: p= is required
        return _malformed("p= is missing in the key record")
    flags = _words(tags, b"t") or []
    testing, strict = b"y" in flags, b"s" in flags
    kind = tags.get(b"k", b"rsa").lower().decode("latin-1")
    hashes, services = _words(tags, b"h"), _words(tags, b"s")
    octets = taglist.base64_octets(tags[b"p"])
    public, bits = None, 0
    defect: Defect | None = None
    if services is not None and b"*" not in services and b"email" not in services:
        defect = _unusable("the key is not for mail")  # RFC 6376 §3.6.1: s=
    elif hashes is not None and b"sha256" not in hashes:
        defect = _unusable("the key does not allow sha256")  # RFC 6376 §6.1.2: inappropriate hash algorithm
    elif not taglist.unfold(tags[b"p"]):
        defect = _unusable("the key is revoked")  # RFC 6376 §6.1.2: key revoked
    elif kind not in ("rsa", "ed25519"):
        defect = _unusable("the type of the key is not known")  # RFC 6376 §3.6.1: MUST be ignored
    elif octets is not None and len(octets) > MAX_DER:
        defect = Defect(DkimResult.POLICY, "the key is too long")
    else:
        public, bits = (None, 0) if octets is None else _load(kind, octets)
        if public is None:
            return _malformed("p= cannot be read in the key record")
        if isinstance(public, RSAPublicKey) and public.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
            defect = Defect(DkimResult.POLICY, "the exponent of the key is too large")  # RFC 6376 §8.13
    return Key(defect, kind=kind, public=public, bits=bits, testing=testing, strict=strict)
