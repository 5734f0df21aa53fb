"""The URIs of records: https, a host with a full name, nothing hidden in them (BIMI core §4.3).

No I/O; nothing raises. Limits: 800 octets, so that a header line that holds one stays below 998 (RFC 5322 §2.1.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailcommon.names import is_hostname

MAX_OCTETS = 800
# RFC 3986 §2; "," and ";" must be encoded: they separate (BIMI core §4.3)
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~:@!$&'()*+=/-]|%[0-9A-Fa-f]{2})*)?)"
    r"(?P<query>(?:\?(?:[A-Za-z0-9._~:@!$&'()*+=/?-]|%[0-9A-Fa-f]{2})*)?)"
)


@dataclass(frozen=True, slots=True)
class Uri:
    """An https URI, in the form in which it came."""

    text: str
    host: str  # lower case
    target: str  # path and query, "/" at least

    @property
    def suffix(self) -> str:
        """What follows the last dot of the last part of the path, lower case; "" without a dot."""
        last = self.target.partition("?")[0].rpartition("/")[2]
        return last.rpartition(".")[2].lower() if "." in last else ""


def parse(text: str) -> Uri | str:
    """The URI, or what is wrong with it, for people."""
    if len(text) > MAX_OCTETS:
        return f"it is longer than {MAX_OCTETS} characters"
    match = _URI.fullmatch(text)
    if match is None:
        return "it is no URI, or has a part that must be percent-encoded"
    if match["scheme"].lower() != "https":
        return f"it begins with {match['scheme'][:20]}:, not https:"
    authority = match["authority"] or ""
    if "@" in authority:
        return "it has a user name"
    host, _, port = authority.lower().partition(":")
    if port not in ("", "443"):
        return "it names another port than 443"
    if not is_hostname(host) or "." not in host:
        return f"{host[:100]!r} is no full host name"
    return Uri(text, host, (match["path"] or "/") + match["query"])
