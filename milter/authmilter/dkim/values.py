"""The values of the tags of a signature (RFC 6376 §3.5), each by its own grammar.

Each function takes the value as the tag list gives it and returns what it means, or None if it breaks the grammar.

Limits: 1,000 names in h=, 512 octets in i=. Time is linear in the length of the value.
Security: the values are hostile. Names that come out are A-labels; i= may hold any printable text and UTF-8, and has to
be escaped wherever it is printed.
"""

from __future__ import annotations

import re

from authmilter.dkim import taglist
from mailcommon.names import is_hostname, to_alabel

MAX_NAMES = 1_000  # in h=
MAX_IDENTITY = 512  # octets of i=
NEVER = 10**12  # RFC 6376 §3.5: a time of more than 12 digits may be taken as infinite

_ALGORITHM = re.compile(rb"[a-z][a-z0-9]{0,19}-[a-z][a-z0-9]{0,19}")
_DIGITS = re.compile(rb"[0-9]{1,76}")
_HEX = re.compile(rb"=([0-9A-F]{2})")
_FIELD_NAME = bytes(range(0x21, 0x7F))  # RFC 5322 §3.6.8 (ftext); a colon cannot occur, it separates the names
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
_QUOTED = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
_LOCAL_PART = re.compile(_ATOM + rb"(?:\." + _ATOM + rb")*|" + _QUOTED)  # RFC 5321 §4.1.2, RFC 6531 §3.3


def algorithm(raw: bytes) -> str | None:
    """Read a=: two words joined by a hyphen, in lower case; it need not be known here."""
    text = raw.lower()  # RFC 5234 §2.3: words of a grammar have no letter case
    return text.decode() if _ALGORITHM.fullmatch(text) else None


def selector(raw: bytes) -> str | None:
    """Read s= in A-labels; underscores are let through, they are in use."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if text.endswith(".") else to_alabel(text)  # RFC 8616 §5: U-labels may stand in s=, d= and i=


def domain(raw: bytes) -> str | None:
    """Read d=: a host name of two labels or more, in A-labels."""
    name = selector(raw)
    return name if name and "." in name and is_hostname(name) else None


def identity(raw: bytes) -> tuple[str, str] | None:
    """Read i=: the address with its domain in A-labels, and that domain."""
    encoded = taglist.unfold(raw)
    if len(encoded) > MAX_IDENTITY or encoded.count(b"=") != len(_HEX.findall(encoded)):
        return None
    decoded = _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), encoded)  # RFC 6376 §2.11
    local, at, after = decoded.rpartition(b"@")  # a quoted local part may hold "@", a domain may not
    name = domain(after)
    if not at or name is None or (local and _LOCAL_PART.fullmatch(local) is None):
        return None
    try:
        return f"{local.decode('utf-8')}@{name}", name
    except UnicodeDecodeError:
        return None


def field_names(raw: bytes) -> tuple[bytes, ...] | None:
    """Read h= in lower case and in the order of signing; () if it is empty, None also if it has too many names."""
    if not raw:
        return ()
    if raw.count(b":") >= MAX_NAMES:
        return None
    names = tuple(taglist.items(raw.lower()))
    return None if b"" in names or b"".join(names).translate(None, _FIELD_NAME) else names


def canonicalization(raw: bytes) -> tuple[bool, bool] | None:
    """Read c=: whether the header is relaxed, and the body; None also for algorithms that are not known."""
    header, slash, body = raw.lower().partition(b"/")
    words = {b"simple": False, b"relaxed": True}
    if header not in words or (slash and body not in words):
        return None
    return words[header], words.get(body, False)  # RFC 6376 §3.5: a single word is the header's, the body is simple


def number(raw: bytes) -> int | None:
    """Read l=: 0 up to 76 digits."""
    return int(raw) if _DIGITS.fullmatch(raw) else None


def time(raw: bytes) -> int | None:
    """Read t= or x=: unix seconds, at most NEVER."""
    if not raw.isdigit():
        return None
    return int(raw) if len(raw) <= 12 else NEVER


def has_dns_txt(raw: bytes) -> bool:
    """Read q=: whether the one method that is known is among those listed (RFC 6376 §3.5)."""
    return b"dns/txt" in taglist.items(raw.lower())
