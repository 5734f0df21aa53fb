"""Counts of days that are over -> reports in the outbox, for the domains that ask for them.

For each domain and day whose moment has come its TLSRPT record is looked up. With places in it, a report is made, put
into the outbox and its counts are deleted, all in one transaction: whatever happens, they are in one report or still
there. Without a record they are deleted. If the look-up fails they wait until their day is over for a day; after that
the record counts that Postfix saw when it sent the mail, since whoever can disturb mail can disturb this look-up too
(RFC 8460 §7).

Counts that come late (from a host that could not write them) make another report of the same day.

Diagnostics: `StoreFault`, `LeaseLost`.
Limits: 50 look-ups at a time; `report`'s bounds on a report.
"""

from __future__ import annotations

import asyncio
import calendar
import datetime
import hashlib
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mailcommon import outbox
from mailcommon.dns.answer import Answer
from mailcommon.outbox import Outbox
from mailcommon.store import Lease, Store
from tlspolicyd.tlsrpt import record, tables
from tlspolicyd.tlsrpt.record import Wanted
from tlspolicyd.tlsrpt.report import Report, Reporter, make_report
from tlspolicyd.tlsrpt.tables import Pending

KIND = "tlsrpt"
_DAY = 86_400
_AT_ONCE = 50
_BATCH = 500  # domains that want no report, in one transaction
_MOST_PARTS = 20  # reports of one domain and day
_PATIENCE = 86_400.0  # seconds after the end of the day, from which on the record that the sender saw counts
MOST_PLACES = 5  # that one report is sent to


class TxtResolver(Protocol):
    """mailcommon.dns.async_resolver.AsyncResolver, as far as it is needed here."""

    async def txt(self, name: str) -> Answer[bytes]:
        """Each record's strings joined."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be done with the counts of a domain and day."""

    pending: Pending
    wanted: Wanted
    wait: bool = False  # the look-up failed

    @property
    def places(self) -> tuple[str, ...]:
        """Where the report goes, as URIs."""
        return tuple(str(place) for place in self.wanted.places[:MOST_PLACES])


@dataclass(slots=True)
class Made:
    """What a run did with the counts."""

    reports: int = 0
    unwanted: int = 0  # domains without a record, or excluded
    waiting: int = 0  # look-ups that failed
    left_out: int = 0  # sessions for which a report had no room

    def add(self, other: Made) -> None:
        """All of `other` to this."""
        self.reports += other.reports
        self.unwanted += other.unwanted
        self.waiting += other.waiting
        self.left_out += other.left_out


def moment(pending: Pending, delay: float) -> float:
    """When a report is made, unix seconds: after the end of its day, some time within `delay`.

    Always the same for a domain and day, however often and wherever it is asked, and of no pattern to anybody else:
    RFC 8460 §4.1 wants a random delay, so that a receiver does not get all its reports at once.
    """
    digest = hashlib.sha256(f"{pending.domain} {pending.day}".encode()).digest()
    return _begin(pending.day) + _DAY + delay * int.from_bytes(digest[:4]) / 2**32


def due(found: Iterable[Pending], now: float, delay: float) -> list[Pending]:
    """Those whose moment has come."""
    return [pending for pending in found if moment(pending, delay) <= now]


async def choose(resolver: TxtResolver, found: Iterable[Pending], exclude: Collection[str], now: float) -> list[Choice]:
    """Look up what each domain wants, once for all its days."""
    places = asyncio.Semaphore(_AT_ONCE)
    found = list(found)
    domains = dict.fromkeys(pending.domain for pending in found if pending.domain not in exclude)

    async def ask(domain: str) -> Answer[bytes]:
        async with places:
            return await resolver.txt(record.record_name(domain))

    answers = dict(zip(domains, await asyncio.gather(*map(ask, domains)), strict=True))
    return [_choose(pending, answers.get(pending.domain), now) for pending in found]


def _choose(pending: Pending, answer: Answer[bytes] | None, now: float) -> Choice:
    if answer is None:
        return Choice(pending, Wanted(reason="excluded by setting"))
    if not answer.status.failed:
        return Choice(pending, record.select(answer.records))
    if now < _begin(pending.day) + _DAY + _PATIENCE or not pending.record:
        return Choice(pending, Wanted(reason=f"TXT look-up: {answer.status.value} {answer.detail}".rstrip()), wait=True)
    return Choice(pending, record.select([pending.record.encode()]))


def make(store: Store, box: Outbox, lease: Lease, reporter: Reporter, choices: Iterable[Choice], now: float) -> Made:
    """Make what is to be made."""
    made = Made()
    unwanted = []
    for choice in choices:
        if choice.wait:
            made.waiting += 1
        elif choice.places:
            _make_one(store, box, lease, reporter, choice, now, made)
        else:
            unwanted.append(choice.pending)
    for start in range(0, len(unwanted), _BATCH):
        batch = unwanted[start : start + _BATCH]
        with store.write() as tx:
            lease.confirm(tx)
            for pending in batch:
                tables.forget(tx, pending.day, pending.domain)
        made.unwanted += len(batch)
    return made


def _make_one(
    store: Store, box: Outbox, lease: Lease, reporter: Reporter, choice: Choice, now: float, made: Made
) -> None:
    pending = choice.pending
    with store.write() as tx:
        lease.confirm(tx)
        rows = tables.rows_of(tx, pending.day, pending.domain)
        report = make_report(reporter, pending.domain, pending.day, rows, _token(pending.day))
        if not rows or not any(box.add(tx, boxed, choice.places, now) for boxed in _parts(report)):
            return
        tables.forget(tx, pending.day, pending.domain)
    made.reports += 1
    made.left_out += report.left_out


def preview(store: Store, reporter: Reporter, choices: Iterable[Choice]) -> Iterator[tuple[Choice, Report]]:
    """The reports that `make` would make; nothing is changed."""
    for choice in choices:
        if choice.places and not choice.wait:
            pending = choice.pending
            with store.read() as tx:
                rows = tables.rows_of(tx, pending.day, pending.domain)
            yield choice, make_report(reporter, pending.domain, pending.day, rows, _token(pending.day))


def _parts(report: Report) -> Iterator[outbox.Report]:
    """The report as the outbox has it: the first of the day, else the second, and so on."""
    for part in range(1, _MOST_PARTS + 1):
        yield boxed(report, "" if part == 1 else str(part))


def boxed(report: Report, part: str = "") -> outbox.Report:
    """As the outbox keeps it."""
    begins = _begin(report.day)
    return outbox.Report(
        report.token,
        KIND,
        report.domain,
        begins,
        begins + _DAY - 1,
        report.filename,
        report.packed,
        part,
        count=report.successes + report.failures,
    )


def _token(day: datetime.date) -> str:
    return f"{day:%Y%m%d}{secrets.token_hex(10)}"


def _begin(day: datetime.date) -> int:
    return calendar.timegm(day.timetuple())
