"""Values that settings of both daemons have: sockets, modes, name servers, hosts. Each raises ValueError for people."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mailcommon.dns.settings import DnsSettings, parse_nameserver
from mailcommon.names import is_hostname
from mailcommon.settings import Section

_UNIX = re.compile(r"unix:(/[^\0]+)").fullmatch
_LONGEST = 101  # octets; unix(7): 108 at most
_INET = re.compile(r"inet6?:(\d{1,5})@([^\s@]+)").fullmatch


def is_host(value: str) -> bool:
    """Whether the text is a host name or an IP address, which may be in brackets."""
    try:
        ipaddress.ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        return is_hostname(value)
    return True


def _socket(value: str) -> str:
    unix, inet = _UNIX(value), _INET(value)
    if unix and len(os.fsencode(unix[1])) <= _LONGEST:
        return value
    if inet and 0 < int(inet[1]) < 65536 and is_host(inet[2]):
        return value
    raise ValueError('must be "unix:/path" (at most 100 octets) or "inet:PORT@HOST"')


def _mode(value: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError('must be three octal digits such as "0660"')
    return value


def _nameserver(value: str) -> str:
    parse_nameserver(value)
    return value


def place(value: str, must_be: str) -> str:
    """`value` if it is "HOST:PORT" with an IPv6 address in brackets; raises ValueError that says what it `must_be`."""
    host, _, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not is_host(bare) or (":" in bare) != host.startswith("["):
        raise ValueError(must_be)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port")
    return value


def _listen(value: str) -> str:
    return value and place(value, 'must be "HOST:PORT", "[IPv6]:PORT" or ""')


SocketAddress = Annotated[str, AfterValidator(_socket)]
OctalMode = Annotated[str, AfterValidator(_mode)]
Nameserver = Annotated[str, AfterValidator(_nameserver)]
LogFormat = Literal["text", "json"]


class Dns(Section):
    """The `[dns]` table."""

    nameservers: tuple[Nameserver, ...] = Field(default=(), strict=False)
    timeout: Annotated[float, Field(gt=0, le=20)] = 5.0
    cache_entries: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000

    def for_resolver(self) -> DnsSettings:
        """As mailcommon.dns takes it."""
        return DnsSettings(self.nameservers, self.timeout, self.cache_entries)


class Metrics(Section):
    """The `[metrics]` table."""

    listen: Annotated[str, AfterValidator(_listen)] = ""
