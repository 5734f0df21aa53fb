"""The facts about a domain: MTA-STS and DANE at the same time, each within its bound.

`hot` answers without waiting if both are at hand: the policy in memory, the DANE facts kept here for the least TTL of
the answers that they were made of.

Diagnostics: nothing raises but cancellation; what cannot be had is said in the facts.
Limits: `wait` seconds for a policy that is not cached, `seconds` for DANE; `entries` DANE facts are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import cachetools

from mailcommon.dns.async_resolver import AsyncResolver
from tlspolicyd.dane.lookup import SMTP, look_up
from tlspolicyd.facts import DaneFact, Facts, StsFact

_OFF = DaneFact(enabled=False, reason="DANE is switched off")


class PolicySource(Protocol):
    """MTA-STS, as `policies` gives it."""

    async def fact(self, domain: str, wait: float) -> StsFact:
        """What MTA-STS says, after at most `wait` seconds."""
        ...

    def peek(self, domain: str) -> StsFact | None:
        """The same if it is at hand."""
        ...


def _nothing(_facts: Facts) -> None:
    pass


class Lookup:
    """`dane`: whether DANE is looked up; `answered` hears of all facts that are given out, and must not wait.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        policies: PolicySource,
        resolver: AsyncResolver,
        *,
        dane: bool = True,
        wait: float = 3.0,
        seconds: float = 10.0,
        entries: int = 50_000,
        answered: Callable[[Facts], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policies = policies
        self._resolver = resolver
        self._dane_enabled = dane
        self._wait = wait
        self._seconds = seconds
        self._answered = answered
        self._clock = clock
        self._kept: cachetools.TLRUCache[tuple[str, int], tuple[float, DaneFact]] = cachetools.TLRUCache(
            entries, _expiry, timer=clock
        )

    async def facts(self, domain: str, port: int = SMTP) -> Facts:
        """What is known of `domain` (A-labels, lower case); `port`: where Postfix will connect to."""
        sts, found = await asyncio.gather(self._policies.fact(domain, self._wait), self._dane(domain, port))
        return self._give(Facts(domain, sts, found))

    def hot(self, domain: str, port: int = SMTP) -> Facts | None:
        """The same, if nothing has to be waited for."""
        sts = self._policies.peek(domain)
        if sts is None:
            return None
        known = self._known(domain, port)
        return None if known is None else self._give(Facts(domain, sts, known))

    def peek(self, domain: str) -> StsFact | None:
        """What MTA-STS says, if it is at hand."""
        return self._policies.peek(domain)

    def _give(self, facts: Facts) -> Facts:
        self._answered(facts)
        return facts

    def _known(self, domain: str, port: int) -> DaneFact | None:
        if not self._dane_enabled:
            return _OFF
        kept = self._kept.get((domain, port))
        if kept is None:
            return None
        expires, fact = kept
        left = int(expires - self._clock())
        return replace(fact, expires_in=left) if left > 0 else None

    async def _dane(self, domain: str, port: int) -> DaneFact:
        known = self._known(domain, port)
        if known is not None:
            return known
        fact = await look_up(self._resolver, domain, port=port, seconds=self._seconds)
        self._kept[domain, port] = (self._clock() + fact.expires_in, fact)
        return fact


def _expiry(_key: tuple[str, int], kept: tuple[float, DaneFact], _now: float) -> float:
    return kept[0]
