"""Failure reports (RFC 9991): for whom, what they show, how many, and another program that reads them."""

from __future__ import annotations

import email
import email.policy
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import parsedmarc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.facts import (
    Client,
    DkimFact,
    DkimResult,
    DmarcResult,
    HeaderField,
    MessageFacts,
    Policy,
    SpfFact,
    SpfResult,
)
from authmilter.reports import failure_ledger, sending
from authmilter.reports.arf import failure_mail, feedback_fields, header_text
from authmilter.reports.failure import MAX_HEADER, Failure, failures
from authmilter.reports.redaction import plain, redact_header, redact_local
from authmilter.reports.sending import SCHEMAS, Done
from authmilter.reports.settings import Reports
from authmilter.verdict import Decision, Verdict
from mailcommon.outbox import WIRE, Report, finished
from mailcommon.store import Store
from tests.support.report_rows import dmarc, message, messages, tags
from tests.support.smtp_receiver import Receiver, content, receiving
from tests.support.stores import Stores
from tests.support.zone_resolver import ZoneResolver

RUF = ("mailto:fail@shop.example",)
REJECTED = Verdict(Decision.REJECT, "policy", "")
KEY = b"k" * 32
NOW = 1_800_000_000.0
HEADER = (
    (
        "Received",
        " from mail.evil.example (mail.evil.example [192.0.2.66])\r\n\tby mx.us.example for <alice@us.example>;",
    ),
    ("From", ' "Shop GmbH" <news@shop.example>'),
    ("To", " Alice <alice@us.example>"),
    ("Subject", " Your account, Alice: http://evil.example/x"),
    ("Message-ID", " <1234@evil.example>"),
    ("DKIM-Signature", " v=1; d=shop.example; s=s1; i=news@shop.example; b=AAAA"),
    ("X-Secret", " 42"),
)
FIELDS = [HeaderField(name.encode(), value.encode()) for name, value in HEADER]
RESULTS = "mx.us.example;\n\tspf=fail smtp.mailfrom=bounce@evil.example;\n\tdmarc=fail header.from=shop.example"


def failing(fo: str = "0", spf: bool = False, dkim: bool = False, **changes: Any) -> MessageFacts:
    """A message of which `spf` and `dkim` say what is aligned."""
    result = DmarcResult.PASS if spf or dkim else DmarcResult.FAIL
    fact = dmarc(result, spf_aligned=spf, dkim_aligned=dkim, published=tags(fo=fo, ruf=RUF))
    plain_facts = message(
        fact,
        mail_from="bounce@evil.example",
        client=Client("192.0.2.66"),
        spf=(SpfFact("mfrom", SpfResult.PASS if spf else SpfResult.FAIL, "evil.example", "bounce@evil.example"),),
        dkim=(DkimFact(DkimResult.PASS if dkim else DkimResult.FAIL, "shop.example", "s1", "news@shop.example"),),
    )
    return replace(plain_facts, **changes)


def found(facts: MessageFacts, verdict: Verdict = REJECTED, fields: Any = FIELDS) -> list[Failure]:
    return list(failures(facts, verdict, fields, RESULTS, "4bXyZ1"))


@pytest.mark.parametrize(
    ("fo", "spf", "dkim", "kind"),
    [
        ("0", False, False, "dmarc"),
        ("0", True, False, ""),
        ("0", False, True, ""),
        ("1", False, False, "dmarc"),
        ("1", True, False, "dmarc"),
        ("1", False, True, "dmarc"),
        ("1", True, True, ""),
        ("d", True, False, "signature"),
        ("d", False, True, ""),
        ("s", False, True, "spf"),
        ("s", True, False, ""),
        ("d:s", False, True, "spf"),
        ("0:d", True, False, "signature"),
    ],
)
def test_fo(fo: str, spf: bool, dkim: bool, kind: str) -> None:
    """RFC 9989 §4.7."""
    kinds = [each.kind for each in found(failing(fo, spf, dkim))]
    assert kinds == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("spf", "dkim", "alignment"), [(False, False, "dkim, spf"), (True, False, "dkim"), (False, True, "spf")]
)
def test_identity_alignment_names_what_failed(spf: bool, dkim: bool, alignment: str) -> None:
    """RFC 9991 §4: not what passed, and not the results."""
    (failure,) = found(failing("1", spf, dkim))
    assert failure.alignment == alignment
    aligned = replace(failing("d", True, True), dkim=(DkimFact(DkimResult.FAIL, "esp.example", "x"),))
    (both,) = found(aligned)
    assert both.alignment == "none"


@pytest.mark.parametrize(
    "facts",
    [
        failing(judged=False),
        failing(mail_from=""),
        failing(report=True),
        message(dmarc(DmarcResult.FAIL)),
        message(dmarc(DmarcResult.TEMPERROR, published=tags(ruf=RUF))),
    ],
)
def test_no_report(facts: MessageFacts) -> None:
    assert found(facts) == []


def test_none_about_what_is_deferred_or_automatic() -> None:
    assert found(failing(), Verdict(Decision.TEMPFAIL, "temperror", "")) == []
    for name, value in [(b"Auto-Submitted", b" auto-replied"), (b"content-type", b" multipart/report; report-type=x")]:
        assert found(failing(), fields=[*FIELDS, HeaderField(name, value)]) == []
    assert found(failing(), fields=[*FIELDS, HeaderField(b"Auto-Submitted", b" no")])


def test_never_more_than_some_of_the_header() -> None:
    (failure,) = found(failing(), fields=[HeaderField(b"X", b" " + b"x" * 1000)] * 100)
    assert len(failure.header) <= MAX_HEADER


# What it shows


def test_redacted_header() -> None:
    (failure,) = found(failing())
    shown = header_text(failure, KEY)
    for secret in ("alice", "Alice", "account", "news@", "Shop GmbH", "42", "1234@", "To:", "Subject", "http://"):
        assert secret not in shown
    assert "from mail.evil.example (mail.evil.example [192.0.2.66])" in shown
    assert re.search(r"^From: <[a-z2-7]{8}@shop\.example>$", shown, re.MULTILINE)
    word = redact_local("news@shop.example", KEY)
    assert f"i={word}" in shown  # the same word for the same person
    assert redact_local("NEWS@other.example", KEY).partition("@")[0] == word.partition("@")[0]
    assert redact_local("news@shop.example", b"another") != word


@pytest.mark.parametrize(
    "value",
    [
        "Ann Lee <{}>",
        "Ann\n Lee <{}>",
        "{} (Ann Lee)",
        "{} (Ann (or Lee) Ann)",
        '"Lee, Ann" <{}>',
        '"Lee: Ann"\n\t<{}>',
        "=?utf-8?q?Ann_?=\n =?utf-8?q?Lee?= <{}>",
        "Lee: Ann Lee <{}>;",
        '"Ann@Lee" <{}>',
        "Lee\n {}",
    ],
)
@pytest.mark.parametrize("name", ["From", "sender", "Reply-To"])
def test_names_are_taken_out_wherever_they_stand(name: str, value: str) -> None:
    shown = redact_header(f"{name}: {value.format('ann.lee@shop.example')}\n", KEY)
    assert shown == f"{name}: <{redact_local('ann.lee@shop.example', KEY)}>\n"


def test_several_addresses() -> None:
    shown = redact_header('From: Ann <a@one.example>, Lee <"b c"@two.example>, d@[192.0.2.1]\n', KEY)
    assert re.fullmatch(r"From: <\w{8}@one\.example>, <\w{8}@two\.example>, <\w{8}@\[192\.0\.2\.1\]>\n", shown)


def test_logins_are_taken_out() -> None:
    assert "ann" not in redact_header("Received: from x (Authenticated sender: ann) by y\n\tfor <ann@z>; now\n", KEY)


@pytest.mark.parametrize("filling", ["a", ":", '"', "(", "a@", '"a', "for ", "authenticated as "])
@pytest.mark.parametrize("name", ["From", "Received"])
def test_no_header_takes_long(name: str, filling: str) -> None:
    began = time.process_time()
    redact_header(f"{name}: {filling * (MAX_HEADER // len(filling))}\n", KEY)
    assert time.process_time() - began < 0.5


def test_whole_header_if_the_operator_wants_so() -> None:
    (failure,) = found(failing())
    shown = header_text(failure, b"")
    assert "Subject: Your account, Alice: hxxp://evil.example/x" in shown  # RFC 9991 §7.3: not to be clicked on
    assert "alice@us.example" in shown


@given(st.text(max_size=3000))
def test_whatever_the_header_is(text: str) -> None:
    for shown in (redact_header(text, KEY), plain(text)):
        assert shown.isascii()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", shown)
        assert all(len(line) <= 998 for line in shown.split("\n"))


def parse(failure: Failure, key: bytes = KEY, incidents: int = 1) -> tuple[dict[str, str], bytes]:
    feedback = feedback_fields(failure, NOW, incidents, 'v=spf1 exp="x" -all', key)
    mail = failure_mail("Us <dmarc@us.example>", failure.policy_domain, feedback, header_text(failure, key))
    data = finished(mail, Report("f1", "x", "d", 0, 0, "", b""), 0, "fail@shop.example").as_bytes(policy=WIRE)
    parts = list(email.message_from_bytes(data, policy=email.policy.default).iter_parts())
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/feedback-report",
        "text/rfc822-headers",
    ]
    lines = [line.partition(": ") for line in feedback.splitlines()]
    return {name: value for name, _, value in lines}, data


def test_the_report() -> None:
    (failure,) = found(failing())
    fields, data = parse(failure, incidents=3)
    assert fields | {"Authentication-Results": "", "User-Agent": "", "Original-Mail-From": "", "DKIM-Identity": ""} == {
        "Feedback-Type": "auth-failure",
        "User-Agent": "",
        "Version": "1",
        "Auth-Failure": "dmarc",
        "Authentication-Results": "",
        "Identity-Alignment": "dkim, spf",
        "Delivery-Result": "reject",
        "Original-Envelope-Id": "4bXyZ1",
        "Original-Mail-From": "",
        "Source-IP": "192.0.2.66",
        "Reported-Domain": "shop.example",
        "Arrival-Date": "Fri, 15 Jan 2027 08:00:00 +0000",
        "Incidents": "3",
        "DKIM-Domain": "shop.example",
        "DKIM-Identity": "",
        "DKIM-Selector": "s1",
        "SPF-DNS": 'txt : evil.example : "v=spf1 exp=\\"x\\" -all"',
    }
    assert re.fullmatch(r"<[a-z2-7]{8}@evil\.example>", fields["Original-Mail-From"])
    assert "smtp.mailfrom=bounce@" not in fields["Authentication-Results"]
    assert b'Content-Type: multipart/report; report-type="feedback-report"' in data


def test_parsedmarc_reads_the_same() -> None:
    (failure,) = found(failing())
    fields, data = parse(failure)
    parsed = parsedmarc.parse_report_email(data, offline=True)
    report = parsed["report"]
    assert parsed["report_type"] in ("failure", "forensic")
    assert report["reported_domain"] == "shop.example"
    assert report["source"]["ip_address"] == "192.0.2.66"
    assert report["auth_failure"] == ["dmarc"]
    assert report["delivery_result"] == "reject"
    assert report["dkim_domain"] == "shop.example"
    assert report["original_mail_from"] in fields["Original-Mail-From"]
    assert report["arrival_date_utc"] == "2027-01-15 08:00:00"


@given(messages())
def test_whatever_comes(made: tuple[MessageFacts, Verdict]) -> None:
    facts, verdict = made
    wanting = replace(facts, dmarc=tuple(replace(each, published=tags(fo="1:d:s", ruf=RUF)) for each in facts.dmarc))
    for failure in failures(wanting, verdict, FIELDS, RESULTS, "q\r\nX: y"):
        fields, _ = parse(failure)
        assert fields["Feedback-Type"] == "auth-failure"
        assert fields.get("Original-Envelope-Id", "") == "q X: y"


# How many


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Quiet:
    def begin(self, task: str, total: int) -> None: ...

    def step(self) -> None: ...


class World:
    def __init__(self, stores: Stores, receiver: Receiver, port: int) -> None:
        self.receiver = receiver
        self.settings = Reports(
            store=stores.address,
            email="dmarc@us.example",
            smtp=f"127.0.0.1:{port}",
            failure_reports=True,
            failure_hourly=4,
            failure_hourly_domain=2,
        )
        self.store: Store = stores.open(SCHEMAS)
        self.clock = Clock()

    def note(self, *numbers: int, domain: str = "shop.example", ruf: tuple[str, ...] = RUF) -> None:
        for number in numbers:
            fact = dmarc(
                DmarcResult.FAIL,
                author_domain=domain,
                policy_domain=domain,
                published=tags(ruf=ruf),
                policy=Policy.NONE,
            )
            facts = failing(client=Client(f"192.0.2.{number}"), dmarc=(fact,))
            failure_ledger.note(self.store, [(each, 1) for each in found(facts)], self.clock.now)

    def run(self) -> Done:
        zone = ZoneResolver('evil.example 60 IN TXT "v=spf1 -all"\n_dmarc.down.example TXT servfail')
        return sending.run(self.settings, self.store, zone, self.clock, Quiet())


@pytest.fixture
def world(stores: Stores) -> Iterator[World]:
    with receiving() as (receiver, port):
        yield World(stores, receiver, port)


def test_like_failures_are_one_report(world: World) -> None:
    world.note(1, 1, 1)
    assert world.run().failed.reports == 1
    (envelope,) = world.receiver.got
    assert envelope.rcpt_tos == ["fail@shop.example"]
    assert isinstance(envelope.content, bytes)
    assert b"Incidents: 3" in envelope.content
    assert b'SPF-DNS: txt : evil.example : "v=spf1 -all"' in envelope.content
    assert str(content(envelope)["Subject"]) == "DMARC failure report about shop.example"


def test_rate_limits_per_domain_and_in_all(world: World) -> None:
    """RFC 9991 §2: MUST. What is over them waits and is folded."""
    world.note(1, 2, 3)
    for domain in ("b.example", "c.example"):
        world.note(1, 2, domain=domain, ruf=(f"mailto:fail@{domain}",))
    done = world.run()
    assert (done.failed.reports, done.failed.waiting) == (4, 3)
    assert world.run().failed.reports == 0
    world.note(3)
    world.clock.now += 3601
    assert world.run().failed.reports == 3
    assert sum("Incidents: 2" in str(content(each)) for each in world.receiver.got) == 1
    assert len(world.receiver.got) == 7


def test_what_waits_too_long_is_dropped(world: World) -> None:
    world.note(1, 2, 3, 4)
    world.run()
    world.clock.now += 2 * 86_400
    done = world.run()
    assert (done.failed.reports, done.failed.lost) == (0, 2)


def test_external_destinations_have_to_agree(world: World) -> None:
    world.note(1, ruf=("mailto:x@stranger.example",))
    done = world.run()
    assert (done.failed.reports, done.failed.unwanted) == (0, 1)
    world.note(2, ruf=("mailto:x@down.example",))
    assert world.run().failed.waiting == 1
    assert world.receiver.got == []


def test_off_by_default(world: World) -> None:
    assert not Reports().failure_reports
    world.settings = world.settings.model_copy(update={"failure_reports": False})
    world.note(1)
    assert world.run().failed.reports == 0


def test_incidents_that_come_while_a_report_is_made_are_kept(world: World) -> None:
    world.note(1)
    (row,) = failure_ledger.kept(world.store)
    world.note(1, 1)
    with world.store.write() as tx:
        assert not failure_ledger.forget(tx, row)
    assert failure_ledger.kept(world.store)[0].incidents == 2


def test_one_secret_for_all_hosts(stores: Stores) -> None:
    secrets = {failure_ledger.secret(stores.open(SCHEMAS)) for _ in range(2)}
    assert len(secrets) == 1
    assert len(secrets.pop()) == 32
