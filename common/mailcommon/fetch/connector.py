"""Connections to chosen addresses only, that end when the fetch ends.

`with Attempt(addresses): await session.get(...)` makes a `Connector` connect to these and, at the end, cut what it
opened. Each asyncio task has an attempt of its own.

Security: left to itself aiohttp closes a TLS connection politely, and uvloop then goes on reading for up to 30 seconds,
whatever the other side sends: a host with a gigabyte to send would keep a connection and the CPU busy long after its
answer was refused. Aborting the transport is not enough: that of asyncio does nothing after a second close(). What
aiohttp reads without limit (interim answers, chunk extensions) ends with the octets that a connection may bring.
Limits: from one connection four times the octets of the largest document, and 64 KB in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import socket
import ssl
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

_FACTOR = 4
_LEAST = 65_536  # octets; a header may have tens of kilobytes

_attempt: contextvars.ContextVar[Attempt] = contextvars.ContextVar("attempt")


class Attempt:
    """The addresses that may be connected to, and the sockets made for it."""

    def __init__(self, addresses: tuple[str, ...], octets: int) -> None:
        """`addresses`: IPv4 and IPv6 in text form, in the order in which they are tried. `octets`: of a document."""
        self.addresses = addresses
        self.room = max(_FACTOR * octets, _LEAST)
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._token = _attempt.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None) -> None:
        _attempt.reset(self._token)
        for each in self.sockets:
            with contextlib.suppress(OSError):  # closed already, or never connected
                each.shutdown(socket.SHUT_RDWR)  # whoever waits for it sees its end now


def _make_socket(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    _attempt.get().sockets.append(made)
    return made


class Connector(aiohttp.TCPConnector):
    """For a session of aiohttp; nothing is kept between requests, neither connections nor addresses."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        """`tls`: the rules for every connection."""
        super().__init__(
            ssl=tls,
            resolver=_Chosen(),
            use_dns_cache=False,
            force_close=True,
            limit=0,
            socket_factory=_make_socket,
        )
        self._factory = functools.partial(_Bounded, loop=self._loop)  # type: ignore[assignment]  # partial is invariant


class _Bounded(ResponseHandler):
    """aiohttp's protocol, for as many octets as the document can need."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._room = _attempt.get().room

    def data_received(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room >= 0:
            super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()


class _Chosen(AbstractResolver):
    """Gives aiohttp the addresses of the running attempt, whatever the name."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the connector asks for both at once
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in _attempt.get().addresses
        ]

    async def close(self) -> None:
        return
