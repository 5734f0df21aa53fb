"""The life of a policy: found by its TXT record, fetched, cached, looked after, expired (RFC 8461 §3.1, §3.3, §5.1).

`peek` answers from memory and never waits; what it finds due is done in the background. `fact` waits for the first
look-up of a domain, but no longer than it is told to. There is one look-up of a domain at a time, whoever asks.

Diagnostics: nothing here raises. A fault in DNS or in the fetch never takes an unexpired policy away; without one it
means "no policy", since a mail that waits for ever helps nobody (RFC 8461 §3.3). `unreadable` is set for an enforce
policy whose text is damaged in the store, for at most a day; for at most an hour if its TXT record is gone too.
Limits: `discovery.Limits`. Beyond them a domain that is asked for the first time has no policy for the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tlspolicyd.alerts import Alerts
from tlspolicyd.cache.entry import Entry
from tlspolicyd.cache.keeper import Keeper
from tlspolicyd.cache.store import Store
from tlspolicyd.clocks import Clocks
from tlspolicyd.discovery import Discovery, Fetcher, Found, Hooks, Kind, Limits, TxtResolver
from tlspolicyd.facts import Failure, StsFact
from tlspolicyd.held import Held
from tlspolicyd.negatives import Negatives
from tlspolicyd.suspicions import Suspicions
from tlspolicyd.timing import Timing
from tlspolicyd.unreadable import give_up


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Found | None]
    started: float  # monotonic
    suspected: bool = False  # the policy held came under suspicion meanwhile


class Policies:
    """For one event loop. `entries`: policies kept. `on_change(domain)`: what was answered may no longer be right."""

    def __init__(
        self,
        resolver: TxtResolver,
        fetcher: Fetcher,
        store: Store,
        *,
        entries: int = 200_000,
        timing: Timing | None = None,
        limits: Limits | None = None,
        clocks: Clocks | None = None,
        on_change: Callable[[str], None] = lambda domain: None,  # noqa: ARG005 - named for the caller
        hooks: Hooks | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._timing = timing or Timing()
        self._limits = limits or Limits()
        self._clocks = clocks or Clocks()
        self._wall, self._monotonic = self._clocks.wall, self._clocks.monotonic
        self._on_change = on_change
        self._hooks = hooks or Hooks()
        self.keeper = Keeper(store, entries, self._clocks, self._changed_elsewhere)
        self.discovery = Discovery(
            resolver, fetcher, self.keeper, self._timing, self._limits, self._clocks, self._hooks, sleep
        )
        self._negatives = Negatives(self._limits.negatives, self._monotonic)
        self._flights: dict[str, _Flight] = {}
        self._tended: set[str] = set()
        self._tended_again: set[str] = set()  # those whose refresh failed twice lately
        self._suspicions = Suspicions(self._timing.suspect, self._timing.check_most)
        self._alerts = Alerts(self._clocks)
        self._held = Held(self.keeper, self._clocks, self._alerts, self._limits.facts)

    def __len__(self) -> int:
        """How many policies are known."""
        return len(self.keeper)

    @property
    def under_way(self) -> int:
        """How many look-ups."""
        return len(self._flights)

    @property
    def refreshing(self) -> int:
        """How many look-ups that `tend` has started, without those of domains whose refresh failed twice lately."""
        return len(self._tended)

    async def start(self) -> None:
        """Load what the store has."""
        await self.keeper.load()

    async def close(self) -> None:
        """Give up what is under way, write what is new, let go of the store."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.keeper.close()

    def peek(self, domain: str) -> StsFact | None:
        """What is known of `domain` (A-labels, lower case) without waiting; None: nothing is."""
        entry = self.keeper.get(domain)
        if entry is not None:
            wall = self._wall()
            # RFC 8461 §5.1: only while the time since the fetch has not exceeded max_age
            if entry.fetched_at <= wall < entry.fetched_at + entry.max_age or self._held.in_force(domain, entry, wall):
                fact = entry.fact or self._held.make_fact(domain, entry)
                if fact is not None:
                    if self._monotonic() >= entry.check_at:
                        self._check(domain, entry)
                    return fact
        negative = self._negatives.get(domain)
        if negative is None:
            return None
        if self._monotonic() >= negative.check_at:
            self._start(domain)
        return negative.fact

    async def fact(self, domain: str, wait: float) -> StsFact:
        """What is known of `domain`; at the first contact after at most `wait` seconds."""
        known = self.peek(domain)
        if known is not None:
            return known
        flight = self._start(domain)
        if flight is None:
            return StsFact(domain, reason="too many look-ups are under way")
        left = flight.started + wait - self._monotonic()
        if left > 0:
            # whoever stops waiting, or is cancelled, takes nothing away from the others
            await asyncio.wait((flight.task,), timeout=min(left, wait))
        known = self.peek(domain)
        if known is None:
            # RFC 8461 §5.1: fetched "perhaps asynchronously, so as not to block message delivery"
            return StsFact(domain, reason="the first look-up is still under way")
        return replace(known, cached=False)

    def suspect(self, domain: str) -> None:
        """The policy held does not fit what the domain does now (no MX host matches it): fetch it anew soon.

        RFC 8461 §5: no mail is to fail for good before a newer policy was looked for; some domains change the policy
        and forget to change the id.
        """
        now = self._monotonic()
        if self.keeper.get(domain) is None or self._suspicions.early(domain, now):
            return
        flight = self._flights.get(domain)
        if flight is not None:
            flight.suspected = True  # it may end without a fetch
            return
        self._alerts.not_fitting(domain)
        self._suspicions.note(domain, now)
        self._start(domain, anyway=True)

    def tend(self, domain: str) -> bool:
        """Refresh the policy of `domain` if it is time; True if a look-up was started for it."""
        entry = self.keeper.get(domain)
        if entry is None:
            return False
        wall = self._wall()
        if not self._held.in_force(domain, entry, wall) or not self._timing.maybe_due(entry, wall):
            return False
        if self._monotonic() < entry.check_at:
            return False
        if entry.max_age < 2 * self._timing.refresh_least or wall - entry.used_at > self._timing.unused:
            return False
        if wall < self._timing.refresh_at(domain, entry) or domain in self._flights:
            return False
        tended = self._tended
        if self.discovery.tries.unsteady(domain, self._monotonic()):
            tended = self._tended_again
            if len(tended) >= 2 * self._limits.repeats:
                return False
        if self._start(domain) is None:
            return False
        tended.add(domain)
        return True

    async def refresh(self, domain: str) -> Found | None:
        """Look `domain` up and fetch its policy now, because a person wants it; None: an error inside, logged."""
        while domain in self._flights:
            await asyncio.wait((self._flights[domain].task,))
        flight = self._start(domain, anyway=True, force=True)
        return await asyncio.shield(flight.task) if flight is not None else None

    def _check(self, domain: str, entry: Entry) -> None:
        """A use of a policy whose TXT record has not been looked at for a while."""
        entry.check_at = self._monotonic() + self._timing.check_least
        entry.used_at = self._wall()
        self.keeper.use(domain, entry)
        self._start(domain)

    def _start(self, domain: str, *, anyway: bool = False, force: bool = False) -> _Flight | None:
        """The look-up of `domain`, a new one if none is under way; None if there are too many."""
        flight = self._flights.get(domain)
        if flight is None:
            if len(self._flights) >= self._limits.flights:
                return None
            task = asyncio.get_running_loop().create_task(self._fly(domain, anyway=anyway, force=force))
            flight = self._flights[domain] = _Flight(task, self._monotonic())
        return flight

    async def _fly(self, domain: str, *, anyway: bool, force: bool) -> Found | None:
        found = None
        try:
            found = await self._look(domain, anyway=anyway, force=force)
        except Exception:  # noqa: BLE001 - logged once, and the domain is as one whose look-up failed
            self._alerts.error(domain)
            self._no_policy(domain, Found(Kind.UNKNOWN, reason="error inside"))
        finally:
            flight = self._flights.pop(domain, None)
            self._tended.discard(domain)
            self._tended_again.discard(domain)
        if flight is not None and flight.suspected and found is not None and found.kind in (Kind.KEPT, Kind.UNKNOWN):
            self.suspect(domain)
        return found

    async def _look(self, domain: str, *, anyway: bool, force: bool) -> Found:
        held = self._held.entry(domain)
        if held is None and self.keeper.store.shared:
            theirs = await self.keeper.ask(lambda: self.keeper.store.read(domain), None)
            if theirs is not None and self.keeper.get(domain) is None:
                self.keeper.adopt(domain, theirs)
                self._on_change(domain)
            held = self._held.entry(domain)
        before = (held.mode, held.body) if held is not None else None
        due = held is not None and self._wall() >= self._timing.refresh_at(domain, held)
        found = await self.discovery.look(domain, held, anyway=anyway or due, force=force)
        held = self._held.entry(domain)  # it may have expired meanwhile, or been forgotten
        if found.entry is not None:
            self._replace(domain, held, found)
            if before != (found.entry.mode, found.entry.body) or not found.entry.max_age:
                self._on_change(domain)
        elif held is None:
            self._no_policy(domain, found)
        else:
            self._keep(domain, held, found, due=due)
        return found

    def _replace(self, domain: str, held: Entry | None, found: Found) -> None:
        """RFC 8461 §5.1: a policy that was fetched takes the place of any other, and its time begins now."""
        entry = found.entry
        assert entry is not None
        self._alerts.record_there(domain)
        if held is not None and found.tried:
            entry.used_at = held.used_at
        if entry.max_age == 0:
            if held is not None:
                self.keeper.forget(domain)
            pause = self._timing.retry_least
            self._negatives.put(
                domain, StsFact(domain, signalled=True, cached=True, reason="max_age is 0"), pause, pause
            )
            return
        self._negatives.drop(domain)
        entry.check_at = self._next_check(domain, entry, found.ttl)
        if found.tried and not self.keeper.store.shared:
            self.keeper.put(domain, entry)
        else:
            self.keeper.adopt(domain, entry)  # the store has it already

    def _keep(self, domain: str, held: Entry, found: Found, *, due: bool) -> None:
        """RFC 8461 §3.3: whatever went wrong, an unexpired policy is applied."""
        held.check_at = self._next_check(domain, held, found.ttl)
        # nobody can read it, the domain does not announce it any more, its host does not give it out
        if found.absent and give_up(held, self._wall()):
            self._alerts.given_up(domain)
            self.keeper.put(domain, held)
        if found.kind is Kind.FAILED:
            self._hooks.refresh_failed(str(found.failure))
            self._alerts.refresh_failed(domain, held, found)
        elif found.kind is Kind.ABSENT and due:
            self._alerts.record_gone(domain, held, found)
        elif found.kind is Kind.KEPT:
            self._alerts.record_there(domain)

    def _next_check(self, domain: str, entry: Entry, ttl: float) -> float:
        """Monotonic: after the TTL of the TXT record, sooner if the refresh is due sooner."""
        due = max(self._timing.refresh_at(domain, entry) - self._wall(), self._timing.check_least)
        return self._monotonic() + min(self._timing.check_after(ttl), due)

    def _no_policy(self, domain: str, found: Found) -> None:
        """RFC 8461 §3.3: without an unexpired policy a failure means delivery as though there were none."""
        former = self._negatives.last(domain)
        if found.kind in (Kind.FAILED, Kind.WAITING):
            failure = found.failure or Failure.FETCH
            if found.kind is Kind.WAITING and former is not None and former.failure is not None:
                failure, found = former.failure, replace(found, reason=former.reason, lines=former.lines)
            fact = StsFact(domain, signalled=True, failure=failure, cached=True, lines=found.lines, reason=found.reason)
            check = min(found.pause, self._timing.negative_for(found.ttl))  # a new id may be tried at once
            self._negatives.put(domain, fact, found.pause, check)
        else:
            fact = StsFact(domain, cached=True, reason=found.reason)
            seconds = self._timing.negative_for(found.ttl)
            self._negatives.put(domain, fact, seconds, seconds)
        if former != fact:
            self._on_change(domain)

    def _changed_elsewhere(self, domain: str) -> None:
        self._negatives.drop(domain)
        self.discovery.tries.clear(domain)
        self._on_change(domain)
