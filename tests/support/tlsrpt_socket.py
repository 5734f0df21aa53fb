"""What Postfix 3.10 and newer tells a TLSRPT collector: the datagrams of libtlsrpt, as they come.

with TlsrptSocket(postfix.queue_directory / "tlsrpt" / "socket") as socket:
    ...
    event = socket.wait("a.example")
    event["policies"][0]["policy-string"]
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import wait_until


class TlsrptSocket:
    """A datagram socket that keeps what comes. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """`path`: made here, its directory too."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.events: list[dict[str, Any]] = []

    def _read(self) -> None:
        while True:
            try:
                self.events.append(json.loads(self._socket.recv(1 << 20)))
            except BlockingIOError:
                return

    def wait(self, domain: str) -> dict[str, Any]:
        """The first event about a domain; raises `TimedOut`."""

        def found() -> dict[str, Any] | None:
            self._read()
            return next((event for event in self.events if event["d"] == domain), None)

        return wait_until(found, f"a TLSRPT event about {domain}")

    def __enter__(self) -> Self:
        self._path.parent.mkdir(exist_ok=True)
        self._socket.bind(str(self._path))
        self._path.chmod(0o666)
        self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)
