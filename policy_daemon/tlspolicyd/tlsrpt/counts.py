"""Sessions -> counts by UTC day, domain, policy and failure, in memory until they are written.

`add` counts a session; `take` gives what is new since the last `take` and begins anew.

Limits: failures of one policy of one domain are told apart in detail up to 100 a day, then by result and MX host up
to 200, then by result alone; the sessions are counted all the same. Policies of one domain: 100 a day, domains:
200,000. What is beyond is dropped and counted in `dropped`.
Memory: some 500 octets for each policy and failure of the day.

Standards: RFC 8460 §4.1 (a UTC day), §4.4.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, Session

MOST_DOMAINS = 200_000
MOST_POLICIES = 100
MOST_DETAILED = 100
MOST_FAILURES = 200


def day_of(unix_seconds: float) -> datetime.date:
    """The UTC day."""
    return datetime.datetime.fromtimestamp(unix_seconds, datetime.UTC).date()


@dataclass(slots=True)
class Count:
    """What is counted of one policy of one domain on one day."""

    successes: int = 0
    failures: int = 0
    details: dict[Failure, int] = field(default_factory=dict)  # sessions with this failure

    def add(self, other: Count) -> None:
        """All of `other` to this."""
        self.successes += other.successes
        self.failures += other.failures
        for failure, number in other.details.items():
            self.details[failure] = self.details.get(failure, 0) + number


@dataclass(frozen=True, slots=True)
class Row:
    """One count, as it is written."""

    day: datetime.date
    domain: str
    policy: AppliedPolicy
    count: Count
    record: str = ""  # the newest TLSRPT record that was seen, "" if none was


@dataclass(slots=True)
class _Domain:
    counts: dict[AppliedPolicy, Count] = field(default_factory=dict)  # not yet written
    record: str = ""
    seen: dict[AppliedPolicy, set[Failure]] = field(default_factory=dict)  # of the whole day


class Counts:
    """For one thread."""

    def __init__(self, *, domains: int = MOST_DOMAINS) -> None:
        self.dropped = 0  # sessions that found no place
        self._most = domains
        self._days: dict[datetime.date, dict[str, _Domain]] = {}
        self._new: dict[tuple[datetime.date, str], None] = {}  # with counts that are not yet written

    def __len__(self) -> int:
        """How many domains wait to be written."""
        return len(self._new)

    def add(self, session: Session, day: datetime.date) -> None:
        """Count one session."""
        place = self._place(day, session.domain, session.policy)
        if place is None:
            self.dropped += 1
            return
        domain, count = place
        if session.record:
            domain.record = session.record
        if session.failed:
            count.failures += 1
            seen = domain.seen[session.policy]
            for failure in {_told_apart(failure, seen): None for failure in session.failures}:
                count.details[failure] = count.details.get(failure, 0) + 1
        else:
            count.successes += 1

    def take(self) -> list[Row]:
        """What is new, for the caller to write. Days that are over are forgotten."""
        rows = []
        for day, name in self._new:
            domain = self._days[day][name]
            rows += [Row(day, name, policy, count, domain.record) for policy, count in domain.counts.items()]
            domain.counts = {}
        self._new.clear()
        if self._days:
            newest = max(self._days)
            self._days = {newest: self._days[newest]}
        return rows

    def _place(self, day: datetime.date, name: str, policy: AppliedPolicy) -> tuple[_Domain, Count] | None:
        domains = self._days.setdefault(day, {})
        domain = domains.get(name)
        if domain is None:
            if sum(map(len, self._days.values())) >= self._most:
                return None
            domain = domains[name] = _Domain()
        if policy not in domain.seen:
            if len(domain.seen) >= MOST_POLICIES:
                return None
            domain.seen[policy] = set()
        self._new[day, name] = None
        return domain, domain.counts.setdefault(policy, Count())


def _told_apart(failure: Failure, seen: set[Failure]) -> Failure:
    """`failure` with as much detail as there is room for."""
    for kept, most in ((failure, MOST_DETAILED), (Failure(failure.result, mx=failure.mx), MOST_FAILURES)):
        if kept in seen:
            return kept
        if len(seen) < most:
            seen.add(kept)
            return kept
    return Failure(failure.result)


def fold(details: dict[Failure, int], most: int = MOST_FAILURES) -> dict[Failure, int]:
    """Failures for a report, the most frequent first; what is beyond `most` is told by result alone."""
    ordered = sorted(details.items(), key=lambda item: (-item[1], _order(item[0])))
    folded: dict[Failure, int] = {}
    for failure, number in ordered:
        kept = failure if len(folded) < most else Failure(failure.result)
        folded[kept] = folded.get(kept, 0) + number
    return folded


def _order(failure: Failure) -> tuple[str, ...]:
    return (str(failure.result), failure.mx, failure.ip, failure.sending_ip, failure.helo, failure.reason, failure.info)


def merge(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of the same day, domain and policy made one, in their first order."""
    merged: dict[tuple[datetime.date, str, AppliedPolicy], Row] = {}
    for row in rows:
        key = (row.day, row.domain, row.policy)
        if key not in merged:
            count = Count()
            merged[key] = replace(row, count=count)
        merged[key].count.add(row.count)
    yield from merged.values()
