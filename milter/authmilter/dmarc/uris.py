"""The URI lists of rua and ruf (RFC 9989 §4.6, §4.8).

Limits: the first 50 entries of a list are looked at, the first 20 addresses are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mailcommon.names import to_alabel

_MAX_ENTRIES = 50
_MAX_KEPT = 20
# RFC 3986 §2: the characters of a URI; "," and "!" must be encoded here (RFC 9989 §4.8)
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):((?:[A-Za-z0-9._~:/?#\[\]@$&'()*+;=-]|%[0-9A-Fa-f]{2})+)")
_SIZE = re.compile(r"![0-9]+[kmgtKMGT]?\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f<>]")


@dataclass(frozen=True, slots=True)
class UriList:
    """`usable`: "mailto:" and the address, percent-decoded, domain in A-labels, in order.
    `valid`: at least one entry is a URI, of whatever scheme."""

    usable: tuple[str, ...] = ()
    valid: bool = False


def parse_uris(value: str) -> UriList:
    """The entries of a dmarc-urilist; an entry that is no URI, or of another scheme than mailto, is left out."""
    usable: dict[str, None] = {}
    valid = False
    for entry in value.split(",", _MAX_ENTRIES)[:_MAX_ENTRIES]:
        # RFC 9989 §4.8: the size after "!" is obsolete, "reporters should ignore" it
        match = _URI.fullmatch(_SIZE.sub("", entry.strip(" \t")))
        if match is None:
            continue
        if match[1].lower() != "mailto":
            valid = True  # RFC 9989 §4.7: "Any valid URI can be specified"; schemes not supported are ignored
            continue
        address = _address(match[2])
        if address:
            valid = True
            if len(usable) < _MAX_KEPT:
                usable["mailto:" + address] = None
    return UriList(tuple(usable), valid)


def _address(opaque: str) -> str:
    """The address of a mailto URI (RFC 6068 §2) without its header fields; "" if it is none."""
    address = unquote_to_bytes(opaque.partition("?")[0]).decode("utf-8", "replace")
    local, _, domain = address.rpartition("@")
    alabel = to_alabel(domain)
    if not local or len(address) > 320 or _UNPRINTABLE.search(local) or not alabel or "." not in alabel:
        return ""
    return f"{local}@{alabel}"
