"""One message through the `Transaction`: which mail is judged, what is bounded, and what the parts make together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from authmilter.facts import Client
from authmilter.transaction import FIELD_COST, MAX_HEADER_BYTES, Transaction
from mailcommon.dns.answer import Answer
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.inbound import run_message, setup_of, words
from tests.support.zone_resolver import ZoneResolver

KEY = make_key("ed25519")
ZONE = f"""
a.example               300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
macro.example           300 IN TXT "v=spf1 exists:%{{l}}.ok.example -all"
good.ok.example         300 IN A 127.0.0.2
s._domainkey.a.example  300 IN TXT "{dns_record(KEY)}"
s._domainkey.list.example 300 IN TXT "{dns_record(KEY)}"
_dmarc.a.example        300 IN TXT "v=DMARC1; p=reject"
_dmarc.q.example        300 IN TXT "v=DMARC1; p=quarantine"
_dmarc.n.example        300 IN TXT "v=DMARC1; p=none"
_dmarc.bad.example      300 IN TXT "v=DMARC1; p=rejekt"
"""
FORGED = (
    b"Authentication-Results: mx.home.example; dmarc=pass\r\nBIMI-Location: v=BIMI1; l=x\r\nBIMI-Indicator: x\r\n"
    b"Authentication-Results: old.home.example; dmarc=pass\r\nAuthentication-Results: other.example; dmarc=pass\r\n"
)
SPOOF = b"From: u@a.example\r\n\r\nx\r\n"


def names_removed(**how: Any) -> list[tuple[str, int]]:
    outcome = run_message(FORGED + SPOOF, ZoneResolver(ZONE), **{"mail_from": "x@b.example", **how})
    return list(outcome.actions.headers_remove)


OURS = [("Authentication-Results", 1), ("BIMI-Location", 1), ("BIMI-Indicator", 1)]


# Which mail is judged


@pytest.mark.parametrize(
    ("how", "judged"),
    [
        ({}, True),
        ({"auth_user": "u"}, False),
        ({"local": True}, False),
        ({"ip": "192.0.2.1", "tables": {"trust": {"networks": ["192.0.2.0/24"]}}}, False),
        ({"ip": "192.0.3.1", "tables": {"trust": {"networks": ["192.0.2.0/24"]}}}, True),
        ({"ip": "2001:db8::1", "tables": {"trust": {"networks": ["2001:db8::/32"]}}}, False),
        ({"ip": "127.0.0.1", "tables": {}}, True),
        ({"ip": "192.0.2.1", "tables": {"trust": {"networks": [], "keep_results_from": ["192.0.2.1"]}}}, False),
    ],
)
def test_whose_mail_is_judged(how: dict[str, Any], judged: bool) -> None:
    resolver = ZoneResolver(ZONE)
    outcome = run_message(SPOOF, resolver, **{"ip": "192.0.2.7", "mail_from": "x@b.example", **how})
    assert outcome.facts.judged == judged
    assert words(outcome)["decision"] == ("reject" if judged else "accept")
    assert bool(resolver.queries + resolver.started) == judged
    assert bool(outcome.actions.headers_add) == judged


@pytest.mark.parametrize(
    ("subject", "report"),
    [
        (b"Report Domain: a.example Submitter: b.example Report-ID: 1", True),
        (b"Report domain: a.example Submitter: b.example Report-ID: 1", True),  # as large senders write it
        (b"Report Domain: a.example\r\n\tSubmitter: b.example\r\n\tReport-ID: 1", True),
        (b"Re: Report Domain: a.example Submitter: b.example", False),
        (b"Report Domain: a.example", False),
    ],
)
def test_reports_are_known_by_their_subject(subject: bytes, report: bool) -> None:
    outcome = run_message(b"Subject: " + subject + b"\r\n" + SPOOF, ZoneResolver(ZONE), mail_from="x@b.example")
    assert outcome.facts.report is report


@pytest.mark.parametrize(
    ("how", "removed"),
    [
        # AR-13, PFX-9, PFX-10: whoever sent it, what passes for ours goes
        ({}, OURS),
        ({"auth_user": "u"}, OURS),
        ({"local": True}, OURS),
        ({"tables": {"trust": {"networks": ["192.0.2.0/24"]}}}, OURS),
        # except from a relay of ours that wrote them (AR-19)
        ({"tables": {"trust": {"networks": [], "keep_results_from": ["192.0.2.1"]}}}, OURS[1:]),
        (
            {"tables": {"trust": {"networks": [], "keep_results_from": ["192.0.2.1"]}, "bimi": {"keep_fields": True}}},
            [],
        ),
        ({"tables": {"bimi": {"keep_fields": True}}}, OURS),
        ({"tables": {"own_ids": ["old.home.example"]}}, [("Authentication-Results", 2), *OURS]),
    ],
)
def test_what_passes_for_ours_goes(how: dict[str, Any], removed: list[tuple[str, int]]) -> None:
    assert sorted(names_removed(**how)) == sorted(removed)


@pytest.mark.parametrize("name", [b"From ", b"FROM\t", b"from \t "])
def test_a_blank_before_the_colon_hides_no_from(name: bytes) -> None:
    """Postfix takes it out; an MTA that does not must not let the other From decide alone."""
    transaction = Transaction(setup_of(ZoneResolver(ZONE)), Client("192.0.2.7"), "x@b.example")
    for field in ((name, b" u@a.example"), (b"From", b" x@b.example")):
        transaction.header(*field)
    transaction.end_of_headers()
    outcome = transaction.finish()
    assert outcome.facts.author.domains == ("a.example", "b.example")
    assert outcome.verdict.decision == "reject"


@pytest.mark.parametrize(
    ("tables", "auth_user", "value"),
    [
        ({}, "u", None),
        ({"results": {"auth": True}}, "u", "mx.home.example;\n\tauth=pass smtp.auth=u"),
        ({"results": {"auth": True}}, 'u"\r\nX: y', None),
        ({"results": {"auth": True}}, "", None),
    ],
)
def test_auth_is_only_said_of_a_login(tables: dict[str, Any], auth_user: str, value: str | None) -> None:
    """AR-11."""
    outcome = run_message(SPOOF, ZoneResolver(ZONE), mail_from="u@a.example", tables=tables, auth_user=auth_user)
    added = dict(outcome.actions.headers_add).get("Authentication-Results", "")
    if value is not None:
        assert added == value
    elif not auth_user:
        assert "auth=" not in added
    else:
        assert "\r" not in added
        assert "\nX" not in added


# Bounds


def test_the_header_is_bounded() -> None:
    setup = setup_of(ZoneResolver(ZONE))
    for over, decision in ((0, "accept"), (1, "reject")):
        transaction = Transaction(setup, Client("192.0.2.1", helo="h.example"), "u@a.example")
        transaction.header(b"From", b" u@a.example")
        left = MAX_HEADER_BYTES - len(b"From u@a.example") - FIELD_COST + over
        while left:
            size = left if left < 200_000 else 100_000
            transaction.header(b"X", b"x" * (size - 1 - FIELD_COST))
            left -= size
        transaction.end_of_headers()
        transaction.body(b"hello\r\n")
        outcome = transaction.finish()
        assert outcome.verdict.decision == decision
        assert bool(outcome.actions.reply) == bool(over)
    assert outcome.actions.reply
    assert str(outcome.actions.reply).startswith("552 5.3.4 ")


def test_tiny_fields_count_with_what_they_cost() -> None:
    transaction = Transaction(setup_of(ZoneResolver(ZONE)), Client("192.0.2.1", helo="h.example"), "u@a.example")
    for _ in range(30_000):
        transaction.header(b"a", b"")
    transaction.end_of_headers()
    assert transaction.finish().verdict.rule == "header-size"


@pytest.mark.parametrize(
    ("ip", "dry_run", "decision", "rule"),
    [
        ("192.0.2.1", False, "reject", "forged-fields"),
        ("192.0.2.1", True, "accept", "forged-fields"),
        ("127.0.0.1", False, "accept", "own"),
    ],
)
def test_hundreds_of_forged_fields(ip: str, dry_run: bool, decision: str, rule: str) -> None:
    """A stranger's message is refused, our own mail is cleaned whatever it costs, and a dry run does nothing."""
    setup = setup_of(ZoneResolver(ZONE), {"dmarc": {"dry_run": dry_run}, "trust": {"networks": ["127.0.0.0/8"]}})
    transaction = Transaction(setup, Client(ip, helo="h.example"), "u@a.example")
    transaction.header(b"From", b" u@a.example")
    for _ in range(201):
        transaction.header(b"Authentication-Results", f" {setup.names.authserv_id}; dmarc=pass".encode())
    transaction.end_of_headers()
    outcome = transaction.finish()
    assert (outcome.verdict.decision, outcome.verdict.rule) == (decision, rule)
    assert len(outcome.actions.headers_remove) == (0 if decision == "reject" else 201)


def test_a_header_that_nobody_ended_is_judged_all_the_same() -> None:
    """No way round the check: not by leaving an event out."""
    transaction = Transaction(setup_of(ZoneResolver(ZONE)), Client("192.0.2.7", helo="h.example"), "u@b.example")
    transaction.header(b"From", b" u@a.example")
    outcome = transaction.finish()
    assert outcome.facts.judged
    assert outcome.verdict.decision == "reject"


# What the parts make together


@pytest.mark.parametrize(
    ("author", "ip", "dmarc", "decision", "rule"),
    [
        ("u@a.example", "192.0.2.1", "pass", "accept", "pass"),
        ("u@a.example", "192.0.2.7", "fail", "reject", "policy"),
        ("u@q.example", "192.0.2.7", "fail", "quarantine", "policy"),
        ("u@n.example", "192.0.2.7", "fail", "accept", "policy-none"),
        ("u@none.example", "192.0.2.7", "none", "accept", "no-policy"),
        ("u@bad.example", "192.0.2.7", "permerror", "accept", "no-policy"),
        # several domains: the strictest counts; too many are refused
        ("u@a.example, v@n.example", "192.0.2.1", "pass,fail", "accept", "pass"),
        ("v@n.example, w@q.example, u@a.example", "192.0.2.7", "fail,fail,fail", "reject", "policy"),
        (
            "a@1.example, b@2.example, c@3.example, d@4.example, u@a.example",
            "192.0.2.1",
            None,
            "reject",
            "author-domains",
        ),
        # what is no address is never a quiet none (DMARC-4)
        ("", "192.0.2.1", "", "reject", "bad-from"),
        ("u", "192.0.2.1", "", "reject", "bad-from"),
        ("u@[192.0.2.1]", "192.0.2.1", "", "reject", "bad-from"),
        ("x:;", "192.0.2.1", "", "reject", "bad-from"),
        ("u@a.example\r\nFrom: u@a.example", "192.0.2.1", "permerror", "reject", "bad-from"),
    ],
)
def test_decisions(author: str, ip: str, dmarc: str | None, decision: str, rule: str) -> None:
    message = f"From: {author}\r\n\r\nx\r\n".encode()
    outcome = run_message(message, ZoneResolver(ZONE), ip=ip or "192.0.2.1", mail_from="u@a.example")
    assert (str(outcome.verdict.decision), outcome.verdict.rule) == (decision, rule)
    if dmarc is not None:
        assert words(outcome)["dmarc"] == dmarc
    value = dict(outcome.actions.headers_add)["Authentication-Results"]
    assert "dmarc=" in value
    if rule == "bad-from":
        assert "dmarc=permerror" in value


@pytest.mark.parametrize(
    ("list_id", "signer", "rule", "decision"),
    [
        ("<dev.list.example>", "list.example", "mailing-list", "quarantine"),
        ("<dev.list.example>", "", "policy", "reject"),  # anybody can write List-Id
        ("<dev.other.example>", "list.example", "policy", "reject"),
        ("", "list.example", "policy", "reject"),
    ],
)
def test_a_mailing_list_that_authenticates_softens(list_id: str, signer: str, rule: str, decision: str) -> None:
    fields, body = split_message(f"From: u@a.example\r\nList-Id: Dev {list_id}\r\n\r\nx\r\n".encode())
    signed = [sign(fields, body, signer, "s", KEY)] if signer else []
    message = join_message([*signed, *fields], body)
    outcome = run_message(message, ZoneResolver(ZONE), ip="192.0.2.7", mail_from="bounce@list.example")
    assert (outcome.verdict.rule, str(outcome.verdict.decision)) == (rule, decision)


def test_signatures_that_are_left_out_are_counted() -> None:
    fields, body = split_message(SPOOF)
    message = join_message([sign(fields, body, "a.example", "s", KEY) for _ in range(13)] + fields, body)
    outcome = run_message(message, ZoneResolver(ZONE), mail_from="u@b.example")
    assert words(outcome)["dkim"] == ",".join(["pass"] * 10)
    assert outcome.facts.notes == ("3 further signatures were not looked at",)
    assert words(outcome)["dmarc"] == "pass"


def test_the_clock_of_signatures_is_handed_in() -> None:
    fields, body = split_message(SPOOF)
    message = join_message([sign(fields, body, "a.example", "s", KEY, extra="t=1000; x=2000; "), *fields], body)
    resolver = ZoneResolver(ZONE)
    for now, result in ((100, "policy"), (1000, "pass"), (2299, "pass"), (2400, "policy")):
        setup = setup_of(resolver, now=lambda now=now: float(now))
        assert words(run_message(message, resolver, setup=setup, mail_from="u@b.example"))["dkim"] == result


# What is remembered of SPF


def test_an_spf_result_is_remembered_for_its_address_and_domain() -> None:
    resolver = ZoneResolver(ZONE)
    setup = setup_of(resolver)

    def spf(mail_from: str, ip: str = "192.0.2.1", **how: Any) -> tuple[str, str]:
        facts = run_message(SPOOF, resolver, setup=setup, mail_from=mail_from, ip=ip, **how).facts.spf
        return next((str(fact.result), fact.identity) for fact in facts if fact.scope == "mfrom")

    def asked(name: str) -> int:
        return resolver.queries.count(("TXT", name))

    assert spf("u@a.example") == ("pass", "u@a.example")
    assert spf("v@a.example") == ("pass", "v@a.example")
    assert spf("V@A.EXAMPLE.") == ("pass", "V@A.EXAMPLE.")
    assert asked("a.example") == 1
    assert spf("u@a.example", "192.0.2.7") == ("fail", "u@a.example")
    assert spf("", helo="a.example") == ("pass", "postmaster@a.example")
    # a record with a macro may say another thing of each sender
    assert spf("good@macro.example") == ("pass", "good@macro.example")
    assert spf("bad@macro.example") == ("fail", "bad@macro.example")
    assert spf("good@macro.example") == ("pass", "good@macro.example")
    # what is wrong with one sender is not said of the next one
    assert spf("u\x01@a.example")[0] == "permerror"
    assert spf("u@a.example")[0] == "pass"


class Failing(ZoneResolver):
    """Failures have a TTL, as those of the real resolver do."""

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        answer = super().query(rdtype, name)
        return replace(answer, ttl=5) if answer.status.failed else answer


@pytest.mark.parametrize("failing", ["a.example TXT servfail", "1.2.0.192.in-addr.arpa PTR timeout"])
def test_a_failure_is_not_remembered(failing: str) -> None:
    zone = 'a.example 300 IN TXT "v=spf1 ptr:a.example -all"\nmx.a.example 300 IN A 192.0.2.1\n'
    zone += "1.2.0.192.in-addr.arpa 300 IN PTR mx.a.example\n"
    resolver = Failing(zone + failing)
    setup = setup_of(resolver)
    assert words(run_message(SPOOF, resolver, setup=setup, mail_from="u@a.example"))["spf"] in ("temperror", "fail")
    healed = ZoneResolver(zone)
    resolver.query = healed.query  # type: ignore[method-assign]  # the name server is back
    assert words(run_message(SPOOF, resolver, setup=setup, mail_from="u@a.example"))["spf"] == "pass"


def test_helo_is_left_out_if_there_is_none() -> None:
    outcome = run_message(SPOOF, ZoneResolver(ZONE), mail_from="u@a.example", helo="")
    assert [fact.scope for fact in outcome.facts.spf] == ["mfrom"]
    assert dict(outcome.actions.headers_add)["Authentication-Results"].count("spf=") == 1
