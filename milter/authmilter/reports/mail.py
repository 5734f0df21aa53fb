"""What an aggregate report's mail says: subject, file name, the text for people (RFC 9990 §3.5.2)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formataddr

from authmilter.reports.settings import Reports
from mailcommon.outbox import Report, clean, letter

KIND = "dmarc"
MEDIA_TYPE = "application/gzip"  # RFC 9990 §3.5.2, RFC 6713


def filename(receiver: str, policy_domain: str, begin: int, end: int, report_id: str) -> str:
    """RFC 9990 §3.5.2; the id is letters and digits only, and the same as everywhere else (§3.1.4)."""
    return f"{receiver}!{policy_domain}!{begin}!{end}!{report_id}.xml.gz"


def day_text(begin: int) -> str:
    """The UTC day of a time, for people."""
    return datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%d")


def sender(settings: Reports) -> str:
    """The From of all reports."""
    return formataddr((clean(settings.org_name), settings.email)) if settings.org_name else settings.email


def compose(settings: Reports, report: Report) -> EmailMessage:
    """The message about one report, without what the outbox adds."""
    contact = f"\nQuestions: {clean(settings.contact)}\n" if settings.contact else ""
    return letter(
        sender=sender(settings),
        subject=f"Report Domain: {report.domain} Submitter: {settings.domain} Report-ID: {report.id}",
        text=(
            f"DMARC aggregate report of {settings.domain}\n"
            f"about mail from {report.domain}\n"
            f"received on {day_text(report.begins)} (UTC): {report.count} messages.\n"
            f"{contact}\n"
            "The report is the attached file (RFC 9990).\n"
        ),
        attachment=report.payload,
        media_type=MEDIA_TYPE,
        filename=report.filename,
    )
