"""Where DNS queries go and what they may cost.

`nameservers_of` reads /etc/resolv.conf when the settings name no server; that is done once, when a resolver is made.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

_PORT = 53


@dataclass(frozen=True, slots=True)
class Nameserver:
    host: str  # IPv4 or IPv6 address in its usual text form
    port: int  # 1..65535

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6, for a socket."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DnsSettings:
    nameservers: tuple[str, ...] = ()  # "IP", "IPv4:PORT" or "[IPv6]:PORT"; none: those of /etc/resolv.conf
    timeout: float = 5.0  # seconds for one query in all: every server, retry, TCP and alias
    cache_entries: int = 50_000  # answers kept; one of more than a kilobyte counts as several; 0: none is kept


_LOCAL = Nameserver("127.0.0.1", _PORT)  # resolv.conf(5): used if none is named


def parse_nameserver(text: str) -> Nameserver:
    """The server that "IP", "IPv4:PORT" or "[IPv6]:PORT" names; raises ValueError with a text for people."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not a name server: write IP, IPv4:PORT or [IPv6]:PORT")
        port = rest[1:] if rest else str(_PORT)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        port = str(_PORT)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r} is not a name server: {host!r} is not an IP address") from None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not a name server: {port!r} is not a port")
    return Nameserver(str(address), int(port))


def nameservers_of(settings: DnsSettings, resolv_conf: Path = Path("/etc/resolv.conf")) -> tuple[Nameserver, ...]:
    """The servers in the order in which they are asked, never none; raises ValueError if one cannot be read."""
    if settings.nameservers:
        return tuple(parse_nameserver(text) for text in settings.nameservers)
    return _from_resolv_conf(resolv_conf)


def _from_resolv_conf(path: Path) -> tuple[Nameserver, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (_LOCAL,)
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1])
            except ValueError:
                continue
            found.append(Nameserver(str(address), _PORT))
    return tuple(found) or (_LOCAL,)
