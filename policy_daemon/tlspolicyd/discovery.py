"""One look-up of a domain: the TXT record, and the policy if that is called for (RFC 8461 §3.1, §3.3).

Nothing is decided here about what is cached: `Found` says what the world says, `policies` what follows from it.

Diagnostics: nothing raises but cancellation.
Limits: how many look-ups begin at a time (`pace`), how many questions and fetches are under way; refreshes have their
own number, so that they never stand in the way of a first contact. A refresh keeps its place for ten seconds at most;
domains that failed twice in two days have all the time and places of their own, so that hanging policy hosts, however
many, keep nobody else's policy from being refreshed ahead of its end: 32 places of ten seconds are 276,000 a day, more
than are kept, and each that hangs has two in two days.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from mailcommon.dns.answer import Answer
from mailcommon.log import pairs
from tlspolicyd.cache.entry import Entry, decode, make_entry
from tlspolicyd.cache.keeper import Keeper
from tlspolicyd.clocks import Clocks
from tlspolicyd.facts import Failure, Policy
from tlspolicyd.lane import Lane
from tlspolicyd.pace import Pace
from tlspolicyd.sts.record import record_name, select
from tlspolicyd.timing import Timing
from tlspolicyd.tries import Tries

_PAUSE = 0.2  # seconds between two looks at whether another host is done
_log = logging.getLogger("tlspolicyd")


class TxtResolver(Protocol):
    """mailcommon.dns.async_resolver.AsyncResolver, as far as it is needed here."""

    async def txt(self, name: str) -> Answer[bytes]:
        """Each record's strings joined."""
        ...


class FetchResult(Protocol):
    """What a fetch came to: a policy or a failure."""

    @property
    def policy(self) -> Policy | None:
        """The policy, if it was fetched and is valid."""
        ...

    @property
    def failure(self) -> Failure | None:
        """Why there is none."""
        ...

    @property
    def reason(self) -> str:
        """The same, for people."""
        ...

    @property
    def lines(self) -> tuple[str, ...]:
        """What was published, if it is no policy."""
        ...


class Fetcher(Protocol):
    """Gets the policy of a domain over HTTPS."""

    async def fetch(self, domain: str) -> FetchResult:
        """Within the fetcher's own time limit."""
        ...


class Hooks:
    """What the metrics hear of; this one does nothing."""

    def fetched(self, outcome: str, seconds: float) -> None:
        """A fetch ended: "ok" or a word of `Failure`."""

    def refresh_failed(self, reason: str) -> None:
        """A policy that is held could not be fetched anew: a word of `Failure`."""


class Kind(enum.Enum):
    ABSENT = enum.auto()  # no usable TXT record
    UNKNOWN = enum.auto()  # DNS could not say
    KEPT = enum.auto()  # the id is that of the policy held
    WAITING = enum.auto()  # a fetch failed and it is too early for another
    FAILED = enum.auto()
    FETCHED = enum.auto()


@dataclass(frozen=True, slots=True)
class Found:
    kind: Kind
    ttl: float = 0.0  # seconds, of the TXT answer
    entry: Entry | None = None  # with FETCHED
    failure: Failure | None = None
    reason: str = ""  # for people
    lines: tuple[str, ...] = ()  # with Failure.INVALID: what was published
    pause: float = 0.0  # seconds until a fetch may be tried again
    tried: bool = False  # this process has fetched
    absent: bool = False  # DNS says that there is no usable record, and the fetch was tried all the same


@dataclass(frozen=True, slots=True)
class Limits:
    questions: int = 500  # TXT look-ups at a time
    fetches: int = 1000  # first contacts
    refreshes: int = 32  # of policies that are held
    repeats: int = 16  # of those whose refresh failed twice lately
    refreshes_waiting: int = 5000  # for one of the above; the others come again minutes later
    repeats_waiting: int = 200
    flights: int = 20_000  # domains being looked up, most of them waiting for one of the above
    negatives: int = 100_000  # domains remembered to have no policy
    facts: int = 16_384  # policies kept in the form in which they are handed out


class Discovery:
    """`resolver`, `fetcher` may be exchanged while it runs (reload)."""

    def __init__(
        self,
        resolver: TxtResolver,
        fetcher: Fetcher,
        keeper: Keeper,
        timing: Timing,
        limits: Limits,
        clocks: Clocks,
        hooks: Hooks,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.resolver = resolver
        self.fetcher = fetcher
        self.tries = Tries(timing.retry_least, timing.retry_most)
        self._keeper = keeper
        self._timing = timing
        self._clocks = clocks
        self._hooks = hooks
        self._sleep = sleep
        self._pace = Pace()
        self._questions = asyncio.Semaphore(limits.questions)
        self._fetches = asyncio.Semaphore(limits.fetches)
        self._refreshes = Lane(limits.refreshes, limits.refreshes_waiting)
        self._repeats = Lane(limits.repeats, limits.repeats_waiting)

    async def look(self, domain: str, held: Entry | None, *, anyway: bool, force: bool = False) -> Found:
        """Look at the TXT record; fetch if its id is not that of `held`, or `anyway`.

        If nobody can read `held`, the policy host is asked whatever the TXT record says.

        `force`: without the pause after a failure, because a person wants it.
        """
        async with self._pace.turn():
            return await self._look(domain, held, anyway=anyway, force=force)

    async def _look(self, domain: str, held: Entry | None, *, anyway: bool, force: bool) -> Found:
        async with self._questions:
            answer = await self.resolver.txt(record_name(domain))
        known = decode(held) if held is not None else None
        damaged = held is not None and known is None  # there is a policy, and nobody can read it
        signal = select(answer.records)
        record_id = signal.id
        if answer.status.failed:
            reason = f"TXT look-up: {answer.status.value} {answer.detail}".rstrip()
            if not damaged and (known is None or not anyway):
                return Found(Kind.UNKNOWN, reason=reason)
            # RFC 8461 §10.2: whoever disturbs DNS must not be able to keep a policy from being refreshed
            record_id = known[0] if known is not None else ""
        elif not record_id and not damaged:
            return Found(Kind.ABSENT, answer.ttl, reason=signal.reason or "no TXT record for MTA-STS")
        elif known is not None and known[0] == record_id and not anyway:
            return Found(Kind.KEPT, answer.ttl)  # RFC 8461 §5.1
        found = await self._try(domain, record_id, held, answer.ttl, readable=known is not None, force=force)
        return replace(found, absent=True) if not record_id and not answer.status.failed else found

    async def _try(
        self, domain: str, record_id: str, held: Entry | None, ttl: float, *, readable: bool, force: bool
    ) -> Found:
        """Fetch if it is not too early, in the lane where it belongs. `readable`: the policy held is of use."""
        pause = 0.0 if force else self.tries.wait(domain, record_id, self._clocks.monotonic())
        if pause:
            return Found(Kind.WAITING, ttl, pause=pause, reason="the last fetch failed, the next try comes later")
        if not readable or force:
            async with self._fetches:
                return await self._get(domain, record_id, held, ttl, force=force)
        repeated = self.tries.unsteady(domain, self._clocks.monotonic())
        lane = self._repeats if repeated else self._refreshes
        if lane.full:
            pause = self._timing.retry_least
            return Found(Kind.WAITING, ttl, pause=pause, reason="too many other policies are being refreshed")
        async with lane:
            patience = None if repeated else self._timing.refresh_patience
            return await self._get(domain, record_id, held, ttl, patience=patience)

    async def _get(
        self,
        domain: str,
        record_id: str,
        held: Entry | None,
        ttl: float,
        *,
        force: bool = False,
        patience: float | None = None,
    ) -> Found:
        """Fetch, by ourselves or through another host; `patience`: seconds, None: the fetcher's own limit."""
        if not self._keeper.store.shared:
            return await self._fetch(domain, record_id, held, ttl, patience)
        return await self._fetch_for_all(domain, record_id, held, ttl, patience, force=force)

    async def _fetch(
        self, domain: str, record_id: str, held: Entry | None, ttl: float, patience: float | None
    ) -> Found:
        begun = self._clocks.monotonic()
        lines: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(patience):
                result = await self.fetcher.fetch(domain)
            policy, failure, reason, lines = result.policy, result.failure, result.reason, result.lines
        except TimeoutError:
            policy, failure = None, Failure.FETCH
            reason = f"no policy within {patience or 0.0:g} s; it is tried again later"
        except Exception as fault:  # noqa: BLE001 - a bug there must not end the life of a policy here
            _log.exception("sts: %s", pairs(domain=domain, event="error"))
            policy, failure, reason = None, Failure.FETCH, f"error inside: {type(fault).__name__}"
        ended = self._clocks.monotonic()
        if policy is not None:
            self._hooks.fetched("ok", ended - begun)
            self.tries.clear(domain)
            now = self._clocks.wall()
            # RFC 8461 §5.1: the time counts from the fetch
            return Found(Kind.FETCHED, ttl, make_entry(policy, record_id, now, now), tried=True)
        failure = failure or Failure.FETCH
        self._hooks.fetched(str(failure), ended - begun)
        pause = self.tries.failed(domain, record_id, ended, held=held is not None)
        return Found(Kind.FAILED, ttl, failure=failure, reason=reason, lines=lines, pause=pause, tried=True)

    async def _fetch_for_all(
        self, domain: str, record_id: str, held: Entry | None, ttl: float, patience: float | None, *, force: bool
    ) -> Found:
        """As `_fetch`, once for all hosts that share the store; without the store, as if we were alone."""
        keeper, store = self._keeper, self._keeper.store
        give_up = self._clocks.monotonic() + (patience or self._timing.claim)
        while not await keeper.ask(lambda: store.claim(domain, self._timing.claim), True):
            found = None if force else await self._from_others(domain, record_id, held, ttl)
            if found is not None:
                return found
            if self._clocks.monotonic() >= give_up:
                if patience is None:
                    break
                # the other host may be hanging too; what we hold is good until later
                return Found(Kind.WAITING, ttl, pause=self._timing.retry_least, reason="another host is fetching")
            await self._sleep(_PAUSE)
        try:
            # After the claim: whoever had it before may have been done between two looks.
            found = None if force else await self._from_others(domain, record_id, held, ttl)
            if found is not None:
                return found
            found = await self._fetch(domain, record_id, held, ttl, patience)
            if found.entry is not None and found.entry.max_age:
                # before the claim ends, so that whoever waits for it finds this
                await keeper.put_now(domain, found.entry)
            elif found.kind is Kind.FAILED:
                text = f"{found.failure} {found.reason}"
                await keeper.ask(lambda: store.note_failure(domain, record_id, text, self._timing.retry_least), None)
            return found
        finally:
            await keeper.ask(lambda: store.release(domain), None)

    async def _from_others(self, domain: str, record_id: str, held: Entry | None, ttl: float) -> Found | None:
        """What another host came to with this id: a policy fetched later than ours, or a failure."""
        keeper, store = self._keeper, self._keeper.store
        theirs = await keeper.ask(lambda: store.read(domain), None)
        if theirs is not None and theirs.fetched_at > (held.fetched_at if held is not None else 0.0):
            known = decode(theirs)
            if known is not None and known[0] == record_id and theirs.expires_at > self._clocks.wall():
                return Found(Kind.FETCHED, ttl, theirs)
        noted = await keeper.ask(lambda: store.failure(domain, record_id), "")
        if not noted:
            return None
        word, _, reason = noted.partition(" ")
        failure = Failure(word) if word in set(Failure) else Failure.FETCH
        pause = self.tries.failed(domain, record_id, self._clocks.monotonic(), held=held is not None)
        return Found(Kind.FAILED, ttl, failure=failure, reason=f"{reason} (seen by another host)", pause=pause)
