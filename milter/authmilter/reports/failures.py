"""Failure reports out of the ledger into the outbox, no more than may be sent (RFC 9991 §2, §8.1).

What is over the limits waits, and is folded with what is like it, for a day at most.
Diagnostics: `StoreFault`, `LeaseLost`.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage

from authmilter.reports import arf, failure_ledger
from authmilter.reports.destinations import verify
from authmilter.reports.failure_ledger import Kept
from authmilter.reports.mail import sender
from authmilter.reports.settings import Reports
from mailcommon.dns.resolver import Resolver
from mailcommon.outbox import Outbox, Report
from mailcommon.store import Lease

KIND = "dmarc-failure"
_HOUR = 3600.0
_DAY = 86_400.0


@dataclass(slots=True)
class MadeFailures:
    """What a run has made."""

    reports: int = 0
    waiting: int = 0  # over the limits, or not to be looked up now
    unwanted: int = 0
    lost: int = 0  # incidents


def make(
    settings: Reports, outbox: Outbox, resolver: Resolver, clock: Callable[[], float], lease: Lease
) -> MadeFailures:
    """Make the reports that may be made now."""
    made, store, now = MadeFailures(), outbox.store, clock()
    made.lost = failure_ledger.tidy(store, now - _DAY)
    rows = failure_ledger.kept(store) if settings.failure_reports else []
    if not rows:
        return made
    key = failure_ledger.secret(store) if settings.failure_redact else b""
    recent = _recent(outbox, now)
    for row in rows:
        domain = row.failure.policy_domain
        if recent.total() >= settings.failure_hourly or recent[domain] >= settings.failure_hourly_domain:
            made.waiting += 1
            continue
        found = verify(resolver, domain, row.failure.ruf, settings.max_destinations, "ruf")
        if found.unknown:
            made.waiting += 1
            continue
        with store.write() as tx:
            lease.confirm(tx)
            if found.uris and not set(found.uris) <= outbox.resting(tx, found.uris, now):
                outbox.add(tx, _report(row, _spf_record(resolver, row), key), found.uris, now)
                recent[domain] += 1
                made.reports += 1
            else:
                made.unwanted += 1
            failure_ledger.forget(tx, row)
    return made


def compose(settings: Reports, report: Report) -> EmailMessage:
    """The message about one report, without what the outbox adds."""
    feedback, header = parts_of(report)
    return arf.failure_mail(sender(settings), report.domain, feedback, header)


def parts_of(report: Report) -> tuple[str, str]:
    """The fields of the report, and the header that it shows."""
    parts = json.loads(zlib.decompress(report.payload))
    return parts["feedback"], parts["header"]


def _recent(outbox: Outbox, now: float) -> Counter[str]:
    """How many reports about each policy domain have been made within the last hour, by whatever host."""
    with outbox.store.read() as tx:
        rows = tx.all(
            "SELECT domain, count(*) FROM outbox_reports WHERE kind = ? AND made_at BETWEEN ? AND ? GROUP BY domain",
            KIND,
            now - _HOUR,
            now + _HOUR,  # of another host's clock; later is of one that was wrong
        )
    return Counter({str(domain): int(count) for domain, count in rows})


def _report(row: Kept, spf_record: str, key: bytes) -> Report:
    failure = row.failure
    parts = {
        "feedback": arf.feedback_fields(failure, row.at, row.incidents, spf_record, key),
        "header": arf.header_text(failure, key),
    }
    report_id = f"f{secrets.token_hex(14)}"
    payload = zlib.compress(json.dumps(parts).encode())
    at = int(row.at)
    return Report(report_id, KIND, failure.policy_domain, at, at, "", payload, part=report_id, count=row.incidents)


def _spf_record(resolver: Resolver, row: Kept) -> str:
    """RFC 9991 §4: SPF-DNS is required; the record as it is now, or nothing if it is not to be had."""
    if not row.failure.spf_domain:
        return ""
    records = resolver.txt(row.failure.spf_domain).records
    return next((each.decode("latin-1") for each in records if each[:6].lower() == b"v=spf1"), "")
