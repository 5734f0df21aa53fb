"""A real HTTPS server that takes posted reports, well or badly.

    with HttpsReceiver(ca.issue("reports.example")) as receiver:
        receiver.status = 503                      # for the next post
        ...
        post, = receiver.posts                     # path, media type, octets

Diagnostics: `OSError` if the port cannot be had.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.support.certificates import Credentials
from tests.support.ports import free_port, release_port


@dataclass(frozen=True, slots=True)
class Post:
    path: str
    kind: str  # media type
    octets: bytes


class HttpsReceiver:
    """What is set here counts for the next post."""

    def __init__(self, credentials: Credentials, address: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.status = 200
        self.location = ""  # of a redirect
        self.hangs = False
        self.posts: list[Post] = []
        self._address = address
        self._tls = credentials.server_context()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="report receiver", daemon=True)

    async def _take(self, request: web.Request) -> web.Response:
        self.posts.append(Post(request.path_qs, request.content_type, await request.read()))
        while self.hangs:
            await asyncio.sleep(0.05)
        headers = {"Location": self.location} if self.location else {}
        return web.Response(status=self.status, headers=headers, text="said " * 10)

    async def _start(self) -> None:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address, self.port, ssl_context=self._tls).start()

    def __enter__(self) -> Self:
        self._loop.set_exception_handler(lambda *_: None)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hangs = False
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        release_port(self.port)
