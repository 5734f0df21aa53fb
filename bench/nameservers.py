"""The name servers of the benchmarks: a real caching resolver, and one that takes its time.

Each is wanted at a port of its own and at port 53 too, for the milters that can ask nowhere else; the second is left
out where it cannot be had.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.dns_server import FakeDns
from tests.support.unbound import PrivateUnbound

_PLAIN = "127.77.53.1"  # a loopback address on which nobody else is at port 53


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where one name server listens."""

    with_port: str  # "IP:PORT"
    plain: str  # IP, at port 53; "" if it has none


def _free_port_53() -> bool:
    """Whether nobody is there and we may be: unbound itself would share the port with another unbound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((_PLAIN, 53))
        except OSError:
            return False
    return True


@contextmanager
def caching(zone: str, options: Sequence[str] = ()) -> Iterator[tuple[PrivateUnbound, Addresses]]:
    """One unbound over the zone. `options`: further lines for its `server:` clause."""
    plain = _PLAIN if _free_port_53() else ""
    dns = PrivateUnbound(zone, options=[*options, *([f"interface: {plain}@53"] if plain else [])])
    dns.start()
    try:
        yield dns, Addresses(dns.address, plain)
    finally:
        dns.stop()


@contextmanager
def slow(zone: str, delay: float) -> Iterator[tuple[FakeDns, Addresses]]:
    """A server that answers from the zone after `delay` seconds."""
    try:
        dns = FakeDns(zone, delay=delay, port=53)
        dns.start()
    except (OSError, RuntimeError):
        dns = FakeDns(zone, delay=delay)
        dns.start()
    try:
        yield dns, Addresses(dns.address, dns.address.partition(":")[0] if dns.port == 53 else "")
    finally:
        dns.stop()
