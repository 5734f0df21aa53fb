"""The report of RFC 8460 §4.4 and its mail: our schema, parsedmarc's reading, and totals that agree with the counts."""

from __future__ import annotations

import datetime
import email
import email.policy
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsedmarc import parse_report_email, parse_smtp_tls_report_json

from mailcommon.outbox import WIRE, finished
from tests.test_tlspolicyd.tlsrpt_schema import RESULT_TYPES, check
from tlspolicyd.tlsrpt import due
from tlspolicyd.tlsrpt.carriers import body_of, compose
from tlspolicyd.tlsrpt.counts import MOST_FAILURES, Count, Row
from tlspolicyd.tlsrpt.report import Report, Reporter, make_report
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, clean, clean_ip, clean_name

DAY = datetime.date(2026, 11, 27)
REPORTER = Reporter("Sender Inc", "tls-reports@sender.example")
TOKEN = "20261127abc"
STS = AppliedPolicy(
    PolicyType.STS,
    "a.example",
    ("version: STSv1", "mode: enforce", "mx: mx1.a.example", "mx: *.b.example", "max_age: 86400"),
    ("mx1.a.example", "*.b.example"),
)
NONE = AppliedPolicy(PolicyType.NONE, "a.example")


def report_of(*rows: Row, domain: str = "a.example", reporter: Reporter = REPORTER) -> Report:
    return make_report(reporter, domain, DAY, rows, TOKEN)


def row(policy: AppliedPolicy = STS, good: int = 0, **failures: int) -> Row:
    details = {Failure(Result(name.replace("_", "-"))): number for name, number in failures.items()}
    return Row(DAY, "a.example", policy, Count(good, sum(failures.values()), details))


def body(report: Report) -> dict[str, Any]:
    told = json.loads(report.body)
    assert isinstance(told, dict)
    return told


def test_the_report_of_the_rfc() -> None:
    """RFC 8460, appendix B, with the fields that its text demands."""
    details = {
        Failure(Result.EXPIRED, sending_ip="2001:db8:abcd:12::1", mx="mx1.a.example"): 100,
        Failure(Result.NO_STARTTLS, "2001:db8:abcd:13::1", "mx2.a.example", ip="203.0.113.56", info="https://x/"): 200,
        Failure(Result.VALIDATION, "198.51.100.62", "mxb.a.example", "helo", "203.0.113.58", reason="X509_V_ERR"): 3,
    }
    told = body(report_of(Row(DAY, "a.example", STS, Count(5326, 303, details))))
    assert told == {
        "organization-name": "Sender Inc",
        "date-range": {"start-datetime": "2026-11-27T00:00:00Z", "end-datetime": "2026-11-27T23:59:59Z"},
        "contact-info": "tls-reports@sender.example",
        "report-id": "20261127abc@sender.example",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": list(STS.strings),
                    "policy-domain": "a.example",
                    "mx-host": ["mx1.a.example", "*.b.example"],
                },
                "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
                "failure-details": [
                    {
                        "result-type": "starttls-not-supported",
                        "sending-mta-ip": "2001:db8:abcd:13::1",
                        "receiving-mx-hostname": "mx2.a.example",
                        "receiving-ip": "203.0.113.56",
                        "additional-information": "https://x/",
                        "failed-session-count": 200,
                    },
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "2001:db8:abcd:12::1",
                        "receiving-mx-hostname": "mx1.a.example",
                        "failed-session-count": 100,
                    },
                    {
                        "result-type": "validation-failure",
                        "sending-mta-ip": "198.51.100.62",
                        "receiving-mx-hostname": "mxb.a.example",
                        "receiving-mx-helo": "helo",
                        "receiving-ip": "203.0.113.58",
                        "failure-reason-code": "X509_V_ERR",
                        "failed-session-count": 3,
                    },
                ],
            }
        ],
    }
    check(told)


def test_tlsrpt_24_a_day_without_failures_is_reported() -> None:
    (policy,) = body(report_of(row(good=7)))["policies"]
    assert policy["summary"] == {"total-successful-session-count": 7, "total-failure-session-count": 0}
    assert policy["failure-details"] == []


def test_tlsrpt_26_policies_are_apart_and_in_a_fixed_order() -> None:
    tlsa = AppliedPolicy(PolicyType.TLSA, "mx1.a.example", ("3 1 1 AB",))
    rows = [row(NONE, 1), row(STS, 2), row(tlsa, 1), row(STS, 1, certificate_expired=1)]
    first = [policy["policy"]["policy-type"] for policy in body(report_of(*rows))["policies"]]
    assert first == [policy["policy"]["policy-type"] for policy in body(report_of(*reversed(rows)))["policies"]]
    assert first == ["sts", "no-policy-found", "tlsa"]


def test_tlsrpt_10_file_name() -> None:
    # RFC 8460 §5.1
    assert report_of(row(good=1)).filename == ("sender.example!a.example!1795737600!1795823999!20261127abc.json.gz")


def test_leap_day() -> None:
    report = make_report(REPORTER, "a.example", datetime.date(2028, 2, 29), [row(good=1)], TOKEN)
    assert body(report)["date-range"] == {
        "start-datetime": "2028-02-29T00:00:00Z",
        "end-datetime": "2028-02-29T23:59:59Z",
    }


def test_tlsrpt_13_packed() -> None:
    report = report_of(row(good=1))
    assert gzip.decompress(report.packed) == report.body
    assert report.packed == report.packed


def test_more_than_there_is_room_for_is_told() -> None:
    rows = [row(AppliedPolicy(PolicyType.STS, f"p{number}.example"), 1) for number in range(250)]
    report = report_of(*rows, row(good=5))
    assert len(body(report)["policies"]) == 200
    assert (report.successes, report.left_out) == (5 + 199, 51)


def test_failures_beyond_the_bound_are_counted_by_result() -> None:
    details = {Failure(Result.EXPIRED, ip=f"192.0.2.{number}"): 1 for number in range(1000)}
    (policy,) = body(report_of(Row(DAY, "a.example", STS, Count(0, 1000, details))))["policies"]
    assert len(policy["failure-details"]) == MOST_FAILURES + 1
    assert sum(failure["failed-session-count"] for failure in policy["failure-details"]) == 1000


# any text that a stranger may have got into the counts
texts = st.text(max_size=60).map(clean)
names = st.sampled_from(["mx.a.example", "xn--bcher-kva.example", "a_b.example"]) | st.text(max_size=20).map(clean_name)
failures = st.builds(
    Failure,
    st.sampled_from(Result),
    st.ip_addresses().map(str).map(clean_ip) | st.just(""),
    names,
    texts,
    st.ip_addresses().map(str).map(clean_ip) | st.just(""),
    texts,
    texts,
)
policies = st.builds(
    AppliedPolicy,
    st.sampled_from(PolicyType),
    st.sampled_from(["a.example", "mx.a.example"]),
    st.lists(texts.filter(bool), max_size=4).map(tuple),
    st.lists(st.sampled_from(["mx.a.example", "*.a.example"]), max_size=3).map(tuple),
)
counts = st.dictionaries(failures, st.integers(1, 10**6), max_size=6).flatmap(
    lambda details: st.builds(
        Count,
        st.integers(0, 10**12),
        st.just(sum(details.values())),
        st.just(details),
    )
)
rows = st.lists(st.builds(Row, st.just(DAY), st.just("a.example"), policies, counts), min_size=1, max_size=5)


@given(rows)
def test_tlsrpt_16_17_20_21_22_any_counts_give_a_report_that_fits_the_schema(given_rows: list[Row]) -> None:
    report = report_of(*given_rows)
    told = body(report)
    check(told)
    assert report.body.isascii()
    summaries = [policy["summary"] for policy in told["policies"]]
    assert sum(each["total-successful-session-count"] for each in summaries) == sum(
        each.count.successes for each in given_rows
    )
    assert sum(each["total-failure-session-count"] for each in summaries) == sum(
        each.count.failures for each in given_rows
    )
    for policy in told["policies"]:
        assert (
            sum(failure["failed-session-count"] for failure in policy["failure-details"])
            == policy["summary"]["total-failure-session-count"]
        )


@given(rows)
@settings(max_examples=50)
def test_parsedmarc_reads_the_same_numbers(given_rows: list[Row]) -> None:
    report = report_of(*given_rows)
    read: Any = parse_smtp_tls_report_json(report.body)
    told = body(report)
    assert (read["report_id"], read["contact_info"]) == (report.id, REPORTER.contact)
    assert (read["begin_date"], read["end_date"]) == ("2026-11-27T00:00:00Z", "2026-11-27T23:59:59Z")
    assert len(read["policies"]) == len(told["policies"])
    assert sum(policy["successful_session_count"] for policy in read["policies"]) == sum(
        each.count.successes for each in given_rows
    )
    details = [each for policy in read["policies"] for each in policy["failure_details"]]
    assert sum(each["failed_session_count"] for each in details) == sum(each.count.failures for each in given_rows)
    for ours, theirs in zip(told["policies"], read["policies"], strict=True):
        assert theirs["policy_type"] == ours["policy"]["policy-type"]
        assert theirs["policy_domain"] == ours["policy"]["policy-domain"]
        assert theirs["successful_session_count"] == ours["summary"]["total-successful-session-count"]
        assert theirs["failed_session_count"] == ours["summary"]["total-failure-session-count"]
        assert [(each["result_type"], each["failed_session_count"]) for each in theirs["failure_details"]] == [
            (each["result-type"], each["failed-session-count"]) for each in ours["failure-details"]
        ]


def test_the_schema_has_every_result_type() -> None:
    assert sorted(RESULT_TYPES) == sorted(Result)


def mail_of(report: Report, contact: str = REPORTER.contact) -> bytes:
    boxed = due.boxed(report)
    return finished(compose(boxed, contact), boxed, 0, "tls@a.example").as_bytes(policy=WIRE)


def test_tlsrpt_7_8_9_the_mail() -> None:
    report = report_of(row(good=3, certificate_expired=1))
    octets = mail_of(report)
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    assert message["TLS-Report-Domain"] == "a.example"
    assert message["TLS-Report-Submitter"] == "sender.example"
    assert message["Subject"] == f"Report Domain: a.example Submitter: sender.example Report-ID: <{report.id}>"
    assert message["From"] == "tls-reports@sender.example"
    assert message["To"] == "tls@a.example"
    assert message["TLS-Required"] == "No"
    assert message["Auto-Submitted"] == "auto-generated"
    text, data = message.iter_parts()
    assert (text.get_content_type(), data.get_content_type()) == ("text/plain", "application/tlsrpt+gzip")
    assert data.get_filename() == report.filename
    assert f'filename="{report.filename}"'.encode() in octets
    assert gzip.decompress(data.get_payload(decode=True)) == report.body  # type: ignore[arg-type]
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_parsedmarc_reads_the_mail() -> None:
    read: Any = parse_report_email(mail_of(report_of(row(good=3, certificate_expired=1))), offline=True)
    assert read["report_type"] == "smtp_tls"
    assert read["report"]["policies"][0]["failed_session_count"] == 1


@pytest.mark.parametrize("length", [60, 63])
def test_the_longest_names(length: int) -> None:
    domain = ".".join(["d" * length] * 3) + ".example"
    contact = "c@" + ".".join(["s" * length] * 3) + ".example"
    report = report_of(row(good=1), domain=domain, reporter=Reporter("x", contact))
    message = email.message_from_bytes(mail_of(report, contact), policy=email.policy.SMTP)
    assert message["Subject"].endswith(f"Report-ID: <{report.id}>")
    assert message["TLS-Report-Domain"] == domain
    _, data = message.iter_parts()
    assert str(data.get_filename()).endswith(".json.gz")
    assert max(map(len, mail_of(report, contact).split(b"\r\n"))) <= 998


def test_a_report_is_read_back() -> None:
    report = report_of(row(good=3))
    assert body_of(due.boxed(report)) == body(report)
