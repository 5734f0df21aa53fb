"""Free ports on the loopback address.

A port is taken from below the range that the kernel uses for outgoing connections, so that no client socket grabs it
between the moment it is found free and the moment a server binds it. Until `release_port` nobody else who asks here
gets it, in whatever process: two Postfix instances would not even notice that they share one (SO_REUSEPORT). A server
must still be ready to find it taken by a stranger.
"""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10240, 32000  # Linux starts its ephemeral range at 32768

_claims: dict[int, socket.socket] = {}
_random = random.SystemRandom()


def _claim(port: int) -> bool:
    """Take a name in the kernel's table that only one process can have, and that goes with the process."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0gatepost-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims[port] = claim
    return True


def is_free(port: int) -> bool:
    """Whether TCP and UDP on 127.0.0.1 could be bound just now."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free for TCP and UDP and that no other caller holds.

    Raises `OSError` when no free one is found in 1,000 attempts.
    """
    for _ in range(1000):
        port = _random.randint(LOWEST, HIGHEST)
        if _claim(port):
            if is_free(port):
                return port
            release_port(port)
    raise OSError("no free port on 127.0.0.1")


def release_port(port: int) -> None:
    """Give back what `free_port` gave; any other number does nothing."""
    if port in _claims:
        _claims.pop(port).close()
