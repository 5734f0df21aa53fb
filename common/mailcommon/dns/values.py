"""Record data as plain values: the one place that knows dnspython's record classes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import dns.rdatatype

from mailcommon.dns.answer import Mx, Tlsa


def _name(name: Any) -> str:
    text = str(name.to_text(omit_final_dot=True)).lower()
    return "" if text == "." else text


def _txt(joined: bytes) -> bytes:
    return joined  # RFC 7208 §3.3, RFC 6376 §3.6.2.2: no space between the strings


def _address(rdata: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(rdata) == 4 else socket.AF_INET6, rdata)


def _mx(rdata: Any) -> Mx:
    return Mx(int(rdata.preference), _name(rdata.exchange))


def _target(rdata: Any) -> str:
    return _name(rdata.target)


def _tlsa(rdata: bytes) -> Tlsa:
    # RFC 6698 §2.1; a record too short for its three numbers has values that nobody knows
    usage, selector, mtype = rdata[:3].ljust(3, b"\xfe")
    return Tlsa(usage, selector, mtype, rdata[3:])


_VALUE: dict[int, Callable[[Any], Any]] = {
    dns.rdatatype.TXT: _txt,
    dns.rdatatype.A: _address,
    dns.rdatatype.AAAA: _address,
    dns.rdatatype.MX: _mx,
    dns.rdatatype.PTR: _target,
    dns.rdatatype.CNAME: _target,
    dns.rdatatype.NS: _target,
    dns.rdatatype.TLSA: _tlsa,
}

TYPES = {dns.rdatatype.to_text(rdtype): int(rdtype) for rdtype in map(dns.rdatatype.RdataType, _VALUE)}


def to_values(rdtype: int, records: Iterable[Any]) -> tuple[Any, ...]:
    """The records as `Answer` carries them: each once (RFC 2181 §5), in the server's order, MX by preference."""
    value = _VALUE[rdtype]
    values = dict.fromkeys(value(record) for record in records)
    if rdtype == dns.rdatatype.MX:
        return tuple(sorted(values, key=lambda mx: (mx.preference, mx.host)))
    return tuple(values)
