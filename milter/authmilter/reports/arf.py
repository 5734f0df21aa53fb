"""A failure report as a message (RFC 6591, RFC 5965, RFC 9991 §4): three parts, one for people. Pure.

Security: what comes from the message is one line of printable ASCII in a field, or stands in the last part.
"""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime
from email.message import EmailMessage

from authmilter.reports.failure import Failure
from authmilter.reports.feedback import generator
from authmilter.reports.redaction import plain, redact_header, redact_local
from mailcommon.outbox import clean
from mailcommon.outbox.headers import POLICY

_MAX_VALUE = 900  # characters of one field


def feedback_fields(failure: Failure, arrived: float, incidents: int, spf_record: str, key: bytes) -> str:
    """The part message/feedback-report. key: for RFC 6590, b"" = nothing is redacted. arrived: seconds since 1970."""

    def shown(text: str) -> str:
        return redact_local(text, key) if key else text

    version, _, number = generator().partition(" ")
    fields = [
        ("Feedback-Type", "auth-failure"),
        ("User-Agent", f"{version}/{number}"),
        ("Version", "1"),
        ("Auth-Failure", failure.kind),  # RFC 9991 §4
        ("Authentication-Results", shown(failure.results)),
        ("Identity-Alignment", failure.alignment),
        ("Delivery-Result", failure.delivery),
        ("Original-Envelope-Id", failure.queue_id),
        ("Original-Mail-From", f"<{shown(failure.mail_from)}>"),
        ("Source-IP", failure.source_ip),
        ("Reported-Domain", failure.author_domain),
        ("Arrival-Date", email.utils.format_datetime(datetime.fromtimestamp(arrived, UTC))),
        ("Incidents", str(incidents) if incidents > 1 else ""),
    ]
    if (failure.dkim_domain and "dkim" in failure.alignment) or failure.kind == "signature":
        fields += [
            ("DKIM-Domain", failure.dkim_domain),
            ("DKIM-Identity", shown(failure.dkim_identity)),
            ("DKIM-Selector", failure.dkim_selector),
        ]
    if failure.spf_domain:
        record = spf_record.replace("\\", "\\\\").replace('"', '\\"')
        fields.append(("SPF-DNS", f'txt : {failure.spf_domain} : "{record}"'))  # RFC 6591 §3.2.5
    return "".join(f"{name}: {clean(' '.join(value.split()), _MAX_VALUE)}\n" for name, value in fields if value)


def header_text(failure: Failure, key: bytes) -> str:
    """The part text/rfc822-headers; see `feedback_fields`."""
    return redact_header(failure.header, key) if key else plain(failure.header)


def failure_mail(sender: str, domain: str, feedback: str, header: str) -> EmailMessage:
    """The message; `sender` is its From, `domain` the one it is about."""
    message = EmailMessage(POLICY)
    message["From"] = clean(sender)
    message["Subject"] = clean(f"DMARC failure report about {domain}")
    message["Content-Type"] = 'multipart/report; report-type="feedback-report"'  # RFC 5965 §2
    message["MIME-Version"] = "1.0"
    text = (
        f"This is a failure report about a message that had an address of {domain} in its From\n"
        "field and did not authenticate as the domain asks (RFC 9991). The domain asks for\n"
        'such reports by "ruf" in its DMARC record.\n'
    )
    for kind, content in (("text/plain", text), ("message/feedback-report", feedback), ("text/rfc822-headers", header)):
        part = EmailMessage(POLICY)
        part["Content-Type"] = f"{kind}; charset=us-ascii" if kind == "text/plain" else kind
        part["Content-Transfer-Encoding"] = "7bit"
        part.set_payload(content)
        message.attach(part)
    return message
