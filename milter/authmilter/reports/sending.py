"""One run of `authmilter report send`: what is over is made into reports, and what is due is handed over.

Diagnostics: `StoreFault`, `LeaseLost`; what was done until then stays done, and the next run goes on from there.
Limits: one host at a time, by a lease in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Protocol

from authmilter.reports import aggregate, failure_ledger, failures, ledger, mail
from authmilter.reports.aggregate import Made
from authmilter.reports.destinations import Destinations
from authmilter.reports.failures import MadeFailures
from authmilter.reports.settings import Reports
from mailcommon.dns.resolver import Resolver
from mailcommon.outbox import (
    SCHEMA,
    Delivery,
    Limits,
    MailCarrier,
    MailHost,
    Outbox,
    Report,
    Sent,
    State,
    send_due,
)
from mailcommon.store import Schema, Store, held, lease_holder

SCHEMAS: tuple[Schema, ...] = (ledger.SCHEMA, failure_ledger.SCHEMA, SCHEMA)
KINDS = (mail.KIND, failures.KIND)
LEASE = "dmarc send"
_DAY = 86_400.0


class Progress(Protocol):
    """Who is told how far it is."""

    def begin(self, task: str, total: int) -> None:
        """A new task of so many steps."""
        ...

    def step(self) -> None:
        """One of them is done."""
        ...


@dataclass(slots=True)
class Done:
    """What a run did."""

    made: Made = field(default_factory=Made)
    failed: MadeFailures = field(default_factory=MadeFailures)
    sent: Sent = field(default_factory=Sent)
    lost: int = 0  # messages that were too old to be reported
    busy: str = ""  # who else is sending, so that nothing was done
    failures: list[tuple[Delivery, Report]] = field(default_factory=list)  # the first that failed


_MAX_FAILURES = 100


def outbox_of(settings: Reports, store: Store) -> Outbox:
    """The outbox with the limits of the settings."""
    limits = Limits(
        seconds=float(settings.retry),
        keep=settings.keep_days * _DAY,
        keep_bytes=settings.max_bytes // 4,
    )
    return Outbox(store, limits, *KINDS)


def run(settings: Reports, store: Store, resolver: Resolver, clock: Callable[[], float], progress: Progress) -> Done:
    """Do all that is to be done now. clock: seconds since 1970."""
    done = Done()
    outbox = outbox_of(settings, store)
    with held(store, LEASE) as lease:
        if lease is None:
            done.busy = lease_holder(store, LEASE) or "another process"
            return done
        ledger.absorb(store)
        done.lost = ledger.tidy(store, clock(), settings.keep_days)
        maker = aggregate.Maker(settings, outbox, resolver, clock)
        due = maker.due()
        progress.begin("making reports", len(due))
        done.made = maker.make(due, lease, progress.step)
        done.failed = failures.make(settings, outbox, resolver, clock, lease)

        def tell(delivery: Delivery, report: Report, state: State) -> None:
            progress.step()
            if state is State.FAILED and len(done.failures) < _MAX_FAILURES:
                done.failures.append((delivery, report))

        progress.begin("sending", outbox.count_due(clock()))
        host, port = settings.smtp_host
        carrier = MailCarrier(_composer(settings), MailHost(host, port, settings.envelope_from or settings.email))
        done.sent = send_due(outbox, lease, {"mailto": carrier}, clock, tell)
        outbox.prune(clock())
    return done


def _composer(settings: Reports) -> Callable[[Report, str], EmailMessage]:
    by_kind = {mail.KIND: mail.compose, failures.KIND: failures.compose}
    return lambda report, _address: by_kind[report.kind](settings, report)


def preview(
    settings: Reports, store: Store, resolver: Resolver, clock: Callable[[], float]
) -> Iterable[tuple[Report, Destinations]]:
    """Each report that a run would make now, and where it would go; none is made and nothing is sent."""
    ledger.absorb(store)
    maker = aggregate.Maker(settings, outbox_of(settings, store), resolver, clock)
    return (maker.preview(what) for what in maker.due())
