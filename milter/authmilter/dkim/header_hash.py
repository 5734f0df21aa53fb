"""The header of one message as signatures see it (RFC 6376 §3.4.1, §3.4.2, §3.7, §5.4.2).

Takes the fields as received, gives the SHA-256 of what one signature signed. The work on a field is shared by all
signatures of the message.

Limits: none of its own; time is linear in the header and in the number of names in h=.
Security: octets are kept as they are, 8-bit ones and lone CR and LF included; only SP and HTAB are white space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from authmilter.dkim import taglist
from authmilter.facts import HeaderField

_BLANKS = b" \t"


def squeeze(data: bytes) -> bytes:
    """Turn each run of SP and HTAB into one SP."""
    data = data.replace(b"\t", b" ")
    if b"  " in data:
        # deep indentation first; then each pass halves the longest run. A regular expression takes ten times as long.
        data = data.replace(b" " * 16, b" ").replace(b" " * 4, b" ")
        while b"  " in data:
            data = data.replace(b"  ", b" ")
    return data


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """Canonicalize one field by the relaxed algorithm, without a final CRLF (RFC 6376 §3.4.2)."""
    return name.rstrip(_BLANKS).lower() + b":" + squeeze(value.replace(b"\r\n", b"")).strip(_BLANKS)


class Header:
    """The fields of one message, from the top."""

    def __init__(self, fields: Sequence[HeaderField]) -> None:
        self._fields = fields
        self._places: dict[bytes, list[int]] = {}
        self._relaxed: dict[int, bytes] = {}
        for place, field in enumerate(fields):
            self._places.setdefault(field.name.rstrip(_BLANKS).lower(), []).append(place)

    def places(self, name: bytes) -> list[int]:
        """Give the indices of the fields of this name (lower case), from the top. Not to be changed."""
        return self._places.get(name, [])

    def field(self, place: int) -> HeaderField:
        """Give one field as received."""
        return self._fields[place]

    def canonical(self, place: int, relaxed: bool) -> bytes:
        """Give one field in the form that is hashed, without the CRLF that ends it."""
        field = self._fields[place]
        if not relaxed:
            return field.name + b":" + field.value  # RFC 6376 §3.4.1: exactly as it stands
        known = self._relaxed.get(place)
        if known is None:
            known = self._relaxed[place] = relaxed_field(field.name, field.value)
        return known

    def select(self, names: Sequence[bytes], signature_place: int) -> list[int]:
        """Give the indices of the fields that h= stands for, in the order of signing.

        `names`: h= in lower case. The field of the signature itself is never among them (RFC 6376 §3.5).
        """
        left: dict[bytes, list[int]] = {}
        chosen: list[int] = []
        for name in names:
            places = left.get(name)
            if places is None:
                places = left[name] = [place for place in self.places(name) if place != signature_place]
            if places:  # RFC 6376 §3.5: a name without a field stands for nothing
                chosen.append(places.pop())  # RFC 6376 §5.4.2: from the bottom up
        return chosen

    def digest(self, names: Sequence[bytes], relaxed: bool, signature_place: int) -> bytes:
        """Give the SHA-256 of the data hash of RFC 6376 §3.7 for the signature in the field `signature_place`."""
        return self._digest(names, relaxed, signature_place, self._fields[signature_place])

    def digest_of(self, names: Sequence[bytes], relaxed: bool, signature: HeaderField) -> bytes:
        """Give the same for a signature that is being made: `signature`, b= empty, is not in the header yet."""
        return self._digest(names, relaxed, -1, signature)

    def _digest(self, names: Sequence[bytes], relaxed: bool, place: int, signature: HeaderField) -> bytes:
        parts = [self.canonical(each, relaxed) for each in self.select(names, place)]
        value = taglist.without_value(signature.value, b"b")
        # RFC 6376 §3.7: the signature's own field is last, without b= and without a trailing CRLF
        parts.append(relaxed_field(signature.name, value) if relaxed else signature.name + b":" + value)
        return hashlib.sha256(b"\r\n".join(parts)).digest()
