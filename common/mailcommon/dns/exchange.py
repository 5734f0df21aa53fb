"""One query over one socket, blocking: octets out, octets in, within a time.

Diagnostics: everything raises OSError, TimeoutError if the time is over.
Security: sockets are connected, so that only datagrams of the server's address and port arrive; the kernel picks a
random port for each query; what does not match the query is dropped, and after 100 such datagrams the attempt ends.
"""

from __future__ import annotations

import socket
import time

from mailcommon.dns.settings import Nameserver
from mailcommon.dns.wire import Query

MAX_STRANGE = 100  # datagrams with another id or question: somebody guesses
DATAGRAM = 4096  # octets; the query asks for at most 1232


def too_strange() -> ConnectionError:
    """The error that ends an attempt after MAX_STRANGE datagrams."""
    return ConnectionError(f"{MAX_STRANGE} answers to other questions")


def closed() -> ConnectionError:
    """The error of a stream that ends early."""
    return ConnectionError("connection closed before the answer was whole")


def send_datagram(server: Nameserver, query: Query) -> socket.socket:
    """Send `query`; the answer is to be read from the socket. Does not wait."""
    sender = socket.socket(server.family, socket.SOCK_DGRAM)
    try:
        sender.connect((server.host, server.port))
        sender.send(query.octets)
    except OSError:
        sender.close()
        raise
    return sender


def receive_datagram(source: socket.socket, query: Query, seconds: float) -> bytes:
    """The answer to `query`; with 0 seconds only what has arrived already."""
    until = time.monotonic() + seconds
    for _ in range(MAX_STRANGE):
        source.settimeout(max(0.0, until - time.monotonic()))
        try:
            octets = source.recv(DATAGRAM)
        except BlockingIOError:
            raise TimeoutError from None
        if query.matches(octets):
            return octets
    raise too_strange()


def exchange_stream(server: Nameserver, query: Query, seconds: float) -> bytes:
    """Ask over TCP. Whatever the pace of the server, it ends after `seconds`."""
    until = time.monotonic() + seconds
    with socket.socket(server.family, socket.SOCK_STREAM) as stream:
        stream.settimeout(_left(until))
        stream.connect((server.host, server.port))
        stream.sendall(len(query.octets).to_bytes(2, "big") + query.octets)
        size = int.from_bytes(_receive(stream, 2, until), "big")
        return _receive(stream, size, until)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(stream: socket.socket, size: int, until: float) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        stream.settimeout(_left(until))
        part = stream.recv(size - len(parts))
        if not part:
            raise closed()
        parts += part
    return bytes(parts)
