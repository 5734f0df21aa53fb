"""The same records and policies through postfix-mta-sts-resolver's parser; each difference has its section.

Its parser gives a dictionary; which dictionaries count is decided where it fetches, and `peer_record` and `peer_policy`
say it again in our words.
"""

from __future__ import annotations

import pytest
from postfix_mta_sts_resolver.utils import (  # type: ignore[import-untyped]  # the peer has no types
    parse_mta_sts_policy,
    parse_mta_sts_record,
)

from tlspolicyd.sts.policy import parse
from tlspolicyd.sts.record import select

ABNF_RECORD = 'RFC 8461 §3.1: "syntactically invalid" by its grammar, "MUST assume" no policy'
ABNF_POLICY = "RFC 8461 §3.2: the grammar of the policy"
FIRST = 'RFC 8461 §3.2: "all entries except for the first SHALL be ignored"'
LINES = "RFC 8461 §3.2: only LF and CRLF end a line"
SAME = ""

# record, why the answers differ
RECORDS: list[tuple[str, str]] = [
    ("v=STSv1; id=20160831085700Z;", SAME),
    ("v=STSv1; id=20160831085700Z", SAME),
    ("v=STSv1;id=1", SAME),
    ("v=STSv1;id=1;", SAME),
    ("v=STSv1 ; id=1 ;", SAME),
    ("v=STSv1;\tid=1", SAME),
    ("v=STSv1; foo=bar; id=1", SAME),
    ("v=STSv1; id=1; foo=bar", SAME),
    ("v=STSv1; id=AbC", SAME),
    ("v=STSv1;", SAME),
    ("v=STSv1", SAME),
    ("v=STSv2; id=1", SAME),
    ("v=stsv1; id=1", SAME),
    (" v=STSv1; id=1", SAME),
    ("v=STSv11; id=1", SAME),
    ("v=STSv1; ID=1", SAME),
    ("v=spf1 -all", SAME),
    ("", SAME),
    ("id=1; v=STSv1", SAME),
    ("v=STSv1 id=1", SAME),
    ("v=STSv1; id=1; id=2", FIRST),
    ("v=STSv1; v=STSv2; id=1", FIRST),
    ("v=STSv1; id=", ABNF_RECORD),
    ("v=STSv1; id", ABNF_RECORD),
    ("v=STSv1; id=a-b", "RFC 8461 §3.1: sts-id is letters and digits"),
    ("v=STSv1; id=2016-08-31T08:57:00Z", "RFC 8461 §3.1: sts-id is letters and digits"),
    ("v=STSv1; id=" + "a" * 33, "RFC 8461 §3.1: sts-id has at most 32"),
    ("v=STSv1; id=a b", ABNF_RECORD),
    ("v=STSv1; id=a=b", ABNF_RECORD),
    ("v=STSv1; id= 1", ABNF_RECORD),
    ("v=STSv1;; id=1", ABNF_RECORD),
    ("v=STSv1; id=1;;", ABNF_RECORD),
    ("v=STSv1; id=1 ", ABNF_RECORD),
    ("v=STSv1; id=1; rubbish", ABNF_RECORD),
    ("v=STSv1; id=1; _x=1", ABNF_RECORD),
]

HEAD = "version: STSv1\nmode: enforce\n"
GOOD = HEAD + "mx: a.example\nmax_age: 60\n"

# policy, why the answers differ
POLICIES: list[tuple[str, str]] = [
    (GOOD, SAME),
    (GOOD.replace("\n", "\r\n"), SAME),
    (GOOD.removesuffix("\n"), SAME),
    (GOOD + "\n", SAME),
    (GOOD.replace("\n", " \t\n"), SAME),
    (GOOD.replace(": ", ":"), SAME),
    (GOOD.replace(": ", ":  \t"), SAME),
    (GOOD.replace("enforce", "testing"), SAME),
    (GOOD.replace("enforce", "none"), SAME),
    ("version: STSv1\nmode: none\nmax_age: 60\n", SAME),
    (HEAD + "max_age: 60\n", SAME),
    (GOOD + "mx: *.b.example\n", SAME),
    (GOOD + "mx: b.example\nmx: c.example\n", SAME),
    (GOOD + "foo: bar\n", SAME),
    (GOOD + "foo:\n", SAME),
    (GOOD + "MX: b.example\n", SAME),
    (GOOD.replace("60", "0"), SAME),
    (GOOD.replace("60", "31557600"), SAME),
    (GOOD.replace("60", "0060"), SAME),
    (GOOD.replace("60", "-1"), SAME),
    (GOOD.replace("60", ""), SAME),
    (GOOD.replace("60", "1.5"), SAME),
    (GOOD.replace("60", "week"), SAME),
    (GOOD.replace("STSv1", "STSv2"), SAME),
    (GOOD.replace("STSv1", "stsv1"), SAME),
    (GOOD.replace("version: STSv1\n", ""), SAME),
    (GOOD.replace("mode: enforce\n", ""), SAME),
    (GOOD.replace("max_age: 60\n", ""), SAME),
    (GOOD.replace("enforce", "ENFORCE"), SAME),
    (GOOD.replace("enforce", "report"), SAME),
    (GOOD.replace("version", "Version"), SAME),
    (GOOD.replace("mode:", "mode :"), SAME),
    ("", SAME),
    ("<!DOCTYPE html>\n<html></html>\n", SAME),
    ("\ufeff" + GOOD, SAME),
    (GOOD + "mode: none\n", FIRST),
    (GOOD + "max_age: 9\n", FIRST),
    (GOOD + "version: STSv2\n", FIRST),
    ("mode: rubbish\n" + GOOD, "RFC 8461 §3.2: the first of a repeated field counts, also if it makes no sense"),
    (GOOD.replace("60", "31557601"), "RFC 8461 §3.2, erratum 7282: ten digits are allowed, so it is capped"),
    (GOOD.replace("60", "9999999999"), "RFC 8461 §3.2, erratum 7282: ten digits are allowed, so it is capped"),
    (GOOD.replace("60", "+60"), ABNF_POLICY),
    (GOOD.replace("60", "6_0"), ABNF_POLICY),
    (GOOD.replace("60", "٦"), ABNF_POLICY),
    (GOOD.replace("60", "00000000060"), ABNF_POLICY),
    (GOOD.replace("\n", "\r"), LINES),
    (GOOD.replace("\n", "\x0b"), LINES),
    (GOOD.replace("\n", "\x85"), LINES),
    (GOOD.replace("\n", "\u2028"), LINES),
    (GOOD + "rubbish\n", ABNF_POLICY),
    (GOOD + "# comment\n", ABNF_POLICY),
    (GOOD + " foo: bar\n", ABNF_POLICY),
    (GOOD + "mx: \n", "RFC 8461 §3.2: sts-policy-mx-value is a domain"),
    (GOOD + "mx: *\n", "RFC 8461 §3.2: sts-policy-mx-value is a domain"),
    (GOOD + "mx: .b.example\n", "RFC 8461 §3.2: sts-policy-mx-value is a domain; this was so in an early draft"),
    (GOOD + "mx: m*.b.example\n", "RFC 8461 §3.2: the asterisk is a whole label"),
    (GOOD + "mx: b.example c.example\n", "RFC 8461 §3.2: each mx has its own line"),
    (GOOD + "mx: } match=evil.example {\n", "RFC 8461 §3.2: sts-policy-mx-value is a domain"),
    (GOOD + "mx: B.Example\n", "RFC 8461 §4.1, RFC 6125 §6.4.1: compared in whatever case, so kept in lower case"),
    (GOOD + "mx: b.example.\n", "RFC 6125 §6.4.1: compared as A-labels without the final dot"),
    (GOOD + "mx: bücher.example\n", "RFC 8461 §3.2: A-labels; deviates, a U-label is converted"),
    (GOOD + "mx: 192.0.2.1\n", "RFC 5321 §5.1: an MX host has a name"),
    (GOOD + "mx: a.example\n", "no section: a pattern is kept once"),
]


def our_record(text: str) -> str | None:
    return select([text.encode()]).id or None


def peer_record(text: str) -> str | None:
    fields = parse_mta_sts_record(text)
    usable = text.startswith("v=STSv1") and fields.get("v") == "STSv1" and "id" in fields
    return str(fields["id"]) if usable else None


def peer_policy(text: str) -> tuple[str, tuple[str, ...], int] | None:
    fields = parse_mta_sts_policy(text)
    try:
        age = int(fields.get("max_age", "-1"))
    except ValueError:
        return None
    mode = fields.get("mode")
    if fields.get("version") != "STSv1" or not 0 <= age <= 31557600 or mode not in ("none", "testing", "enforce"):
        return None
    if mode != "none" and not fields["mx"]:
        return None
    return str(mode), tuple(fields["mx"]), age


def our_policy(text: str) -> tuple[str, tuple[str, ...], int] | None:
    policy = parse(text.encode()).policy
    return None if policy is None else (policy.mode.value, policy.mx, policy.max_age)


def test_there_are_enough_of_them() -> None:
    assert len(RECORDS) >= 30
    assert len(POLICIES) >= 60


@pytest.mark.parametrize(("record", "why"), RECORDS)
def test_records(record: str, why: str) -> None:
    ours, theirs = our_record(record), peer_record(record)
    assert (ours != theirs) == bool(why), (ours, theirs, why)


@pytest.mark.parametrize(("policy", "why"), POLICIES)
def test_policies(policy: str, why: str) -> None:
    ours, theirs = our_policy(policy), peer_policy(policy)
    assert (ours != theirs) == bool(why), (ours, theirs, why)
