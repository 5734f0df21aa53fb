"""Asks a socketmap server as Postfix does: netstrings over a Unix or TCP socket.

    with SocketmapClient("unix:/tmp/x.sock") as client:
        client.ask("policy", "a.example")    # "OK secure match=..." or "NOTFOUND "

Diagnostics: `ConnectionError` if the server closes the connection, `TimeoutError` after `timeout` seconds without a
reply, `ValueError` for what is no netstring.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tests.support.waiting import DEADLINE

_MAX_LENGTH = 6  # digits: socketmap_table(5), 100,000 octets


def encode(string: bytes) -> bytes:
    """`string` as a netstring."""
    return str(len(string)).encode() + b":" + string + b","


def connect(address: str, timeout: float = DEADLINE) -> socket.socket:
    """A connection to "unix:/path" or "inet:PORT@HOST"."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(address.removeprefix("unix:"))
        except BaseException:
            sock.close()
            raise
        return sock
    port, _, host = address.removeprefix("inet:").partition("@")
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


class SocketmapClient:
    """One connection."""

    def __init__(self, address: str, timeout: float = DEADLINE) -> None:
        self.sock = connect(address, timeout)
        self._buffer = bytearray()

    def ask(self, map_name: str, key: str) -> str:
        """The reply to one request."""
        self.send(map_name, key)
        return self.reply().decode("ascii")

    def send(self, map_name: str, key: str) -> None:
        """Send a request and do not wait."""
        self.sock.sendall(encode(f"{map_name} {key}".encode()))

    def reply(self) -> bytes:
        """The next reply."""
        while True:
            digits, colon, rest = self._buffer.partition(b":")
            if len(digits) > _MAX_LENGTH or (digits and not digits.isdigit()):
                raise ValueError(f"not a netstring: {bytes(self._buffer[:40])!r}")
            if colon and len(rest) > int(digits):
                string = bytes(rest[: int(digits)])
                if rest[int(digits)] != ord(","):
                    raise ValueError(f"no comma after {string[:40]!r}")
                del self._buffer[: len(digits) + 2 + len(string)]
                return string
            came = self.sock.recv(65536)
            if not came:
                raise ConnectionError("closed by the server")
            self._buffer += came

    def closed(self) -> bool:
        """Wait until the server closes the connection; False if it sends something instead."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
