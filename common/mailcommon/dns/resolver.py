"""The resolver that checks are given, and its blocking form.

Diagnostics: every method returns an `Answer`, whatever happens; see `Status`.
Limits: one query takes at most the settings' timeout, all servers, retries, TCP and aliases included. At most 256
started look-ups wait to be collected; the answer of one that nobody collects is read after two seconds, or given up.
Security: `Answer.secure` is the resolver's word: it is worth as much as the way to the resolver.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from mailcommon.dns.answer import Answer, Mx, Tlsa
from mailcommon.dns.cache import AnswerCache, Key, key_of
from mailcommon.dns.counts import DnsCounts
from mailcommon.dns.flight import Flight
from mailcommon.dns.lookup import Question, make_question
from mailcommon.dns.settings import DnsSettings, nameservers_of

_MAX_STARTED = 256  # each holds a socket; the usual limit of a process is 1,024 descriptors
_NOTHING: tuple[Key, None] = (("", ""), None)
_LINGER = 2.0  # seconds after which a started look-up that nobody asked for is looked at
_GIVE_UP = 30.0  # seconds after which it is given up without an answer


class Resolver(Protocol):
    """What a check may ask. A class that inherits from it has to add `query` only.

    `name` is any text: U-labels are turned into A-labels, a trailing dot is ignored, and a name that fits no DNS
    message comes back as NXDOMAIN without a query. Record types: TXT, A, AAAA, MX, PTR, TLSA, CNAME, NS.
    """

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """Look `name` up, or wait for the look-up that is under way."""
        ...

    def start(self, rdtype: str, name: str) -> None:  # noqa: ARG002 - for those that can look ahead
        """Begin to look `name` up, so that a later `query` waits less. Returns at once; costs nothing if known."""
        return

    def txt(self, name: str) -> Answer[bytes]:
        """TXT records, the strings of each joined as they are (RFC 7208 §3.3)."""
        return self.query("TXT", name)

    def a(self, name: str) -> Answer[str]:
        """IPv4 addresses."""
        return self.query("A", name)

    def aaaa(self, name: str) -> Answer[str]:
        """IPv6 addresses in their usual short form."""
        return self.query("AAAA", name)

    def mx(self, name: str) -> Answer[Mx]:
        """Mail exchangers by preference, the null MX included."""
        return self.query("MX", name)

    def ptr(self, name: str) -> Answer[str]:
        """Host names, lower case, without a trailing dot; `name` as `names.reverse_name` makes it."""
        return self.query("PTR", name)

    def tlsa(self, name: str) -> Answer[Tlsa]:
        """TLSA records; worth nothing unless the answer is `secure` (RFC 7672 §2.1)."""
        return self.query("TLSA", name)


class DnsResolver(Resolver):
    """Blocking and thread safe. It has no threads: a started look-up is sent at once, and who asks reads its answer.

    Raises ValueError if the settings name a server that cannot be read. /etc/resolv.conf is read once, here. Make it
    after a fork: two processes must not read from one socket.
    """

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
        self._lock = threading.Lock()
        self._flights: dict[Key, Flight] = {}
        self._waiting: dict[Key, Flight] = {}  # started and not collected, oldest first

    @property
    def cache(self) -> AnswerCache:
        """The answers kept: hand it to the resolver that follows this one when settings change."""
        return self._cache

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """See Resolver."""
        key = key_of(rdtype, name)
        answer = self._cache.get(key)
        if answer is not None:
            self._counts.hit()
            return answer
        flight = self._join(key)
        if isinstance(flight, Answer):
            return flight
        with flight.lock:
            if flight.answer is None:
                self._fly(key, flight)
            assert flight.answer is not None
            return flight.answer

    def start(self, rdtype: str, name: str) -> None:
        """See Resolver."""
        key = key_of(rdtype, name)
        if key in self._flights or self._cache.get(key) is not None:
            return
        self._collect()
        question = self._question(key)
        if isinstance(question, Answer):
            return
        flight = Flight(question)
        with flight.lock:
            with self._lock:
                full = len(self._waiting) >= _MAX_STARTED
                if full or key in self._flights or self._cache.get(key) is not None:
                    return
                self._flights[key] = self._waiting[key] = flight
            if not flight.send_ahead():
                self._land(key, flight)

    def close(self) -> None:
        """Give up what was started."""
        for key, flight in list(self._waiting.items()):
            with flight.lock:
                self._land(key, flight)

    def _question(self, key: Key) -> Question | Answer[Any]:
        return make_question(key, self._servers, self._timeout, self._clock)

    def _join(self, key: Key) -> Flight | Answer[Any]:
        """The look-up of `key` that is under way, or a new one; or the answer, if that is here by now."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight
            # a flight that has just landed left its answer in the cache before it went
            answer = self._cache.get(key)
            if answer is not None:
                return answer
            question = self._question(key)
            if isinstance(question, Answer):
                return question
            flight = self._flights[key] = Flight(question)
            return flight

    def _fly(self, key: Key, flight: Flight) -> None:
        """Do the look-up, holding the flight's lock."""
        try:
            flight.answer = flight.run()
            self._keep(key, flight.answer)
        finally:
            self._land(key, flight)

    def _land(self, key: Key, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
                self._waiting.pop(key, None)
        flight.close()

    def _collect(self) -> None:
        """Read the answers of started look-ups that nobody wanted so far, without waiting for any."""
        old = self._clock() - _LINGER
        while True:
            with self._lock:
                key, flight = next(iter(self._waiting.items()), _NOTHING)
                if flight is None or flight.looked > old:
                    return
                del self._waiting[key]
            if flight.lock.acquire(blocking=False):  # else somebody reads it now
                try:
                    self._read_ahead(key, flight)
                finally:
                    flight.lock.release()

    def _read_ahead(self, key: Key, flight: Flight) -> None:
        """Keep the answer if it has come and is complete. Without one the flight goes on: its message may still ask."""
        flight.answer = flight.read_ahead()
        if flight.answer is None and flight.is_open(_GIVE_UP):
            with self._lock:
                self._waiting[key] = flight
            return
        if flight.answer is not None:
            self._keep(key, flight.answer)
        self._land(key, flight)

    def _keep(self, key: Key, answer: Answer[Any]) -> None:
        self._cache.put(key, answer)
        self._counts.asked(answer.status)
