"""What an ARC-Seal signs: the sets up to its own, in order (RFC 8617 §5.1.1). Takes a header, gives SHA-256 sums. Pure.

Limits: time is linear in the length of the fields: the hash of one set is begun where that of the set before it ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from authmilter.dkim import taglist
from authmilter.dkim.header_hash import Header, relaxed_field
from authmilter.facts import HeaderField

_CRLF = b"\r\n"


def seal_digest(before: Sequence[bytes], seal: HeaderField) -> bytes:
    """Give the hash that one seal signs: `before` are canonical fields, the seal itself comes last, without b=."""
    hashed = hashlib.sha256()
    for field in before:
        hashed.update(field + _CRLF)
    hashed.update(unsigned(seal))
    return hashed.digest()


def unsigned(seal: HeaderField) -> bytes:
    """Give a seal as it is hashed for its own signature: relaxed, b= empty, without the CRLF at the end."""
    return relaxed_field(seal.name, taglist.without_value(seal.value, b"b"))


def seal_digests(header: Header, sets: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """Give the hash for each seal; `sets` has the places of AAR, AMS and AS of each instance, from 1 on."""
    running = hashlib.sha256()
    digests = []
    for results, message, seal in sets:
        # RFC 8617 §5.1.1: ARC-Authentication-Results, ARC-Message-Signature, ARC-Seal
        for place in (results, message):
            running.update(header.canonical(place, relaxed=True) + _CRLF)  # RFC 8617 §4.1.3: relaxed only
        own = running.copy()
        own.update(unsigned(header.field(seal)))
        digests.append(own.digest())
        running.update(header.canonical(seal, relaxed=True) + _CRLF)
    return digests
