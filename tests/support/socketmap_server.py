"""The daemon's connections in this process, with answers from a function: for what is about octets and time."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop

from tests.support.socketmap_client import SocketmapClient
from tlspolicyd.ready import ReadyReplies
from tlspolicyd.server import Answer, Clients, Limits


class SocketmapServer:
    """Runs uvloop in a thread. `clients` belongs to that thread: touch it through `call`."""

    def __init__(self, answer: Answer, limits: Limits = Limits(), ready: ReadyReplies | None = None) -> None:  # noqa: B008
        self._answer = answer
        self._limits = limits
        self._ready = ready
        self._directory = tempfile.TemporaryDirectory(prefix="gatepost-socketmap-")
        self._path = Path(self._directory.name) / "s"
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.clients: Clients
        self.faults: list[str] = []

    def client(self, timeout: float = 10.0) -> SocketmapClient:
        """A connection to it."""
        return SocketmapClient(f"unix:{self._path}", timeout)

    def call(self, function: Callable[[], Any]) -> Any:
        """What `function` returns in the loop's thread; of a coroutine its result."""

        async def run() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return self.start(run).result(15)

    def start(self, function: Callable[[], Any]) -> Future[Any]:
        """Begin a coroutine function in the loop's thread."""
        return asyncio.run_coroutine_threadsafe(function(), self._loop)

    async def _open(self) -> None:
        clock = self._loop.time
        self.clients = Clients(self._answer, self._ready or ReadyReplies(100, clock), self._limits)
        self._server = await self._loop.create_unix_server(self.clients, str(self._path))
        self._watch = self._loop.create_task(self.clients.watch())

    async def _close(self) -> None:
        self._server.close()
        self._watch.cancel()
        await self.clients.drain(1.0)

    def __enter__(self) -> Self:
        self._loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self._thread.start()
        self.call(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._directory.cleanup()
        assert self.faults == []
