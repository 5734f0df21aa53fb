"""A report of the outbox -> a mail (RFC 8460 §5.3) or an HTTPS POST (§5.4). The second network end of this package.

The mail has no signature of ours: RFC 8460 §3 demands one by DKIM, which the milter in the mail's way adds
(authmilter's `[sign]`, or any other). `TLS-Required: No` (RFC 8689 §5) makes Postfix 3.10 and newer deliver it
whatever DANE and MTA-STS say, as RFC 8460 §3 and §5.3 demand; for older ones see tlspolicyd(8).

Diagnostics: an `Outcome`. RFC 8460 §5.4, §5.5: every status but 2xx is tried again until the outbox gives up after 24
hours. A place that can never be reached (no host name, another port than 443, a private address) is refused at once.
Limits: `[sts] timeout`, 60 seconds at most, for one POST, of whose answer nothing but the status is looked at; a host
that has not answered is not asked again in the same run.
Security: who owns a domain names the host. `Client` judges its addresses, verifies its certificate (RFC 8460 §3 would
let us ignore that) and follows no redirect.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from email.message import EmailMessage
from typing import Any

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from mailcommon.fetch.client import Client, ClientSettings
from mailcommon.fetch.fetched import Fault, Upload
from mailcommon.fetch.location import Location, parse
from mailcommon.outbox import Carrier, Delivery, Outcome, Report, Result, letter, set_fields

MEDIA_TYPE = "application/tlsrpt+gzip"
_LONGEST_NAME = 380  # characters of a file name that `letter` leaves whole


def compose(report: Report, contact: str) -> EmailMessage:
    """The mail, without what the outbox adds. `contact`: the sender's address."""
    submitter = contact.rpartition("@")[2]
    message = letter(
        sender=contact,
        subject="",
        text=_text(report, submitter),
        attachment=report.payload,
        media_type=MEDIA_TYPE,
        filename=report.filename if len(report.filename) <= _LONGEST_NAME else f"{report.id}.json.gz",
        report_type="tlsrpt",  # RFC 8460 §5.3
    )
    del message["Subject"]
    # RFC 8460 §5.3; two names of 253 characters are longer than `letter` lets a subject be
    message["Subject"] = f"Report Domain: {report.domain} Submitter: {submitter} Report-ID: <{report.id}@{submitter}>"
    set_fields(
        message,
        [
            ("TLS-Report-Domain", report.domain),
            ("TLS-Report-Submitter", submitter),
            ("TLS-Required", "No"),
        ],
    )
    return message


def _text(report: Report, submitter: str) -> str:
    return (
        f"This is an aggregate TLS report from {submitter}\n"
        f"about mail to {report.domain}: {report.count} sessions.\n"
        "It was made because of the TLSRPT record of that domain (RFC 8460).\n"
    )


def body_of(report: Report) -> dict[str, Any]:
    """What a report says; {} if its payload was let go."""
    if not report.payload:
        return {}
    told = json.loads(gzip.decompress(report.payload))
    assert isinstance(told, dict)
    return told


class HttpsCarrier(Carrier):
    """Posts reports, one after the other. Raises ValueError if the settings cannot be used."""

    def __init__(self, dns: DnsSettings, settings: ClientSettings) -> None:
        self._settings = settings
        self._dns = dns
        self._runner = asyncio.Runner()
        self._client: Client | None = None
        self._resolver: AsyncDnsResolver | None = None
        self._silent: set[str] = set()  # hosts: each may hold the others' reports up once

    def hand_over(self, report: Report, delivery: Delivery, token: str) -> Outcome:  # noqa: ARG002 - receivers know the report's id
        """See Carrier."""
        location = parse(delivery.destination, self._settings.https_port)
        if isinstance(location, str):
            return Outcome(Result.REFUSED, f"{delivery.destination} {location}")
        if location.host in self._silent:
            return Outcome(Result.LATER, f"{location.host} has not answered in this run")
        return self._runner.run(self._post(location, Upload(MEDIA_TYPE, report.payload)))

    async def _post(self, location: Location, upload: Upload) -> Outcome:
        if self._client is None:
            self._resolver = AsyncDnsResolver(self._dns)
            self._client = Client(self._resolver, self._settings)
        answer = await self._client.post(location, upload)
        if answer.fault is None:
            return Outcome(Result.DELIVERED, f"HTTP status {answer.status}")
        if answer.fault in (Fault.TIME, Fault.CONNECT):
            self._silent.add(location.host)
        refused = answer.fault in (Fault.LOCATION, Fault.ADDRESS)
        return Outcome(Result.REFUSED if refused else Result.LATER, answer.reason)

    def close(self) -> None:
        """See Carrier."""
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._resolver is not None:
            await self._resolver.close()
