"""`tlspolicyd report send|list|show`: on the store itself, whether or not the daemon runs.

Each function returns the text to print. Any number of hosts may run `send`: one of them does it, by a lease in the
store.

Diagnostics: `ReportError` with one line for a person: a store that cannot be used, no such report; `NotSet`: a setting
that is missing.
Security: text of strangers is made safe for the terminal.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mailcommon import outbox
from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.fetch.client import ClientSettings
from mailcommon.log import safe_value
from mailcommon.names import to_alabel
from mailcommon.outbox import Delivery, Limits, MailCarrier, MailHost, Outbox, State, send_due
from mailcommon.store import LeaseLost, Store, StoreFault, held, lease_holder, open_store
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import due, tables
from tlspolicyd.tlsrpt.carriers import HttpsCarrier, body_of, compose
from tlspolicyd.tlsrpt.counts import day_of
from tlspolicyd.tlsrpt.due import KIND, Choice
from tlspolicyd.tlsrpt.report import Reporter
from tlspolicyd.tlsrpt.tables import Pending

_DAY = 86_400.0
_LEASE = "send-tlsrpt"
_PORTION = 500  # domains and days that are looked up at a time
_SHOWN = 1000  # reports in a list
_POST_SECONDS = 60.0  # at most: far less than the lease lasts, whatever `[sts] timeout` is


class ReportError(Exception):
    """What was asked for cannot be done now; the text says why."""


class NotSet(ReportError):
    """A setting is missing."""


def send(
    settings: Settings,
    tell: Callable[[str], None] = lambda _line: None,
    *,
    at_once: bool = False,
    clock: Callable[[], float] = time.time,
) -> str:
    """Make the reports whose moment has come (`at_once`: of every day that is over), and send what is to be sent.

    `tell` gets a line for each attempt.
    """
    reporter = _reporter(settings)
    with _Store(settings) as store, held(store, _LEASE) as lease:
        if lease is None:
            return f"{lease_holder(store, _LEASE) or 'another process'} is sending reports already"
        box = Outbox(store, Limits(keep=settings.tlsrpt.keep * _DAY), KIND)
        made = due.Made()
        for some in _portions(_ready(settings, store, clock(), at_once=at_once)):
            lease.renew()  # look-ups may take their time
            choices = _choose(settings, some, clock())
            made.add(due.make(store, box, lease, reporter, choices, clock()))
        carriers = {"mailto": _mail(settings), "https": HttpsCarrier(settings.dns.for_resolver(), _posts(settings))}
        sent = send_due(
            box,
            lease,
            carriers,
            clock,
            lambda delivery, report, state: tell(_attempt(delivery, report, state)),
        )
        box.prune(clock())
        oldest = day_of(clock() - settings.tlsrpt.keep * _DAY)
        tables.prune(store, oldest, clock() - settings.tlsrpt.keep * _DAY)
    parts = [f"{made.reports} reports made", f"{sent.done} sent"]
    parts += [f"{number} {what}" for number, what in _further(made, sent) if number]
    return ", ".join(parts)


def _further(made: due.Made, sent: outbox.Sent) -> list[tuple[int, str]]:
    return [
        (sent.later, "to be tried again"),
        (sent.failed, "failed"),
        (made.unwanted, "domains want none"),
        (made.waiting, "look-ups failed"),
        (made.left_out, "sessions left out of reports that were full"),
    ]


def dry_run(settings: Settings, folder: Path, *, at_once: bool = False, clock: Callable[[], float] = time.time) -> str:
    """Write the reports that would be made into files; nothing is sent and nothing changed."""
    reporter = _reporter(settings)
    lines = []
    with _Store(settings) as store:
        choices = _choose(settings, _ready(settings, store, clock(), at_once=at_once), clock())
        for choice, report in due.preview(store, reporter, choices):
            path = folder / report.filename
            try:
                path.write_bytes(report.packed)
            except OSError as fault:
                raise ReportError(f"{path}: {fault.strerror}") from fault
            lines.append(f"{path}: {report.successes} good, {report.failures} failed, to {', '.join(choice.places)}")
    return "\n".join(lines) or "no report is due"


def list_reports(settings: Settings, *, as_json: bool = False, clock: Callable[[], float] = time.time) -> str:
    """What is counted and not yet reported, and the reports with what became of them."""
    with _Store(settings) as store:
        tomorrow = day_of(clock() + _DAY)
        found = tables.pending(store, tomorrow + datetime.timedelta(days=1))
        reports = Outbox(store).reports(KIND, _SHOWN)
    delay = settings.tlsrpt.delay
    counted = [
        {
            "domain": each.domain,
            "day": each.day.isoformat(),
            "sessions": each.sessions,
            "failures": each.failures,
            "due_at": due.moment(each, delay),
        }
        for each in found
    ]
    made = [
        {
            "id": report.id,
            "domain": report.domain,
            "day": day_of(report.begins).isoformat(),
            "sessions": report.count,
            "deliveries": [_delivery(delivery) for delivery in deliveries],
        }
        for report, deliveries in reports
    ]
    if as_json:
        return json.dumps({"pending": counted, "reports": made}, indent=2)
    lines = [
        f"{each['day']} {each['domain']}: {each['sessions']} sessions, {each['failures']} failed,"
        f" due {_moment(due.moment(one, delay))}"
        for each, one in zip(counted, found, strict=True)
    ]
    for report, deliveries in reports:
        lines.append(f"{day_of(report.begins)} {report.domain}: {report.count} sessions, report {report.id}")
        lines += [f"    {_line(delivery)}" for delivery in deliveries]
    return "\n".join(lines) or "nothing is counted and no report was made"


def show(settings: Settings, wanted: str, *, as_json: bool = False) -> str:
    """One report for people, or as it is sent. `wanted`: its id, or a domain, of which the newest is shown."""
    with _Store(settings) as store:
        box = Outbox(store)
        report = box.report(wanted)
        if report is None or report.kind != KIND:
            domain = to_alabel(wanted)
            newest = [one for one, _ in box.reports(KIND, 100_000) if one.domain == domain]
            report = box.report(newest[0].id) if newest else None
        if report is None:
            raise ReportError(f"there is no report {safe_value(wanted)}, nor one about such a domain")
        deliveries = box.deliveries(report.id)
    told = body_of(report)
    if not told:
        raise ReportError(f"report {report.id} was sent, and its text is not kept any more")
    if as_json:
        return json.dumps(told, indent=2)
    lines = [f"report {report.id} about {report.domain}, {day_of(report.begins)} (UTC)"]
    lines += [f"    {_line(delivery)}" for delivery in deliveries]
    for policy in told["policies"]:
        lines += _policy_lines(policy)
    return "\n".join(lines)


def _policy_lines(told: dict[str, Any]) -> list[str]:
    policy, summary = told["policy"], told["summary"]
    good, failed = summary["total-successful-session-count"], summary["total-failure-session-count"]
    lines = [f"{policy['policy-type']} {policy['policy-domain']}: {good} sessions good, {failed} failed"]
    lines += [f"    policy  {safe_value(text)}" for text in policy["policy-string"]]
    for failure in told["failure-details"]:
        named = {key: value for key, value in failure.items() if key not in ("result-type", "failed-session-count")}
        rest = " ".join(f"{key}={safe_value(value)}" for key, value in named.items())
        lines.append(f"    {failure['failed-session-count']} x {failure['result-type']} {rest}".rstrip())
    return lines


def _reporter(settings: Settings) -> Reporter:
    contact = settings.tlsrpt.contact
    if not contact:
        raise NotSet("[tlsrpt] contact is not set: reports need a sender's address (RFC 8460 §4.4: contact-info)")
    return Reporter(settings.tlsrpt.organization or contact.rpartition("@")[2], contact)


def _mail(settings: Settings) -> MailCarrier:
    contact = settings.tlsrpt.contact
    host, _, port = settings.tlsrpt.smtp.rpartition(":")
    to = MailHost(host.removeprefix("[").removesuffix("]"), int(port), contact)
    return MailCarrier(lambda report, _address: compose(report, contact), to)


def _posts(settings: Settings) -> ClientSettings:
    sts = settings.sts
    return ClientSettings(
        ca_file=sts.ca_file,
        https_port=sts.https_port,
        timeout=min(sts.timeout, _POST_SECONDS),
        proxy=sts.proxy,
        allow_private_addresses=settings.tlsrpt.allow_private_addresses,
    )


def _ready(settings: Settings, store: Store, now: float, *, at_once: bool) -> list[Pending]:
    found = tables.pending(store, day_of(now))  # RFC 8460 §4.1: whole days
    return found if at_once else due.due(found, now, settings.tlsrpt.delay)


def _portions(ready: list[Pending]) -> Iterator[list[Pending]]:
    return (ready[start : start + _PORTION] for start in range(0, len(ready), _PORTION))


def _choose(settings: Settings, ready: list[Pending], now: float) -> list[Choice]:
    async def choose() -> list[Choice]:
        resolver = AsyncDnsResolver(settings.dns.for_resolver())
        try:
            return await due.choose(resolver, ready, frozenset(settings.tlsrpt.exclude), now)
        finally:
            await resolver.close()

    return asyncio.run(choose())


class _Store:
    """The store, open for a command; its faults become ReportErrors."""

    def __init__(self, settings: Settings) -> None:
        # no file is made by a command that may run as root: the daemon could not write to it
        self._store = open_store(settings.tlsrpt.store, [tables.SCHEMA, outbox.SCHEMA], create=False)

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        self._store.close()
        if isinstance(fault, (StoreFault, LeaseLost)):
            raise ReportError(str(fault)) from fault


def _attempt(delivery: Delivery, report: outbox.Report, state: State) -> str:
    return f"{report.domain} {day_of(report.begins)} to {safe_value(delivery.destination)}: {state}"


def _delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "destination": delivery.destination,
        "state": str(delivery.state),
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
        "done_at": delivery.done_at,
        "note": delivery.note,
    }


def _line(delivery: Delivery) -> str:
    when = f" at {_moment(delivery.done_at)}" if delivery.done_at else f", next try {_moment(delivery.next_at)}"
    note = f": {safe_value(delivery.note)}" if delivery.note else ""
    return f"{delivery.state} to {safe_value(delivery.destination)}{when}{note}"


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
