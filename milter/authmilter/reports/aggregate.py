"""Aggregate reports: out of the ledger into the outbox, one for each policy and day that is over.

The rows go and the report comes in one transaction: a crash leaves either the rows or the report. Rows that are written
later (a store was down) make a further report about the same day, with only those messages in it.

Diagnostics: `StoreFault`, `LeaseLost`. A policy whose destinations cannot be looked up is left for the next run, for
two days at most.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from authmilter.reports import destinations, ledger
from authmilter.reports.destinations import Destinations
from authmilter.reports.feedback import Feedback, Metadata, write_feedback
from authmilter.reports.ledger import DAY, Pending
from authmilter.reports.mail import KIND, day_text, filename
from authmilter.reports.observation import PublishedFacts
from authmilter.reports.settings import Reports
from mailcommon.dns.resolver import Resolver
from mailcommon.outbox import Outbox, Report
from mailcommon.store import Lease, Transaction

_AHEAD = 30  # policies whose look-ups are begun together, and whose reports are made in one transaction
_PATIENCE = 2  # days that a destination may fail to be looked up


@dataclass(slots=True)
class Made:
    """What a run has made."""

    reports: int = 0
    messages: int = 0
    unwanted: int = 0  # policies that nobody may be told about
    postponed: int = 0
    notes: list[str] = field(default_factory=list)  # why destinations were left out; the first of them


_MAX_NOTES = 1000


class Maker:
    """Makes reports with these settings."""

    def __init__(self, settings: Reports, outbox: Outbox, resolver: Resolver, clock: Callable[[], float]) -> None:
        """clock: seconds since 1970."""
        self._settings = settings
        self._outbox = outbox
        self._store = outbox.store
        self._resolver = resolver
        self._clock = clock

    def due(self) -> list[Pending]:
        """What is to be made now."""
        return ledger.pending(self._store, ledger.day_of(self._clock()))

    def make(self, what: list[Pending], lease: Lease, tell: Callable[[], None] = lambda: None) -> Made:
        """Make all of it; `tell` is called after each."""
        made = Made()
        for batch in _batches(what, _AHEAD):
            found = self._policies(batch)
            for published in found:
                destinations.start(self._resolver, published.domain, published.rua, self._settings.max_destinations)
            self._make_batch(list(zip(batch, found, strict=True)), lease, made)
            for _ in batch:
                tell()
        return made

    def preview(self, what: Pending) -> tuple[Report, Destinations]:
        """The report as it would be made, and where it would go; nothing is changed."""
        with self._store.read() as tx:
            published = ledger.published(tx, what.policy)
            report = self._report(tx, what, published)
        return report, self._destinations(published)

    def _policies(self, batch: list[Pending]) -> list[PublishedFacts]:
        with self._store.read() as tx:
            return [ledger.published(tx, each.policy) for each in batch]

    def _destinations(self, published: PublishedFacts) -> Destinations:
        return destinations.verify(self._resolver, published.domain, published.rua, self._settings.max_destinations)

    def _make_batch(self, batch: list[tuple[Pending, PublishedFacts]], lease: Lease, made: Made) -> None:
        now = self._clock()
        ready = []
        for what, published in batch:
            found = self._destinations(published)
            if len(made.notes) < _MAX_NOTES:
                made.notes += [f"{published.domain}: {note}" for note in (*found.refused, *found.unknown)]
            if found.unknown and now < (what.day + 1 + _PATIENCE) * DAY:
                made.postponed += 1
            else:
                ready.append((what, published, found.uris))
        if not ready:
            return
        with self._store.write() as tx:
            lease.confirm(tx)
            ledger.wait_turn(tx)
            for what, published, uris in ready:
                self._make(tx, what, published, uris, made, now)

    def _make(
        self, tx: Transaction, what: Pending, published: PublishedFacts, uris: tuple[str, ...], made: Made, now: float
    ) -> None:
        if set(uris) <= self._outbox.resting(tx, uris, now):
            made.unwanted += 1  # RFC 9990 §4: unverified destinations MUST be ignored
        else:
            report = self._report(tx, what, published)
            if self._outbox.add(tx, report, uris, now):
                made.reports += 1
                made.messages += report.count
        ledger.forget(tx, what)

    def _report(self, tx: Transaction, what: Pending, published: PublishedFacts) -> Report:
        settings = self._settings
        begin, end = what.day * DAY, (what.day + 1) * DAY - 1  # RFC 9990 §3.1.1.4: a UTC day; periods do not overlap
        # letters and digits: it is the unique-id of the file name too (RFC 9990 §3.1.4, §3.5.2)
        report_id = f"{day_text(begin).replace('-', '')}{secrets.token_hex(12)}"
        meta = Metadata(settings.org_name or settings.domain, settings.email, settings.contact, report_id, begin, end)
        feedback: Feedback = write_feedback(meta, published, ledger.rows(tx, what))
        return Report(
            report_id,
            KIND,
            published.domain,
            begin,
            end,
            filename(settings.domain, published.domain, begin, end, report_id),
            feedback.payload,
            part=report_id,  # rows are in one report only, so that any two are about different messages
            count=feedback.messages,
        )


def _batches(what: list[Pending], size: int) -> Iterator[list[Pending]]:
    rest = iter(what)
    while batch := list(itertools.islice(rest, size)):
        yield batch
