"""Which addresses a host may have that strangers name (RFC 6890 and the IANA special-purpose registries, as of 2025).

Whoever owns a domain decides to which address its names point. Without this a daemon would connect from inside to what
the owner cannot reach himself: the host's own services, the private network, a cloud's metadata server.

No I/O; nothing here raises. The tables are our own, since `ipaddress.is_global` changes between Python versions and
calls multicast and addresses with another one inside global.
"""

from __future__ import annotations

import ipaddress
from typing import Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NO_ADDRESS: Final = "not an IP address"

_REFUSED_4: Final = {
    "0.0.0.0/8": "unspecified",  # RFC 791 §3.2; connecting to 0.0.0.0 reaches the host itself
    "10.0.0.0/8": "private",  # RFC 1918 §3
    "100.64.0.0/10": "carrier-grade NAT",  # RFC 6598 §7
    "127.0.0.0/8": "loopback",  # RFC 1122 §3.2.1.3
    "169.254.0.0/16": "link-local",  # RFC 3927 §2.1; cloud metadata servers are here
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",  # RFC 6890 §2.2.2
    "192.0.2.0/24": "documentation",  # RFC 5737 §3
    "192.88.99.0/24": "reserved",  # RFC 7526 §4: the relays of 6to4
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",  # RFC 2544
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",  # RFC 5771 §3
    "240.0.0.0/4": "reserved",  # RFC 1112 §4, with the broadcast address
}
# Inside 2000::/3; everything outside of it is refused but for NAT64
_REFUSED_6: Final = {
    "2001::/23": "reserved",  # RFC 2928 §2: Teredo, benchmarking, ORCHID
    "2001:db8::/32": "documentation",  # RFC 3849 §2
    "2002::/16": "6to4",  # RFC 3056 §2: an IPv4 address is inside; nobody serves on one
    "3fff::/20": "documentation",  # RFC 9637 §3
}
# Words for what lies outside 2000::/3; the first network that fits counts
_ELSEWHERE_6: Final = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "IPv4-mapped",  # RFC 4291 §2.5.5.2: never in the DNS, and it connects to the IPv4 address
    "64:ff9b:1::/48": "private",  # RFC 8215 §3: NAT64 of one network
    "fc00::/7": "private",  # RFC 4193 §3
    "fe80::/10": "link-local",  # RFC 4291 §2.5.6
    "fec0::/10": "private",  # RFC 3879 §4: site-local
    "ff00::/8": "multicast",  # RFC 4291 §2.7
    "::/0": "reserved",
}


def _table(rows: dict[str, str]) -> tuple[tuple[_Network, str], ...]:
    return tuple((ipaddress.ip_network(network), word) for network, word in rows.items())


_TABLE_4, _TABLE_6, _OUTSIDE_6 = _table(_REFUSED_4), _table(_REFUSED_6), _table(_ELSEWHERE_6)
_GLOBAL_6 = ipaddress.ip_network("2000::/3")  # RFC 4291 §2.4
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1


def refusal(address: str) -> str:
    """A word for the kind of `address` if the daemon must not connect to it; "" if it may."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return NO_ADDRESS
    if isinstance(parsed, ipaddress.IPv4Address):
        return _find(parsed, _TABLE_4)
    if parsed in _NAT64:
        # RFC 6052 §3.1: on a host behind DNS64 every IPv4 host looks like this, so the address inside decides
        inside = _find(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF), _TABLE_4)
        return f"{inside} inside NAT64" if inside else ""
    return _find(parsed, _TABLE_6 if parsed in _GLOBAL_6 else _OUTSIDE_6)


def _find(address: _Address, table: tuple[tuple[_Network, str], ...]) -> str:
    return next((word for network, word in table if address in network), "")
