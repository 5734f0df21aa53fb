"""The resolver for asyncio: the same answers, cache and bounds as the blocking one, other waiting.

Diagnostics: every method returns an `Answer`, also if the resolver is closed meanwhile; only cancellation raises.
Limits: as in `resolver`; at most 1,000 started look-ups at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from mailcommon.dns import exchange, lookup
from mailcommon.dns.answer import Answer, Mx, Tlsa
from mailcommon.dns.cache import AnswerCache, Key, key_of
from mailcommon.dns.counts import DnsCounts
from mailcommon.dns.lookup import Attempt, Question, make_question
from mailcommon.dns.settings import DnsSettings, Nameserver, nameservers_of
from mailcommon.dns.wire import Query

_MAX_STARTED = 1000
_CLOSED: Answer[Any] = lookup.failure("the resolver was closed")


class AsyncResolver(Protocol):
    """`Resolver` with methods that are awaited. A class that inherits from it has to add `query` only."""

    async def query(self, rdtype: str, name: str) -> Answer[Any]:
        """Look `name` up, or wait for the look-up that is under way."""
        ...

    def start(self, rdtype: str, name: str) -> None:  # noqa: ARG002 - for those that can look ahead
        """Begin to look `name` up; the answer goes into the cache."""
        return

    async def txt(self, name: str) -> Answer[bytes]:
        """See Resolver.txt."""
        return await self.query("TXT", name)

    async def a(self, name: str) -> Answer[str]:
        """See Resolver.a."""
        return await self.query("A", name)

    async def aaaa(self, name: str) -> Answer[str]:
        """See Resolver.aaaa."""
        return await self.query("AAAA", name)

    async def mx(self, name: str) -> Answer[Mx]:
        """See Resolver.mx."""
        return await self.query("MX", name)

    async def ptr(self, name: str) -> Answer[str]:
        """See Resolver.ptr."""
        return await self.query("PTR", name)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """See Resolver.tlsa."""
        return await self.query("TLSA", name)


class AsyncDnsResolver(AsyncResolver):
    """For one event loop. Raises ValueError if the settings name a server that cannot be read."""

    def __init__(
        self,
        settings: DnsSettings,
        cache: AnswerCache | None = None,
        clock: Callable[[], float] = time.monotonic,
        counts: DnsCounts | None = None,
    ) -> None:
        self._counts = counts or DnsCounts()
        self._servers = nameservers_of(settings)
        self._timeout = settings.timeout
        self._clock = clock
        self._cache = AnswerCache(settings.cache_entries, clock) if cache is None else cache
        self._flights: dict[Key, asyncio.Task[Answer[Any]]] = {}

    @property
    def cache(self) -> AnswerCache:
        """The answers kept: hand it to the resolver that follows this one when settings change."""
        return self._cache

    async def query(self, rdtype: str, name: str) -> Answer[Any]:
        """See Resolver."""
        key = key_of(rdtype, name)
        answer = self._cache.get(key)
        if answer is not None:
            self._counts.hit()
            return answer
        flight = self._join(key)
        if isinstance(flight, Answer):
            return flight
        await asyncio.wait((flight,))  # who is cancelled takes nobody else's answer away
        return _CLOSED if flight.cancelled() else flight.result()

    def start(self, rdtype: str, name: str) -> None:
        """See Resolver."""
        key = key_of(rdtype, name)
        if len(self._flights) < _MAX_STARTED and self._cache.get(key) is None:
            self._join(key)

    async def close(self) -> None:
        """Give up what is under way: whoever waits for it gets a failure."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _join(self, key: Key) -> asyncio.Task[Answer[Any]] | Answer[Any]:
        flight = self._flights.get(key)
        if flight is None:
            question = make_question(key, self._servers, self._timeout, self._clock)
            if isinstance(question, Answer):
                return question
            flight = self._flights[key] = asyncio.get_running_loop().create_task(self._fly(key, question))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    async def _fly(self, key: Key, question: Question) -> Answer[Any]:
        steps = lookup.look_up(question)
        try:
            attempt = next(steps)
            while True:
                attempt = steps.send(await _attempt(attempt))
        except StopIteration as end:
            answer: Answer[Any] = end.value
        self._cache.put(key, answer)
        self._counts.asked(answer.status)
        return answer


async def _attempt(attempt: Attempt) -> bytes | OSError:
    try:
        async with asyncio.timeout(attempt.seconds):
            if attempt.stream:
                return await _exchange_stream(attempt.server, attempt.query)
            return await _exchange_datagram(attempt.server, attempt.query)
    except OSError as fault:
        return fault


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the answer to `query`; the socket is connected, as in `exchange`."""

    def __init__(self, query: Query, answer: asyncio.Future[bytes]) -> None:
        self._query = query
        self._answer = answer
        self._strange = 0

    def datagram_received(self, data: bytes, _address: Any) -> None:
        if self._answer.done():
            return
        if self._query.matches(data):
            self._answer.set_result(data)
            return
        self._strange += 1
        if self._strange >= exchange.MAX_STRANGE:
            self._answer.set_exception(exchange.too_strange())

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


async def _exchange_datagram(server: Nameserver, query: Query) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(query, answer), remote_addr=(server.host, server.port), family=server.family
    )
    try:
        transport.sendto(query.octets)
        return await answer
    finally:
        transport.abort()


async def _exchange_stream(server: Nameserver, query: Query) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port, family=server.family)
    try:
        writer.write(len(query.octets).to_bytes(2, "big") + query.octets)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise exchange.closed() from None
    finally:
        writer.transport.abort()
