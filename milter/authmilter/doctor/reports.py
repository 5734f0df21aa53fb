"""DMARC reports: can they be counted, sent, and pass DMARC themselves? Pure."""

from __future__ import annotations

from authmilter.settings import Settings
from authmilter.sign.table import find
from mailcommon.doctor.findings import Finding, mend, right
from mailcommon.doctor.reporting import SendingFacts, judge_sending
from mailcommon.doctor.stores import StoreFacts, judge_store


def judge_reports(settings: Settings, store: StoreFacts | None, sending: SendingFacts | None) -> tuple[Finding, ...]:
    """The rules; without a store there are no reports."""
    if store is None or sending is None:
        return (right("reports", "no DMARC reports are made: [reports] has no store"),)
    return (
        *judge_store(store, "reports-store", "messages are not counted"),
        *_signed(settings),
        *judge_sending(sending, "reports"),
    )


def _signed(settings: Settings) -> tuple[Finding, ...]:
    email = settings.reports.email
    domain = settings.reports.domain
    if find(settings.sign.table, f"{email.rpartition('@')[0]}@{domain}"):
        return ()
    return (
        mend(
            "reports-unsigned",
            f"[sign.table] has no key for {email}, from which reports come",
            "receivers refuse reports that do not pass DMARC",
            f"authmilter key new {domain} SELECTOR, and a line for {domain} in [sign.table]",
        ),
    )
