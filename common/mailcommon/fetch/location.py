"""Where a document is: host and target of an https URL. No I/O; nothing here raises.

Security: a URL is a stranger's text, and so is where a redirect points to. Only https, only the one port, no user
name, no address in place of a host name, nothing but visible ASCII. Plain http only where the caller says that what
comes proves itself, as a signed list does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from mailcommon.names import is_hostname, to_alabel

_HTTPS = 443
_HTTP = 80
_LONGEST = 2048  # characters
_VISIBLE = re.compile(r"[!-~]+")  # RFC 3986 §2: a URI is ASCII without blanks


@dataclass(frozen=True, slots=True)
class Location:
    host: str  # A-labels, lower case
    target: str  # path and query, percent-encoded
    plain_port: int = 0  # of http; 0: https

    def __str__(self) -> str:
        return f"{'http' if self.plain_port else 'https'}://{self.host}{self.target}"


def parse(url: str, port: int = _HTTPS, *, plain: bool = False) -> Location | str:
    """The location that `url` names, or why there is none.

    `port`: the one beside 443 (80 for http) that it may name. `plain`: http will do.
    """
    if len(url) > _LONGEST or _VISIBLE.fullmatch(url) is None:
        return "is not a URL"
    try:
        parts = urlsplit(url)
        named, host = parts.port, to_alabel(parts.hostname or "")
    except ValueError:
        return "is not a URL"
    if parts.scheme != "https" and not (plain and parts.scheme == "http"):
        return "is not an https URL"
    if "@" in parts.netloc:
        return "has a user name"
    usual = _HTTPS if parts.scheme == "https" else _HTTP
    if named not in (None, usual, port):
        return f"names the port {named}"
    if host is None or not is_hostname(host):
        return "has no host name"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Location(host, target, 0 if parts.scheme == "https" else named or usual)


def follow(location: Location, reference: str, port: int = _HTTPS) -> Location | str:
    """Where a redirect from `location` to `reference` leads (RFC 9110 §10.2.2), or why nowhere."""
    if _VISIBLE.fullmatch(reference) is None:
        return "is not a URL"
    try:
        return parse(urljoin(str(location), reference), port, plain=bool(location.plain_port))
    except ValueError:
        return "is not a URL"
