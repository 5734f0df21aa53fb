"""Tag lists (RFC 6376 §3.2): `v=1; a=rsa-sha256; ...` in signature fields and key records.

Takes bytes, gives the values by tag name with the white space around them removed and that inside kept.

Diagnostics: None means that the whole list is invalid; nothing is raised.
Limits: 100 tags. Time is linear in the length of the text.
Security: the text is hostile. Only SP, HTAB and CRLF before one of them are white space; a lone CR or LF, NUL or any
other control character makes the list invalid. Octets above 127 stay as they are: RFC 8616 §5 allows UTF-8 in values.
"""

from __future__ import annotations

import binascii
import re

MAX_TAGS = 100  # RFC 6376 defines 13 for a signature and 7 for a key

_BLANKS = b" \t\r\n"
_PLAIN = bytes(octet for octet in range(256) if octet >= 0x20 and octet != 0x7F) + b"\t"
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")


def _is_folded_text(text: bytes) -> bool:
    """True if there is no control character but HTAB, and CRLF only where it folds."""
    others = text.translate(None, _PLAIN)
    if not others:
        return True
    folds = text.count(b"\r\n ") + text.count(b"\r\n\t")
    return others == b"\r\n" * folds


def parse(text: bytes) -> dict[bytes, bytes] | None:
    """Give the values by tag name in the order of the text, or None if the list is invalid."""
    if not _is_folded_text(text):
        return None
    specs = text.split(b";", MAX_TAGS + 1)
    if not specs[-1].strip(_BLANKS):  # RFC 6376 §3.2: one ";" may end the list
        specs.pop()
    if not specs or len(specs) > MAX_TAGS:
        return None
    tags: dict[bytes, bytes] = {}
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(_BLANKS)
        if not equals or _NAME.fullmatch(name) is None or name in tags:  # RFC 6376 §3.2: a duplicate spoils the list
            return None
        tags[name] = value.strip(_BLANKS)
    return tags


def without_value(text: bytes, name: bytes) -> bytes:
    """Give the text with the value of one tag removed, all white space around that value included (RFC 6376 §3.7)."""
    start = 0
    for spec in text.split(b";"):
        before, equals, _ = spec.partition(b"=")
        if equals and before.strip(_BLANKS) == name:
            return text[: start + len(before) + 1] + text[start + len(spec) :]
        start += len(spec) + 1
    return text


def unfold(value: bytes) -> bytes:
    """Give the value without any white space, as for base64 and quoted-printable (RFC 6376 §2.10, §2.11)."""
    return value.translate(None, _BLANKS)


def items(value: bytes) -> list[bytes]:
    """Give the parts of a colon-separated value, white space around each removed."""
    return [part.strip(_BLANKS) for part in value.split(b":")]


def base64_octets(value: bytes) -> bytes | None:
    """Decode base64 with white space anywhere; None if it is not base64 or empty."""
    digits = unfold(value)
    body = digits.rstrip(b"=")
    padding = -len(body) % 4  # RFC 6376 §2.10: the "=" at the end may be left out
    if not body or padding == 3 or len(digits) - len(body) > padding:
        return None
    try:
        return binascii.a2b_base64(body + b"=" * padding, strict_mode=True)
    except binascii.Error:
        return None
