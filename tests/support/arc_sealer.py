"""A small ARC sealer (RFC 8617 §5.1) for tests: one set after the other on top of a message.

It is written apart from `authmilter.arc`, by the plain reading of the standard, so that each checks the other.

    message = seal(message, "lists.example", "s1", KEY, results="lists.example; dmarc=pass")
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authmilter.facts import HeaderField
from tests.support.dkim_signer import (
    PrivateKey,
    canonical_body,
    canonical_field,
    join_message,
    raw_signature,
    split_message,
)

_ORDER = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")  # RFC 8617 §5.1.1
_CRLF = b"\r\n"


def instance_of(field: HeaderField) -> int:
    """The number in i=, 0 if there is none."""
    found = re.search(rb"(?:^|[\s;])i\s*=\s*(\d+)", field.value)
    return int(found[1]) if found else 0


def arc_fields(fields: Sequence[HeaderField]) -> list[HeaderField]:
    """The ARC fields of a header in the order in which a seal signs them."""
    found = [field for field in fields if field.name.strip().lower() in _ORDER]
    return sorted(found, key=lambda field: (instance_of(field), _ORDER.index(field.name.strip().lower())))


def _tags(tags: Mapping[str, str | None]) -> str:
    return "".join(f" {name}={value};\r\n" for name, value in tags.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Form:
    """How b= is written, at the end of a signature."""

    blanks: str = ""  # behind each four digits
    tail: str = ""  # behind b=


PLAIN = Form()


def _signed(
    name: bytes, start: str, before: bytes, key: PrivateKey, relaxed: bool = True, form: Form = PLAIN
) -> HeaderField:
    head, tail = start.encode() + b" b=", form.tail.encode()
    octets = raw_signature(key, before + canonical_field(HeaderField(name, head + tail), relaxed))
    digits = base64.b64encode(octets).decode()
    written = form.blanks.join(digits[place : place + 4] for place in range(0, len(digits), 4))
    return HeaderField(name, head + written.encode() + tail)


def _algorithm(key: PrivateKey) -> str:
    return "rsa-sha256" if hasattr(key, "decrypt") else "ed25519-sha256"


def message_signature(
    fields: Sequence[HeaderField],
    body: bytes,
    domain: str,
    selector: str,
    key: PrivateKey,
    instance: int,
    *,
    canonicalization: str = "relaxed/relaxed",
    signed: str = "from:to:subject:date",
    length: int | None = None,
    tags: Mapping[str, str | None] | None = None,
    form: Form = PLAIN,
) -> HeaderField:
    """The ARC-Message-Signature (RFC 8617 §4.1.2). `tags` replace what is written, None leaves one out."""
    header_word, _, body_word = canonicalization.partition("/")
    left = list(fields)
    data = b""
    for name in signed.lower().split(":"):
        for place in range(len(left) - 1, -1, -1):
            if left[place].name.strip(b" \t").lower().decode("latin-1") == name.strip():
                data += canonical_field(left.pop(place), header_word == "relaxed") + _CRLF
                break
    start = _tags(
        {
            "i": str(instance),
            "a": _algorithm(key),
            "c": canonicalization,
            "d": domain,
            "s": selector,
            "l": None if length is None else str(length),
            "h": signed,
            "bh": base64.b64encode(
                hashlib.sha256(canonical_body(body, body_word == "relaxed")[:length]).digest()
            ).decode(),
            **(tags or {}),
        }
    )
    return _signed(b"ARC-Message-Signature", start, data, key, header_word == "relaxed", form)


def arc_seal(
    below: Sequence[HeaderField],
    domain: str,
    selector: str,
    key: PrivateKey,
    instance: int,
    status: str,
    *,
    tags: Mapping[str, str | None] | None = None,
    form: Form = PLAIN,
) -> HeaderField:
    """The ARC-Seal (RFC 8617 §4.1.3) over the ARC fields among `below`, those of its own set included."""
    own = [field for field in below if status != "fail" or instance_of(field) == instance]  # RFC 8617 §5.1.2
    data = b"".join(canonical_field(field, True) + _CRLF for field in arc_fields(own))
    start = _tags(
        {
            "i": str(instance),
            "a": _algorithm(key),
            "cv": status,
            "d": domain,
            "s": selector,
            "t": "1700000000",
            **(tags or {}),
        }
    )
    return _signed(b"ARC-Seal", start, data, key, form=form)


def seal(
    message: bytes,
    domain: str,
    selector: str,
    key: PrivateKey,
    *,
    results: str = "",
    status: str = "",
    instance: int = 0,
    ams: Mapping[str, str | None] | None = None,
    seal_tags: Mapping[str, str | None] | None = None,
    form: Form = PLAIN,
    **options: Any,
) -> bytes:
    """The message with one more ARC set on top.

    `results`: what stands behind "i=N;" in the ARC-Authentication-Results. `status`: cv=. `ams`, `seal_tags`: tags to
    write otherwise than they are meant. `form`: of b= in both. `options`: those of `message_signature`.
    """
    fields, body = split_message(message)
    number = instance or 1 + max(map(instance_of, arc_fields(fields)), default=0)
    status = status or ("none" if number == 1 else "pass")
    claims = HeaderField(b"ARC-Authentication-Results", f" i={number}; {results or f'{domain}; none'}".encode())
    fields = [claims, *fields]
    fields = [message_signature(fields, body, domain, selector, key, number, tags=ams, form=form, **options), *fields]
    own = arc_seal(fields, domain, selector, key, number, status, tags=seal_tags, form=form)
    return join_message([own, *fields], body)
