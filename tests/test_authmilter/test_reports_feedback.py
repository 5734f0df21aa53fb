"""The XML of aggregate reports: the schema of RFC 9990, the numbers, and another program that reads it.

The schema is not part of this project: where ../shared/reference/dmarc.xsd is there, every generated report is held
against it.
"""

from __future__ import annotations

import gzip
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import parsedmarc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from authmilter.facts import DmarcResult, MessageFacts, Policy
from authmilter.reports.feedback import NAMESPACE, Metadata, generator, write_feedback
from authmilter.reports.observation import PublishedFacts, RowFacts, observations
from authmilter.verdict import Decision, Verdict
from tests.support.report_rows import ACCEPT, HOSTILE, dmarc, message, messages, tags

SCHEMA = Path(__file__).parents[2].parent / "shared" / "reference" / "dmarc.xsd"
META = Metadata("Example & Söhne <mail>", "reports@us.example", "https://us.example/", "20261127abc", 0, 86_399)
PUBLISHED, ROW = next(observations(message(dmarc()), ACCEPT))


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    if not SCHEMA.exists():
        pytest.skip(f"the schema of RFC 9990 is not at {SCHEMA}")
    return etree.XMLSchema(etree.parse(str(SCHEMA)))


def document(rows: list[tuple[RowFacts, int]], published: PublishedFacts = PUBLISHED, meta: Metadata = META) -> bytes:
    return gzip.decompress(write_feedback(meta, published, rows).payload)


def find(data: bytes, path: str) -> list[str]:
    steps = "/".join(f"{{{NAMESPACE}}}{step}" for step in path.split("/"))
    return [element.text or "" for element in etree.fromstring(data).iterfind(steps)]


def test_a_plain_report(schema: etree.XMLSchema) -> None:
    data = document([(ROW, 3)])
    schema.assertValid(etree.fromstring(data))
    assert data.startswith(
        b"<?xml version='1.0' encoding='UTF-8'?>\n<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">"
    )
    assert find(data, "version") == ["1.0"]
    assert find(data, "report_metadata/org_name") == ["Example & Söhne <mail>"]
    assert find(data, "report_metadata/report_id") == ["20261127abc"]
    assert find(data, "report_metadata/generator") == [generator()]
    assert find(data, "report_metadata/error") == []
    assert find(data, "policy_published/discovery_method") == ["treewalk"]
    assert find(data, "policy_published/np") == ["reject"]
    assert find(data, "record/row/count") == ["3"]
    assert find(data, "record/row/policy_evaluated/disposition") == ["pass"]
    assert find(data, "record/auth_results/spf/scope") == ["mfrom"]
    assert b"pct" not in data


def test_errors_of_the_record(schema: etree.XMLSchema) -> None:
    published = PUBLISHED._replace(error="its sp cannot be read")
    data = document([(ROW, 1)], published)
    schema.assertValid(etree.fromstring(data))
    assert find(data, "report_metadata/error") == ["its sp cannot be read"]


@settings(max_examples=200)
@given(st.lists(messages(), min_size=1, max_size=5), HOSTILE, HOSTILE)
def test_valid_whatever_was_observed(
    schema: etree.XMLSchema, made: list[tuple[MessageFacts, Verdict]], name: str, contact: str
) -> None:
    found = [each for facts, verdict in made for each in observations(facts, verdict)]
    for published in {published for published, _ in found}:
        counts = Counter(row for policy, row in found if policy == published)
        meta = replace(META, org_name=name, contact=contact)
        data = document(list(counts.items()), published, meta)
        schema.assertValid(etree.fromstring(data))
        assert sum(map(int, find(data, "record/row/count"))) == sum(counts.values())


def test_a_report_of_many_rows_is_written_as_it_comes() -> None:
    """The rows are never all there: what is measured is the memory that the writer adds."""
    import tracemalloc

    def rows() -> Any:
        for number in range(20_000):
            yield ROW._replace(source_ip=f"2001:db8::{number:x}"), 1

    tracemalloc.start()
    feedback = write_feedback(META, PUBLISHED, rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert feedback.rows == feedback.messages == 20_000
    assert peak < 8 * len(feedback.payload) + 2_000_000


# parsedmarc: another program's view of the same report


def parsed(data: bytes) -> dict[str, Any]:
    report: dict[str, Any] = parsedmarc.parse_aggregate_report_xml(data.decode(), offline=True)
    return report


CASES = {
    "pass": (message(dmarc()), ACCEPT),
    "reject": (message(dmarc(DmarcResult.FAIL)), Verdict(Decision.REJECT, "policy", "")),
    "quarantine": (
        message(dmarc(DmarcResult.FAIL, policy=Policy.QUARANTINE)),
        Verdict(Decision.QUARANTINE, "policy", ""),
    ),
    "list": (
        message(dmarc(DmarcResult.FAIL)),
        Verdict(Decision.ACCEPT, "mailing-list", "", override="mailing_list"),
    ),
    "test mode": (
        message(dmarc(DmarcResult.FAIL, policy=Policy.QUARANTINE, published=tags(testing=True))),
        Verdict(Decision.QUARANTINE, "policy", ""),
    ),
    "dns": (message(dmarc(DmarcResult.TEMPERROR)), Verdict(Decision.ACCEPT, "temperror", "")),
    "null sender": (message(dmarc(DmarcResult.FAIL), mail_from=""), Verdict(Decision.REJECT, "policy", "")),
    "unsigned": (message(dmarc(), dkim=(), spf=()), ACCEPT),
}


@pytest.mark.parametrize("case", CASES)
def test_parsedmarc_reads_the_same(case: str) -> None:
    ((published, row),) = observations(*CASES[case])
    report = parsed(document([(row, 7), (row._replace(source_ip="2001:db8::1"), 5)], published))
    assert report["report_metadata"]["org_name"] == META.org_name
    assert report["report_metadata"]["report_id"] == META.report_id
    assert report["policy_published"]["domain"] == "shop.example"
    assert report["policy_published"]["p"] == published.p
    assert sum(record["count"] for record in report["records"]) == 12
    record = report["records"][0]
    assert record["source"]["ip_address"] == row.source_ip
    assert record["policy_evaluated"]["disposition"] == row.disposition
    assert record["policy_evaluated"]["dkim"] == row.dkim
    assert record["policy_evaluated"]["spf"] == row.spf
    reasons = [(each["type"], each["comment"] or "") for each in record["policy_evaluated"]["policy_override_reasons"]]
    assert reasons == list(row.reasons)
    assert record["identifiers"]["header_from"] == row.header_from
    assert [(each["domain"], each["selector"], each["result"]) for each in record["auth_results"]["dkim"]] == [
        (each.domain, each.selector, each.result) for each in row.signatures
    ]
    assert [(each["domain"], each["scope"], each["result"]) for each in record["auth_results"]["spf"]] == [
        (each.domain, "mfrom", each.result) for each in [row.checked] if each
    ]


def test_the_period_is_one_utc_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the host's time zone, and on a leap day too."""
    day = 21_243  # 29 February 2028
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        meta = Metadata("o", "r@us.example", "", "x", day * 86_400, (day + 1) * 86_400 - 1)
        data = document([(ROW, 1)], meta=meta)
    finally:
        monkeypatch.undo()
        time.tzset()
    begin, end = find(data, "report_metadata/date_range/begin")[0], find(data, "report_metadata/date_range/end")[0]
    assert (begin, end) == ("1835395200", "1835481599")
