"""From a request to the reply: query, facts, decision, reply. The one place where all of the way is seen.

What is at hand is answered at once; anything else is looked up once, however many ask for it. A decision that had to be
looked up gets a log line.

Diagnostics: nothing raises. A fault inside is logged once; the answer is then NOTFOUND, which leaves Postfix its own
level, or TEMP if the domain is known to have an enforce policy: mail for it must not go out with less.
Limits: an answer takes at most a minute, Postfix waits for 100 seconds (socketmap_table(5)).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from tlspolicyd import socketmap
from tlspolicyd.decide import NOT_WEAKER, decide
from tlspolicyd.facts import Decision, Facts, Level, Mode, SiteLevel, StsFact
from tlspolicyd.logline import log_fields
from tlspolicyd.metrics import Metrics
from tlspolicyd.query import Query, read_query
from tlspolicyd.ready import LONGEST, ReadyReplies
from tlspolicyd.render import render

ANSWER_SECONDS = 60.0
_UNSETTLED = 5.0  # seconds that an answer is ready while a policy is signalled and not there

log = logging.getLogger("tlspolicyd")


class Gate(Protocol):
    """What is known of domains, and the way to find it out. `site_level`: see decide."""

    site_level: SiteLevel

    def hot(self, domain: str, port: int, /) -> Facts | None:
        """The facts if all are at hand."""
        ...

    async def facts(self, domain: str, port: int, /) -> Facts:
        """The facts, looked up where needed."""
        ...

    def peek(self, domain: str, /) -> StsFact | None:
        """The unexpired policy, if it is at hand."""
        ...


class Answers:
    """`gate` may be replaced at any time: look-ups under way end with the one that they began with."""

    def __init__(
        self, gate: Gate, ready: ReadyReplies, metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock`: unix seconds."""
        self.gate = gate
        self._ready = ready
        self._metrics = metrics
        self._clock = clock
        self._flights: dict[tuple[str, int], asyncio.Task[Decision | None]] = {}

    def answer(self, map_name: bytes, key: bytes) -> bytes | Awaitable[bytes]:
        """The reply to a request, or the wait for it."""
        domain = None
        try:
            query = read_query(_text(map_name), _text(key))
            if not query.known_map:
                return self._fixed("perm", socketmap.UNKNOWN_MAP)
            domain = query.domain
            if domain is None:
                return self._fixed("no-domain", socketmap.NOT_FOUND)
            facts = self.gate.hot(domain, query.port)
            if facts is None:
                return self._look_up(query, domain)
            decision = decide(facts, self.gate.site_level)
            reply = self._reply(query, decision)
            self._keep(map_name, key, facts, decision, reply)
        except Exception:  # noqa: BLE001 - the outer door, logged in _fault
            return self._fault(domain)
        return reply

    async def settled(self) -> None:
        """Wait until the look-ups that are under way now have ended."""
        if flights := list(self._flights.values()):
            await asyncio.wait(flights)

    async def close(self) -> None:
        """Give up the look-ups under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _look_up(self, query: Query, domain: str) -> bytes:
        place = (domain, query.port)
        flight = self._flights.get(place)
        if flight is None:
            flight = self._flights[place] = asyncio.get_running_loop().create_task(self._decide(*place))
            flight.add_done_callback(lambda _: self._flights.pop(place, None))
        # who hangs up takes nobody else's answer away
        decision = await asyncio.shield(flight)
        if decision is None:
            return self._after_fault(domain)
        try:
            return self._reply(query, decision)
        except Exception:  # noqa: BLE001 - the outer door, logged in _fault
            return self._fault(domain)

    async def _decide(self, domain: str, port: int) -> Decision | None:
        """The decision for all who wait; None after a fault, which is in the log then."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                facts = await self.gate.facts(domain, port)
            decision = decide(facts, self.gate.site_level)
            log.info("%s", log_fields(decision, facts, (time.monotonic() - begun) * 1000))
        except Exception:  # noqa: BLE001 - the outer door, logged in _log_fault
            self._log_fault(domain)
            return None
        return decision

    def _reply(self, query: Query, decision: Decision) -> bytes:
        reply = render(decision, query.tlsrpt)
        self._metrics.lookups(_outcome(decision))[0] += 1
        return reply

    def _keep(self, map_name: bytes, key: bytes, facts: Facts, decision: Decision, reply: bytes) -> None:
        """Keep the reply for as long as all that it was made of holds."""
        seconds = LONGEST
        sts, dane = facts.sts, facts.dane
        if decision.level is Level.TEMP:
            return
        if sts.policy is not None:
            seconds = min(seconds, sts.expires_at - self._clock())
        elif sts.signalled:
            seconds = min(seconds, _UNSETTLED)
        if dane.enabled:
            seconds = min(seconds, dane.expires_in)
        self._ready.put(
            socketmap.write_request(map_name, key),
            facts.domain,
            socketmap.write_reply(reply),
            seconds,
            self._metrics.lookups(_outcome(decision), ready=True),
        )

    def _fixed(self, outcome: str, reply: bytes) -> bytes:
        self._metrics.lookups(outcome)[0] += 1
        return reply

    def _fault(self, domain: str | None) -> bytes:
        self._log_fault(domain)
        return self._after_fault(domain)

    def _log_fault(self, domain: str | None) -> None:
        log.exception("fault while answering for %s", domain or "a key without domain")
        self._metrics.fault()

    def _after_fault(self, domain: str | None) -> bytes:
        enforced = False
        if domain is not None and Level.TEMP in NOT_WEAKER[self.gate.site_level]:
            with contextlib.suppress(Exception):
                known = self.gate.peek(domain)
                enforced = known is not None and (
                    known.unreadable or (known.policy is not None and known.policy.mode is Mode.ENFORCE)
                )
        return self._fixed("fault-temp", socketmap.FAULT) if enforced else self._fixed("fault", socketmap.NOT_FOUND)


def _outcome(decision: Decision) -> str:
    return str(decision.level) or "notfound"


def _text(octets: bytes) -> str:
    """What is not UTF-8 comes out with backslashes, which no domain has."""
    return octets.decode("utf-8", "backslashreplace")
