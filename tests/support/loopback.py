"""Loopback addresses of our own: a /24 of 127/8 in which nobody else listens, so that well-known ports can be used.

smtp(8) goes to port 25 of an MX host and the C library asks at port 53; on 127.0.0.1 both belong to the host.

Diagnostics: `Unavailable` where the system does not let us bind such ports.
"""

from __future__ import annotations

import random
import socket

from tests.support.processes import Unavailable

_random = random.SystemRandom()


class Network:
    """Addresses 127.x.y.1 to 127.x.y.254, ours until `release` or the end of the process."""

    def __init__(self) -> None:
        """Claim a network; raises `Unavailable`."""
        for _ in range(100):
            self._prefix = f"127.{_random.randint(64, 254)}.{_random.randint(1, 254)}."
            self._claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                # A name in the kernel's table that only one process can have, and that goes with the process.
                self._claim.bind(f"\0gatepost-network-{self._prefix}")
            except OSError:
                self._claim.close()
                continue
            self._next = 0
            self._probe()
            return
        raise Unavailable("no free loopback network")

    def _probe(self) -> None:
        for port in (25, 53):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                try:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((f"{self._prefix}254", port))
                    probe.listen()
                except OSError as problem:
                    self.release()
                    raise Unavailable(f"port {port} of a loopback address cannot be had: {problem}") from None

    def address(self) -> str:
        """The next address."""
        self._next += 1
        if self._next > 250:
            raise ValueError("all addresses of this network are given out")
        return f"{self._prefix}{self._next}"

    def release(self) -> None:
        """Give the network back. May be called twice."""
        self._claim.close()
