"""Connections from Postfix: octets in, replies out, in the order of the requests.

A connection carries any number of requests, one after the other or several at once. A request whose reply is ready is
answered from `ReadyReplies` without being read; the others go to `answer`.

Diagnostics: what is no socketmap request ends the connection with one log line; nothing raises.
Limits: connections, seconds without a request, seconds for the rest of a request, seconds in which a client takes no
octet of its replies (`Limits`); 64 KB of replies wait for a slow reader, then no more requests of its are read.
Security: outside text reaches the log through mailcommon.log only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from mailcommon.log import pairs
from tlspolicyd import socketmap
from tlspolicyd.netstring import LIMIT, Reader
from tlspolicyd.ready import ReadyReplies

Answer = Callable[[bytes, bytes], "bytes | Awaitable[bytes]"]  # (map, key) -> the reply, without its netstring

_TURN = 50  # requests of one connection that are answered before the others have their turn
_UNREAD = 65_536  # octets of replies that may wait for a client
_BACKLOG = 2 * LIMIT  # octets of requests that may wait
_CREDENTIALS = struct.Struct("3i")  # unix(7): process, user, group

log = logging.getLogger("tlspolicyd")


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds but the first."""

    connections: int = 1000
    idle: float = 600.0  # between two requests
    read: float = 20.0  # from the first to the last octet of a request; also for a client that takes no reply


class Clients:
    """All connections of the daemon; call it to get the protocol of a new one."""

    def __init__(self, answer: Answer, ready: ReadyReplies, limits: Limits) -> None:
        """`answer` and `limits` may be replaced while connections are open."""
        self.answer = answer
        self.ready = ready
        self.limits = limits
        self.draining = False
        self._open: set[SocketmapProtocol] = set()
        self._full = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __call__(self) -> SocketmapProtocol:
        """For create_server and create_unix_server."""
        return SocketmapProtocol(self)

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def admit(self, protocol: SocketmapProtocol) -> bool:
        """Count a new connection; False if it is one too many."""
        if len(self._open) >= self.limits.connections or self.draining:
            if not self._full and not self.draining:
                log.warning("%d connections are open, which is max_connections: more are refused", len(self._open))
            self._full = True
            return False
        self._open.add(protocol)
        self._empty.clear()
        return True

    def gone(self, protocol: SocketmapProtocol) -> None:
        """The connection is closed."""
        self._open.discard(protocol)
        # not at the first that ends: the warning is not to come again for each connection
        if len(self._open) < self.limits.connections * 0.9:
            self._full = False
        if not self._open:
            self._empty.set()

    async def watch(self) -> None:
        """Close what is idle, half-sent or not read for too long; runs until cancelled."""
        while True:
            await asyncio.sleep(min(5.0, self.limits.idle / 4, self.limits.read / 4))
            now = time.monotonic()
            for protocol in tuple(self._open):
                protocol.look(now)

    async def drain(self, seconds: float) -> None:
        """Finish the answers under way and close all; what is left after `seconds` is cut off."""
        self.draining = True
        for protocol in tuple(self._open):
            protocol.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d connections did not end within %g s and are cut off", len(self._open), seconds)
            for protocol in tuple(self._open):
                protocol.cut()


class SocketmapProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_busy",
        "_clients",
        "_ending",
        "_entries",
        "_half",
        "_last",
        "_quiet",
        "_reader",
        "_stuck",
        "_transport",
        "_write",
    )

    _transport: asyncio.Transport
    _write: Callable[[bytes], None]

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._entries = clients.ready.entries
        self._reader = Reader()
        self._busy: asyncio.Future[Any] | asyncio.Handle | None = None  # what is to continue with the next request
        self._quiet = True  # nothing is waiting: neither octets, nor an answer, nor the client's reading
        self._last = time.monotonic()  # when the last request came
        self._ending = False  # the client sends no more
        self._half = 0.0  # since when a request is half there, 0 if none is
        self._stuck = 0.0  # since when the client takes no replies, 0 if it does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # uvloop's transports have its methods, but are not derived from it
        self._transport = cast(asyncio.Transport, transport)
        self._write = self._transport.write
        if not self._clients.admit(self):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_UNREAD)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._quiet:
            entry = self._entries.get(data)
            if entry is not None:
                ends, reply, count = entry
                now = time.monotonic()
                if now < ends:
                    self._last = now
                    count[0] += 1
                    self._write(reply)
                    return
        if not self._transport.is_closing():
            self._reader.feed(data)
            self._work()

    def _work(self) -> None:
        """Answer what has come, until an answer has to be waited for or the client does not read."""
        reader, turns = self._reader, 0
        while self._busy is None and not self._stuck and (string := reader.next()) is not None:
            self._last, self._half = time.monotonic(), 0.0
            request = socketmap.read_request(string)
            if request is None:
                self._refuse("no socketmap request")
                return
            self._answer(request)
            turns += 1
            if turns == _TURN and self._busy is None:
                self._busy = asyncio.get_running_loop().call_soon(self._continue)
        if reader.fault:
            self._refuse(reader.fault)
            return
        self._settle()

    def _answer(self, request: socketmap.Request) -> None:
        try:
            result = self._clients.answer(request.map, request.key)
        except Exception:
            log.exception("fault while answering")
            result = socketmap.FAULT
        if isinstance(result, bytes):
            self._write(socketmap.write_reply(result))
        else:
            self._busy = asyncio.ensure_future(self._wait(result))

    async def _wait(self, answer: Awaitable[bytes]) -> None:
        try:
            reply = await answer
        except Exception:
            log.exception("fault while answering")
            reply = socketmap.FAULT
        if not self._transport.is_closing():
            self._write(socketmap.write_reply(reply))
            self._continue()

    def _continue(self) -> None:
        self._busy = None
        self._last = time.monotonic()
        if not self._transport.is_closing():
            self._work()

    def _settle(self) -> None:
        """Note what is being waited for, and read on or not."""
        pending = self._reader.pending
        waiting = self._busy is not None or self._stuck > 0
        self._quiet = not pending and not waiting
        if waiting or not pending:
            self._half = 0.0
        elif not self._half:
            self._half = time.monotonic()
        if waiting and pending > _BACKLOG:
            self._transport.pause_reading()
        elif not self._ending and not self._transport.is_reading():
            self._transport.resume_reading()
        if (self._clients.draining or self._ending) and not waiting:
            self._close()

    def drain(self) -> None:
        """Close as soon as nothing is under way."""
        if not self._transport.is_closing():
            self._settle()

    def cut(self) -> None:
        """Close at once."""
        self._transport.abort()

    def look(self, now: float) -> None:
        """Close if this has waited for the client for too long; `now` is monotonic."""
        limits = self._clients.limits
        if self._transport.is_closing():
            if now - self._last > limits.read:  # it does not take the last replies
                self.cut()
        elif self._stuck:
            if now - self._stuck > limits.read:
                self._refuse(f"takes no reply for {limits.read:g} s")
                self.cut()
        elif self._busy is not None:
            return
        elif self._half:
            if now - self._half > limits.read:
                self._refuse(f"a request is not whole after {limits.read:g} s")
        elif now - self._last > limits.idle:
            log.debug("closed: %s", pairs(client=self._client(), reason="idle"))
            self._close()

    def _refuse(self, why: str) -> None:
        log.warning("closed: %s", pairs(client=self._client(), reason=why))
        self._close()

    def _close(self) -> None:
        self._quiet = False
        self._last = time.monotonic()
        self._transport.close()

    def _client(self) -> str:
        """Who is at the other end: an address, or the process id behind a Unix socket."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            with contextlib.suppress(OSError):
                pid, uid, _ = _CREDENTIALS.unpack(
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                )
                return f"pid:{pid},uid:{uid}"
        name = self._transport.get_extra_info("peername")
        return f"[{name[0]}]:{name[1]}" if isinstance(name, tuple) else "unknown"

    def eof_received(self) -> bool:
        """See asyncio.Protocol. A client that only stopped sending still gets what it asked for."""
        if self._busy is None and not self._stuck:
            return False
        self._ending = True
        return True

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._stuck = time.monotonic()
        self._quiet = False

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._stuck = 0.0
        if self._busy is None and not self._transport.is_closing():
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol's signature
        """See asyncio.Protocol."""
        if self._busy is not None:
            self._busy.cancel()
        self._clients.gone(self)
