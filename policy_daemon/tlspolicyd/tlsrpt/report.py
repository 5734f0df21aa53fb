"""Counts of one domain and day -> the report of RFC 8460 §4.4, as I-JSON (RFC 7493), packed (§5.2), with its name
(§5.1).

Takes rows, gives a `Report`. Pure: the identifier is handed in.

Limits: 200 policies, 200 failures of each (`counts.fold`), the most frequent first. What is beyond the first is left
out of the report and told in `Report.left_out`; what is beyond the second is counted with less detail.
Security: all text goes through `json.dumps` as ASCII. Whatever a stranger's policy or EHLO reply says, it is a JSON
string.
"""

from __future__ import annotations

import calendar
import datetime
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tlspolicyd.tlsrpt.counts import Count, Row, fold, merge
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure

_MOST_POLICIES = 200
_SECONDS = 86_399  # of a day, counted as the example of RFC 8460 does: 00:00:00 to 23:59:59
_FIELDS = {  # RFC 8460 §4.4: name in the report -> attribute of Failure
    "sending-mta-ip": "sending_ip",
    "receiving-mx-hostname": "mx",
    "receiving-mx-helo": "helo",
    "receiving-ip": "ip",
    "additional-information": "info",
    "failure-reason-code": "reason",
}


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports."""

    organization: str
    contact: str  # an address; its domain is the submitter (RFC 8460 §5.3)

    @property
    def submitter(self) -> str:
        """The domain of the contact address, A-labels."""
        return self.contact.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is ready to go."""

    token: str  # letters and digits
    domain: str
    day: datetime.date
    submitter: str
    body: bytes  # JSON, not packed
    successes: int
    failures: int
    left_out: int = 0  # sessions of policies for which there was no room

    @property
    def id(self) -> str:
        """As in body and Subject (RFC 8460 §5.3)."""
        return f"{self.token}@{self.submitter}"

    @property
    def filename(self) -> str:
        """RFC 8460 §5.1, of the packed body."""
        begin = calendar.timegm(self.day.timetuple())
        return f"{self.submitter}!{self.domain}!{begin}!{begin + _SECONDS}!{self.token}.json.gz"

    @property
    def packed(self) -> bytes:
        """RFC 8460 §5.2; the same octets each time."""
        return gzip.compress(self.body, mtime=0)


def make_report(reporter: Reporter, domain: str, day: datetime.date, rows: Iterable[Row], token: str) -> Report:
    """The report about `domain`; `token`: letters and digits that no other report has."""
    merged = sorted(merge(rows), key=_order)
    told, rest = merged[:_MOST_POLICIES], merged[_MOST_POLICIES:]
    body = {
        "organization-name": reporter.organization,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},  # RFC 3339 §5.6
        "contact-info": reporter.contact,
        "report-id": f"{token}@{reporter.submitter}",
        "policies": [_policy(row.policy, row.count) for row in told],  # RFC 8460 §4: always an array
    }
    return Report(
        token,
        domain,
        day,
        reporter.submitter,
        json.dumps(body, indent=1, ensure_ascii=True).encode("ascii"),
        sum(row.count.successes for row in told),
        sum(row.count.failures for row in told),
        sum(row.count.successes + row.count.failures for row in rest),
    )


def _order(row: Row) -> tuple[object, ...]:
    policy = row.policy
    return (-row.count.successes - row.count.failures, policy.type, policy.domain, policy.strings, policy.mx)


def _policy(policy: AppliedPolicy, count: Count) -> dict[str, Any]:
    return {
        "policy": {
            "policy-type": str(policy.type),
            "policy-string": list(policy.strings),
            "policy-domain": policy.domain,
            "mx-host": list(policy.mx),
        },
        "summary": {
            "total-successful-session-count": count.successes,
            "total-failure-session-count": count.failures,
        },
        "failure-details": [_failure(failure, number) for failure, number in fold(count.details).items()],
    }


def _failure(failure: Failure, number: int) -> dict[str, Any]:
    told: dict[str, Any] = {"result-type": str(failure.result)}
    for name, attribute in _FIELDS.items():
        if value := getattr(failure, attribute):
            told[name] = value
    told["failed-session-count"] = number
    return told
