"""An HTTP proxy on 127.0.0.1 that tunnels to one port of 127.0.0.1, whatever host it is asked for (RFC 9110 §9.3.6)."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self


class ConnectProxy:
    """`with ConnectProxy(port) as proxy: ... proxy.url ...`; `targets` has what CONNECT asked for.

    `status`: what it answers; with any other than 200 it does not connect.
    """

    def __init__(self, port: int, status: int = 200) -> None:
        self._target = port
        self._status = status
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.targets: list[str] = []
        self.url = ""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="connect-proxy", daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        async with server:
            await self._end.wait()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.targets.append(head.split(b" ", 2)[1].decode("latin-1"))
            writer.write(b"HTTP/1.1 %d Whatever\r\n\r\n" % self._status)
            if self._status != 200:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except (OSError, EOFError):
            return
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
