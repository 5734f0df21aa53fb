"""Postfix's socketmap protocol on top of netstrings: requests read, fixed replies. No I/O.

A request is `MAP SP KEY`; a reply is `OK SP DATA`, `NOTFOUND SP`, `TEMP SP REASON` or `PERM SP REASON`.

Security: the replies here hold no text from outside; those that do are made by `render`.
Standards: socketmap_table(5).
"""

from __future__ import annotations

from dataclasses import dataclass

from tlspolicyd import netstring
from tlspolicyd.query import MAPS

NOT_FOUND = b"NOTFOUND "  # socketmap_table(5): the blank belongs to it
UNKNOWN_MAP = b"PERM unknown map name: the maps are " + " and ".join(MAPS).encode()
FAULT = b"TEMP internal fault of tlspolicyd, its log has more"
TOO_LONG = b"TEMP the policy is longer than a reply may be"


@dataclass(frozen=True, slots=True)
class Request:
    """As it came; no octet is NUL."""

    map: bytes
    key: bytes


def read_request(string: bytes) -> Request | None:
    """The request in one netstring; None if it is none: no blank, no map name, or a NUL in it."""
    name, blank, key = string.partition(b" ")
    if not blank or not name or b"\0" in string:
        return None
    return Request(name, key)


def write_request(name: bytes, key: bytes) -> bytes:
    """The octets that ask for `key`."""
    return netstring.encode(name + b" " + key)


def write_reply(reply: bytes) -> bytes:
    """`reply` as it goes over the wire; one that Postfix would not read is replaced."""
    # NOTFOUND in its place would let mail pass with less TLS than the policy asks for
    return netstring.encode(reply if len(reply) <= netstring.LIMIT else TOO_LONG)
