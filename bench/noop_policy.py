"""A server on uvloop that only answers: the most that an asyncio.Protocol in Python can do on this machine.

    python -m bench.noop_policy PORT

Every piece that arrives counts as one request: the load generator has one under way per connection, and gives up on a
server that answers more often than it was asked. Nothing is read, and the reply is always the same.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from tests.support.socketmap_client import encode

# as long as the true one for a domain of the benchmark
ANSWER = "OK secure match=mx.d0.bench.example:.mx.d0.bench.example servername=hostname"
_REPLY = encode(ANSWER.encode())


class Noop(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_write",)
    _write: Callable[[bytes], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio.Protocol's signature
        """See asyncio.Protocol."""
        self._write(_REPLY)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Noop, "127.0.0.1", port, backlog=1024)
    await stop.wait()
    server.close()


def main(port: int) -> None:
    """Serve until SIGTERM."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(port))


if __name__ == "__main__":
    main(int(sys.argv[1]))
