"""A small DKIM signer (RFC 6376 §5) for tests, demo and benchmarks: keys, their DNS records, signature fields.

It is written apart from the verifier, by the plain reading of the standard, so that each checks the other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from authmilter.facts import HeaderField

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

# the library makes no keys as short as 512 bits
_PRIMES_512 = (
    0xF95893B1B64A42682B771B7F0550B28968EE6126C4245B646CD93C7E74B03DD1,
    0xE47183E1258340E1EF144B89E1CAB5070BFF9CB022A13AFC0C1F293994D9A4BD,
)


def _rsa_512() -> rsa.RSAPrivateKey:
    p, q = _PRIMES_512
    public = rsa.RSAPublicNumbers(65537, p * q)
    d = pow(public.e, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


@lru_cache(maxsize=64)
def make_key(kind: str = "rsa", bits: int = 2048, serial: int = 0) -> PrivateKey:
    """Give a private key: the same for the same arguments within one process. 512 bits give a fixed key."""
    del serial  # only tells keys of one kind apart
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if bits == 512:
        return _rsa_512()
    return rsa.generate_private_key(65537, bits)


def public_base64(key: PrivateKey, pkcs1: bool = False) -> str:
    """Give p= for the key record. `pkcs1`: an RSAPublicKey in place of the usual SubjectPublicKeyInfo."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        octets = public.public_bytes(Encoding.DER, PublicFormat.PKCS1 if pkcs1 else PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(octets).decode()


def dns_record(key: PrivateKey, extra: str = "") -> str:
    """Give the text of the key's TXT record. `extra`: further tags, such as "t=y; "."""
    kind = "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "rsa"
    return f"v=DKIM1; k={kind}; {extra}p={public_base64(key)}"


def pem(key: PrivateKey) -> bytes:
    """Give an RSA key in the form that most signers read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def seed(key: PrivateKey) -> bytes:
    """Give the 32 octets of an Ed25519 key."""
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def split_message(message: bytes) -> tuple[list[HeaderField], bytes]:
    """Cut a message with CRLF lines into the fields of its header and its body."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = []
    for text in re.split(rb"\r\n(?![ \t])", head.removesuffix(b"\r\n")):
        name, _, value = text.partition(b":")
        fields.append(HeaderField(name, value))
    return fields, body


def join_message(fields: Sequence[HeaderField], body: bytes) -> bytes:
    """Put a message together, the reverse of `split_message`."""
    return b"".join(field.name + b":" + field.value + b"\r\n" for field in fields) + b"\r\n" + body


def canonical_field(field: HeaderField, relaxed: bool) -> bytes:
    """RFC 6376 §3.4.1 and §3.4.2, without the CRLF at the end."""
    if not relaxed:
        return field.name + b":" + field.value
    value = re.sub(rb"[ \t]+", b" ", field.value.replace(b"\r\n", b""))
    return field.name.strip(b" \t").lower() + b":" + value.strip(b" \t")


def canonical_body(body: bytes, relaxed: bool) -> bytes:
    """RFC 6376 §3.4.3 and §3.4.4."""
    lines = body.split(b"\r\n")
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return b"" if relaxed else b"\r\n"
    return b"\r\n".join(lines) + b"\r\n"


def raw_signature(key: PrivateKey, data: bytes) -> bytes:
    """Give the octets of b= for the data hash over `data` (RFC 6376 §3.7, RFC 8463 §3)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(hashlib.sha256(data).digest())
    return key.sign(data, PKCS1v15(), SHA256())


def sign(
    fields: Sequence[HeaderField],
    body: bytes,
    domain: str,
    selector: str,
    key: PrivateKey,
    *,
    algorithm: str = "",
    canonicalization: str = "relaxed/relaxed",
    signed: str = "",
    extra: str = "",
    length: int | None = None,
    replace: dict[str, str | None] | None = None,
) -> HeaderField:
    """Give the DKIM-Signature field to put on top of `fields`.

    `signed`: h=, else From, To, Subject, Date and Message-ID as far as they are there. `extra`: further tags, such as
    "t=1; x=2; ". `length`: l=, which cuts the body that is hashed. `replace`: tags to write otherwise than they are
    meant, None to leave one out; the signature is then made over what is written.
    """
    if not algorithm:
        algorithm = "ed25519-sha256" if isinstance(key, ed25519.Ed25519PrivateKey) else "rsa-sha256"
    present = {field.name.strip(b" \t").lower().decode("latin-1") for field in fields}
    signed = signed or ":".join(name for name in ("from", "to", "subject", "date", "message-id") if name in present)
    header_word, _, body_word = canonicalization.partition("/")
    hashed = hashlib.sha256(canonical_body(body, body_word == "relaxed")[:length]).digest()
    tags: dict[str, str | None] = {
        "v": "1",
        "a": algorithm,
        "c": canonicalization,
        "d": domain,
        "s": selector,
        "l": None if length is None else str(length),
        "h": signed,
        "bh": base64.b64encode(hashed).decode(),
    }
    tags.update(replace or {})
    start = " " + "".join(f"{tag}={value};\r\n " for tag, value in tags.items() if value is not None) + extra + "b="
    unsigned = HeaderField(b"DKIM-Signature", start.encode())
    return HeaderField(b"DKIM-Signature", start.encode() + _signature(fields, unsigned, key, header_word, signed))


def _signature(
    fields: Sequence[HeaderField], unsigned: HeaderField, key: PrivateKey, header_word: str, signed: str
) -> bytes:
    relaxed = header_word == "relaxed"
    left = list(fields)
    data = b""
    for name in signed.lower().split(":"):
        for place in range(len(left) - 1, -1, -1):  # RFC 6376 §5.4.2: from the bottom up
            if left[place].name.strip(b" \t").lower().decode("latin-1") == name.strip():
                data += canonical_field(left.pop(place), relaxed) + b"\r\n"
                break
    text = base64.b64encode(raw_signature(key, data + canonical_field(unsigned, relaxed)))
    return b"\r\n ".join(text[start : start + 72] for start in range(0, len(text), 72))
