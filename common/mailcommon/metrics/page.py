"""`/metrics` over HTTP, for Prometheus.

Diagnostics: a page that cannot be made is logged once and answered with status 500; the next reading tries again.
Security: it says how much mail there is, to whoever can reach it; nothing from outside stands in it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST


def listen(address: str) -> socket.socket:
    """A socket that listens on "HOST:PORT" or "[IPv6]:PORT"; raises OSError."""
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(
        host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, place = found[0]
    return socket.create_server(place[:2], family=family, backlog=16)


class MetricsPage:
    """`render` gives the page in Prometheus' text format."""

    def __init__(self, render: Callable[[], Awaitable[bytes]], log: logging.Logger) -> None:
        self._render = render
        self._log = log
        self._runner: web.AppRunner | None = None
        self._failed = False

    async def start(self, listening: socket.socket) -> None:
        """Answer on this socket, which is closed by `stop`."""
        application = web.Application()
        application.router.add_get("/metrics", self._get)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def _get(self, _request: web.Request) -> web.Response:
        try:
            body = await self._render()
        except Exception:  # noqa: BLE001 - logged, and the daemon goes on
            if not self._failed:
                self._log.exception("metrics: the page cannot be made")
            self._failed = True
            return web.Response(status=500)
        self._failed = False
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def stop(self) -> None:
        """Close the page."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
