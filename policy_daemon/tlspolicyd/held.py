"""The policies that are held, as what they say now: in force or expired, readable or damaged.

Limits: `limit` policies are kept in the form in which they are handed out.
"""

from __future__ import annotations

from collections import deque

from tlspolicyd.alerts import Alerts
from tlspolicyd.cache.entry import Entry, decode
from tlspolicyd.cache.keeper import Keeper
from tlspolicyd.clocks import Clocks
from tlspolicyd.facts import Mode, StsFact
from tlspolicyd.unreadable import unreadable

_SKEW = 300.0  # seconds that a fetch may lie ahead of our clock: another host's clock


class Held:
    """A view of `keeper`."""

    def __init__(self, keeper: Keeper, clocks: Clocks, alerts: Alerts, limit: int) -> None:
        self._keeper = keeper
        self._clocks = clocks
        self._alerts = alerts
        self._limit = limit
        self._made: deque[Entry] = deque()

    def entry(self, domain: str) -> Entry | None:
        """The unexpired policy of `domain`."""
        entry = self._keeper.get(domain)
        return entry if entry is not None and self.in_force(domain, entry, self._clocks.wall()) else None

    def in_force(self, domain: str, entry: Entry, wall: float) -> bool:
        """Whether `entry` has not expired; puts right what a jump of the clock would do to it."""
        if entry.fetched_at - wall > _SKEW:
            # Fetched in a time that is not yet: the clock was wrong then, or is now. The policy is not dropped for
            # that, nor does it live until then: its time begins now.
            self._alerts.clock_went_back(domain, int(entry.fetched_at - wall))
            entry.fetched_at, entry.used_at, entry.fact, entry.check_at = wall, wall, None, 0.0
            self._keeper.put(domain, entry)
        if wall < entry.expires_at:
            return True
        self._keeper.expire(domain, entry)
        return False

    def make_fact(self, domain: str, entry: Entry) -> StsFact | None:
        """What `entry`, which is in force, says; None: nothing after all."""
        known = decode(entry)
        if known is None:
            return self._damaged(domain, entry)
        record_id, policy = known
        entry.fact = StsFact(
            domain,
            policy=policy,
            id=record_id,
            fetched_at=entry.fetched_at,
            expires_at=entry.expires_at,
            cached=True,
            signalled=True,
        )
        return self._remember(entry)

    def _damaged(self, domain: str, entry: Entry) -> StsFact | None:
        if entry.mode is not Mode.ENFORCE:
            self._keeper.forget(domain)
            return None
        self._alerts.unreadable(domain)
        entry = unreadable(domain, entry, self._clocks.wall())
        self._keeper.put(domain, entry)
        return self._remember(entry)

    def _remember(self, entry: Entry) -> StsFact | None:
        self._made.append(entry)
        if len(self._made) > self._limit:
            self._made.popleft().fact = None
        return entry.fact
