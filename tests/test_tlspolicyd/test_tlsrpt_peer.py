"""The same datagrams into tlsrpt-reporter 0.6 and into ours: the same reports, but for what is named here.

The datagrams are those of a real Postfix 3.10, one of each kind that `tests.support.report_world` makes happen. What
differs on purpose:
- tlsrpt-reporter gives the whole reply to EHLO, codes and line ends and all, as receiving-mx-helo; ours the name;
- it passes validation-failure on for a chain that is not trusted; ours says certificate-not-trusted, as RFC 8460 §4.3.1
  has it, with the same reason, and gives a reason where Postfix has none: TLSA records that do not fit;
- it leaves fields out that are empty lists; ours has policy-string and mx-host always;
- a datagram of another protocol version is counted there, and refused by ours.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tlsrpt_reporter import tlsrpt

from tlspolicyd.tlsrpt.counts import Counts
from tlspolicyd.tlsrpt.datagram import NOT_BY_TLSA, Malformed, parse
from tlspolicyd.tlsrpt.report import Reporter, make_report

LINES = (Path(__file__).parent / "data" / "postfix_3_10_datagrams.jsonl").read_text().splitlines()
EVENTS = [json.loads(line) for line in LINES]
DOMAINS = sorted({event["d"] for event in EVENTS})


class Peer:
    """Its collector and its reporter, in their own database files."""

    def __init__(self, folder: Path) -> None:
        defaults = {name: option["default"] for name, option in tlsrpt.options_collectd.items()}
        self._collector = tlsrpt.TLSRPTCollectdSQLite(
            f"sqlite://{folder}/collectd.db", tlsrpt.ConfigCollectd(**defaults)
        )
        defaults = {name: option["default"] for name, option in tlsrpt.options_reportd.items()}
        defaults |= {"dbname": f"{folder}/reportd.db", "fetchers": "none", "organization_name": "x"}
        defaults |= {"contact_info": "c@x.example", "sender_address": "c@x.example"}
        self._reporter = tlsrpt.TLSRPTReportd(tlsrpt.ConfigReportd(**defaults))

    def take(self, event: dict[str, Any]) -> None:
        self._collector.add_datagram(json.loads(json.dumps(event)))

    def report(self, domain: str) -> dict[str, Any]:
        data: dict[str, Any] = {}
        cursor = self._collector.con.cursor()
        rows = cursor.execute(
            "SELECT tlsrptrecord, policy, cntrtotal, cntrfailure FROM finalresults WHERE domain = ?", (domain,)
        ).fetchall()
        for _, policy, total, failed in rows:
            failures = cursor.execute(
                "SELECT reason, cntr FROM failures WHERE domain = ? AND policy = ?", (domain, policy)
            )
            data[policy] = {"cntrtotal": total, "cntrfailure": failed, "failures": dict(failures.fetchall())}
        report: dict[str, Any] = {}
        self._reporter.render_report("2026-11-27", domain, rows[0][0], data, report)
        return report

    def close(self) -> None:
        self._collector.con.close()
        self._reporter.con.close()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    made = Peer(tmp_path_factory.mktemp("peer"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def reports(peer: Peer) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Domain -> our report and the peer's."""
    counts = Counts()
    day = datetime.date(2026, 11, 27)
    for number, event in enumerate(EVENTS):
        for _ in range(1 + number % 4):
            peer.take(event)
            sessions = parse(json.dumps(event).encode())
            assert not isinstance(sessions, Malformed)
            for session in sessions:
                counts.add(session, day)
    rows = counts.take()
    found = {}
    for domain in DOMAINS:
        ours = make_report(Reporter("x", "c@x.example"), domain, day, [r for r in rows if r.domain == domain], "t")
        found[domain] = (json.loads(ours.body), peer.report(domain))
    return found


def by_policy(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["policy"]["policy-type"], each["policy"]["policy-domain"]): each for each in report["policies"]}


@pytest.mark.parametrize("domain", DOMAINS)
def test_same_report(reports: dict[str, tuple[dict[str, Any], dict[str, Any]]], domain: str) -> None:
    ours, theirs = map(by_policy, reports[domain])
    assert ours.keys() == theirs.keys()
    for key, our in ours.items():
        their = theirs[key]
        assert our["summary"] == their["summary"]
        assert our["policy"] == {"policy-string": [], "mx-host": [], **their["policy"]}
        assert len(our["failure-details"]) == len(their["failure-details"])
        for mine, other in zip(our["failure-details"], their["failure-details"], strict=True):
            expected = dict(other)
            reply = expected["receiving-mx-helo"]
            expected["receiving-mx-helo"] = reply.removeprefix("250-").partition("\r\n")[0]
            assert expected["receiving-mx-helo"] != reply
            if other["result-type"] == "certificate-not-trusted":
                expected["failure-reason-code"] = NOT_BY_TLSA
            elif mine["result-type"] == "certificate-not-trusted":
                assert other["result-type"] == "validation-failure"
                assert mine["failure-reason-code"] in (
                    "self-signed_certificate",
                    "unable_to_get_local_issuer_certificate",
                )
                expected["result-type"] = "certificate-not-trusted"
            assert mine == expected


def test_every_kind_is_there(reports: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> None:
    results = {
        failure["result-type"]
        for ours, _ in reports.values()
        for policy in ours["policies"]
        for failure in policy["failure-details"]
    }
    assert results == {
        "starttls-not-supported",
        "certificate-host-mismatch",
        "certificate-expired",
        "certificate-not-trusted",
        "validation-failure",
        "tlsa-invalid",
    }


def test_another_protocol_version(peer: Peer) -> None:
    event = {**EVENTS[0], "d": "version.example", "dpv": "2"}
    peer.take(event)
    assert peer.report("version.example")["policies"]
    assert isinstance(parse(json.dumps(event).encode()), Malformed)
