"""The milter session: what Postfix sees over the wire, and what happens when we fail ourselves."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import Milter
import pytest

from authmilter import session
from authmilter.deferrals import Deferrals
from mailcommon.dns.answer import Answer
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.inbound import setup_of
from tests.support.milter_client import MilterClient, Outcome
from tests.support.milter_protocol import ALL_ACTIONS, ALL_STEPS, Can, Step
from tests.support.stranger import Strangers, results
from tests.support.zone_resolver import ZoneResolver

KEY = make_key("ed25519")
FIELDS, BODY = split_message(b"From: u@a.example\r\nTo: me@home.example\r\nSubject:  two\r\n\tfolds \r\n\r\nhello\r\n")
RELAXED = join_message([sign(FIELDS, BODY, "a.example", "s", KEY), *FIELDS], BODY)
SIMPLE = join_message([sign(FIELDS, BODY, "a.example", "s", KEY, canonicalization="simple/simple"), *FIELDS], BODY)
PLAIN = b"From: u@a.example\n\nhello\n"
ZONE = f"""
a.example.               IN TXT "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"
s._domainkey.a.example.  IN TXT "{dns_record(KEY)}"
_dmarc.a.example.        IN TXT "v=DMARC1; p=reject"
_dmarc.q.example.        IN TXT "v=DMARC1; p=quarantine"
xn--bcher-kva.example.   IN TXT "v=spf1 ip4:192.0.2.1 -all"
;FAULT 9.2.0.192.in-addr.arpa. PTR servfail
"""

FIRST_VERSION = Step(0x7F)  # what a filter of version 2 could refuse
NO_REPLY = Step.NR_HEADER | Step.NR_CONNECT | Step.NR_HELO | Step.NR_MAIL | Step.NR_RCPT | Step.NR_DATA
NO_REPLY |= Step.NR_UNKNOWN | Step.NR_EOH | Step.NR_BODY


@pytest.fixture(scope="module")
def gate() -> Iterator[Strangers]:
    with Strangers(ZONE) as running:
        yield running
        assert running.strange_log_lines() == []
        assert "internal fault" not in running.daemon.log.text()


def send(milter: MilterClient, message: bytes = PLAIN, **how: Any) -> Outcome:
    return milter.send(message, **{"mail_from": "u@a.example", **how})


# Negotiation


def test_unneeded_steps_are_refused_and_answers_left_out(gate: Strangers) -> None:
    """PFX-20, PFX-21."""
    with gate.client() as milter:
        assert milter.version == 6
        assert Step.NO_RCPT | Step.NO_DATA | Step.NO_UNKNOWN in milter.steps
        needed = Step.NO_CONNECT | Step.NO_HELO | Step.NO_MAIL | Step.NO_HEADERS | Step.NO_EOH | Step.NO_BODY
        assert not milter.steps & needed
        assert Step.NR_CONNECT | Step.NR_HELO | Step.NR_HEADER | Step.NR_EOH | Step.NR_BODY in milter.steps
        # MAIL is answered: Postfix would keep it back until DATA otherwise, and the look-ups with it
        assert Step.NR_MAIL not in milter.steps
        assert Step.LEADING_SPACE in milter.steps
        assert Step.RCPT_REJECTED not in milter.steps
        assert milter.actions & (Can.ADD_HEADERS | Can.CHANGE_HEADERS | Can.QUARANTINE) == (
            Can.ADD_HEADERS | Can.CHANGE_HEADERS | Can.QUARANTINE
        )


@pytest.mark.parametrize(
    ("steps", "version"),
    [
        (ALL_STEPS, 6),
        (ALL_STEPS & ~Step.LEADING_SPACE, 6),
        (ALL_STEPS & ~NO_REPLY, 6),
        (ALL_STEPS & ~NO_REPLY & ~Step.LEADING_SPACE & ~Step.SKIP, 6),
        (FIRST_VERSION, 2),
    ],
    ids=["all", "no leading space", "no silence", "neither", "version 2"],
)
def test_a_peer_that_offers_less(gate: Strangers, steps: Step, version: int) -> None:
    with MilterClient(gate.daemon.address, steps=steps, version=version) as milter:
        milter.open(helo="mx.a.example")
        # without LEADING_SPACE one blank is taken for granted, which is what nearly all mail has
        for message in (RELAXED, SIMPLE):
            outcome = send(milter, b"Authentication-Results: mx.home.example; x\r\n" + message)
            assert (results(outcome)["spf"], results(outcome)["dkim"], results(outcome)["dmarc"]) == ("pass",) * 3
            (value,) = outcome.all("Authentication-Results")
            assert value.startswith(" mx.home.example;\n\t")
        assert send(milter, mail_from="u@b.example").smtp.startswith("550 5.7.26 ")


def test_the_leading_blank_is_hashed(gate: Strangers) -> None:
    """DKIM-40, PFX-21: simple canonicalization with none, one and two blanks after the colon."""
    for subject in (b"Subject:x\r\n", b"Subject: x\r\n", b"Subject:  x\r\n", b"Subject:\tx\r\n", b"Subject:\r\n x\r\n"):
        fields, body = split_message(b"From: u@a.example\r\n" + subject + b"\r\nhello\r\n")
        message = join_message(
            [sign(fields, body, "a.example", "s", KEY, canonicalization="simple/simple"), *fields], body
        )
        with gate.client() as milter:
            assert results(send(milter, message))["dkim"] == "pass", subject


# One message after the other


def test_several_messages_on_one_connection(gate: Strangers) -> None:
    with gate.client(helo="mx.a.example") as milter:
        for _ in range(3):
            assert results(send(milter, RELAXED))["dkim"] == "pass"
            assert results(send(milter))["dkim"] == "none"
            assert send(milter, mail_from="u@b.example").smtp.startswith("550 5.7.26 ")
            assert send(milter, b"To: me@home.example\n\nx\n").smtp.startswith("550 5.7.1 ")


@pytest.mark.parametrize("step", ["rcpt", "data", "header", "eoh", "body", "end"])
def test_nothing_of_an_abandoned_message_stays(gate: Strangers, step: str) -> None:
    """PFX-8."""
    with gate.client() as milter:
        first = b"Authentication-Results: mx.home.example; x\r\n" * 3 + RELAXED
        send(milter, first, abort_at=step, login="somebody")
        outcome = send(milter, b"To: me@home.example\n\nx\n")
        assert outcome.smtp.startswith("550 5.7.1 ")
        assert "no From" in outcome.smtp
        send(milter, first, abort_at=step, login="somebody")
        outcome = send(milter)
        assert (results(outcome)["spf"], results(outcome)["dkim"]) == ("pass", "none")
        assert [edit.kind for edit in outcome.edits] == ["insert"]


def test_mail_without_an_abort_begins_anew(gate: Strangers) -> None:
    with gate.client() as milter:
        milter.mail("u@b.example")
        milter.rcpt("me@home.example")
        milter.header(b"From", b" u@b.example")
        outcome = send(milter)
        assert results(outcome)["dmarc"] == "pass"


def test_a_login_counts_for_its_message_only(gate: Strangers) -> None:
    """PFX-4, PFX-10."""
    with gate.client() as milter:
        own = send(milter, mail_from="u@b.example", login="somebody")
        assert (own.reply.kind, own.edits) == ("continue", ())
        assert send(milter, mail_from="u@b.example").smtp.startswith("550 5.7.26 ")
        # the AUTH= parameter of MAIL is anybody's word
        spoof = send(milter, mail_from="u@b.example", mail_params=["AUTH=somebody@a.example"])
        assert spoof.smtp.startswith("550 5.7.26 ")
        assert "auth=" not in spoof.smtp


def test_connections_do_not_touch_each_other(gate: Strangers) -> None:
    with gate.client() as one, gate.client(ip="192.0.2.66") as two:
        one.mail("u@a.example")
        two.mail("u@a.example")
        for milter in (two, one):
            milter.rcpt("me@home.example")
            milter.header(b"From", b" u@a.example")
            milter.end_of_header()
        assert two.end({"i": "4Two"})[0].kind == "replycode"
        assert one.end({"i": "4One"})[0].kind == "continue"


def test_the_queue_id_is_that_of_the_end(gate: Strangers) -> None:
    """PFX-1."""
    mark = gate.daemon.log.mark()
    with gate.client() as milter:
        send(milter, queue_id="4First")
        send(milter, queue_id="4Second")
    gate.daemon.log.wait("4First: decision=accept", after=mark)
    gate.daemon.log.wait("4Second: decision=accept", after=mark)


# Who the client is


@pytest.mark.parametrize(
    ("ip", "name", "spf", "iprev"),
    [
        ("192.0.2.1", "", "pass", "permerror"),
        ("192.0.2.1", "unknown", "pass", "permerror"),
        ("192.0.2.1", "mx.a.example", "pass", "pass"),
        ("192.0.2.9", "", "fail", "temperror"),
        ("2001:db8::1", "", "pass", "permerror"),
        ("2001:0DB8:0::1", "", "pass", "permerror"),
        ("::ffff:192.0.2.1", "", "pass", "permerror"),
    ],
)
def test_addresses_and_names(gate: Strangers, ip: str, name: str, spf: str, iprev: str) -> None:
    """PFX-3, SPF-25."""
    with gate.client(ip=ip, name=name) as milter:
        outcome = send(milter, RELAXED)
    assert (results(outcome)["spf"], results(outcome)["iprev"]) == (spf, iprev)


def test_mail_made_on_this_host_is_not_judged(gate: Strangers) -> None:
    """PFX-9: even with loopback taken for a stranger, as these settings do; what claims to be ours goes."""
    with MilterClient(gate.daemon.address) as milter:
        milter.open_local()
        outcome = send(
            milter, b"Authentication-Results: mx.home.example; dmarc=pass\n" + PLAIN, mail_from="x@b.example"
        )
    assert outcome.reply.kind == "continue"
    assert [(edit.kind, edit.index) for edit in outcome.edits] == [("change", 1)]


def test_a_stranger_on_loopback_is_judged_if_it_is_not_trusted(gate: Strangers) -> None:
    with gate.client(ip="127.0.0.1", name="localhost") as milter:
        assert send(milter, mail_from="x@b.example").smtp.startswith("550 5.7.26 ")


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("u@a.example", "u@a.example"),
        ("@relay.example,@x.example:u@a.example", "u@a.example"),
        ('"a b"@a.example', '"a b"@a.example'),
        ('"u@evil.example"@a.example', '"u@evil.example"@a.example'),
    ],
)
def test_reverse_paths(gate: Strangers, sender: str, shown: str) -> None:
    with gate.client() as milter:
        (value,) = send(milter, mail_from=sender).all("Authentication-Results")
    assert f"smtp.mailfrom={shown}" in value.replace("\n\t", " ")
    assert "dmarc=pass" in value


def test_international_mail(gate: Strangers) -> None:
    """AR-20: with SMTPUTF8 the local part is shown, without it the domain alone; the domain always in A-labels."""
    message = "From: Jürgen <jürgen@bücher.example>\n\nx\n".encode()
    for params, shown in (
        (["SMTPUTF8", "BODY=8BITMIME"], "smtp.mailfrom=jürgen@xn--bcher-kva.example"),
        (["smtputf8"], "smtp.mailfrom=jürgen@xn--bcher-kva.example"),
        ([], "smtp.mailfrom=xn--bcher-kva.example"),
    ):
        with gate.client() as milter:
            outcome = send(milter, message, mail_from="jürgen@bücher.example", mail_params=params)
        assert results(outcome)["spf"] == "pass"
        (edit,) = outcome.edits
        value = edit.value.decode()
        assert shown in value.replace("\n\t", " ")
        assert "header.from=xn--bcher-kva.example" in value


# What is asked of Postfix


def test_order_of_the_edits() -> None:
    """PFX-14 to PFX-16, AR-12, AR-17: deletions from the highest index down, then insertions at 0, the topmost last."""
    forged = b"Authentication-Results: mx.home.example; x\nBIMI-Location: y\nReceived-SPF: pass\n"
    kept = b"Authentication-Results: other.example; x\n"
    with Strangers(ZONE, {"spf": {"received_spf": True}}) as gate, gate.client() as milter:
        outcome = send(milter, forged + kept + forged + PLAIN)
    assert [(edit.kind, edit.name.decode(), edit.index, bool(edit.value)) for edit in outcome.edits] == [
        ("change", "Authentication-Results", 3, False),
        ("change", "Authentication-Results", 1, False),
        ("change", "BIMI-Location", 2, False),
        ("change", "BIMI-Location", 1, False),
        ("insert", "Received-SPF", 0, True),
        ("insert", "Authentication-Results", 0, True),
    ]
    assert [name for name, _ in outcome.header[:2]] == [b"Authentication-Results", b"Received-SPF"]
    assert outcome.all("BIMI-Location") == []
    assert outcome.all("Authentication-Results")[1:] == [" other.example; x"]


def test_quarantine_does_not_end_the_transaction(gate: Strangers) -> None:
    """PFX-25."""
    with gate.client() as milter:
        outcome = send(milter, b"From: u@q.example\n\nx\n")
    assert (outcome.reply.kind, outcome.taken) == ("continue", True)
    assert outcome.quarantine
    assert outcome.quarantine.startswith(b"DMARC: ")
    assert len(outcome.quarantine) <= 100
    assert results(outcome)["dmarc"] == "fail"


def test_a_percent_sign_in_a_reply(gate: Strangers) -> None:
    """PFX-30: doubled on the wire, single for the client."""
    with gate.client() as milter:
        outcome = send(milter, b"From: <%s%n@[x]>\n\nx\n")
    assert outcome.smtp.startswith("550 5.7.1 ")
    assert "%%" not in outcome.smtp


def test_header_fields_as_large_as_postfix_lets_in(gate: Strangers) -> None:
    """header_size_limit is 102,400 octets, more than libmilter takes by itself."""
    with gate.client() as milter:
        for size in (65_000, 65_536, 102_400):
            message = b"To: " + b"a@home.example,\n " * (size // 17) + b"\n" + PLAIN
            assert results(send(milter, message))["dmarc"] == "pass"


# Faults of our own


class Broken(ZoneResolver):
    """Fails as no resolver should."""

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        raise RuntimeError(f"no\nsuch {rdtype}\x1b[2J {name}")


class Postfix:
    """What libmilter gives to the callbacks, and the callbacks as they were registered with it."""

    def __init__(self, callbacks: dict[str, Callable[..., int]]) -> None:
        self.reply: tuple[str, ...] = ()
        self.edits: list[tuple[Any, ...]] = []
        self.callbacks = callbacks
        self._session: object = None

    def setpriv(self, session: object) -> None:
        self._session = session

    def getpriv(self) -> object:
        return self._session

    def getsymval(self, name: str) -> str | None:
        return {"i": "4Fault"}.get(name)

    def setreply(self, *words: str) -> None:
        self.reply = words

    def addheader(self, *words: Any) -> None:
        self.edits.append(words)

    chgheader = addheader
    quarantine = addheader

    def event(self, name: str, *words: Any) -> int:
        """One event, as libmilter reports it."""
        return self.callbacks[name](self, *words)

    def message(self) -> int:
        """A whole message; the answer at its end."""
        self.event("envfrom", b"<u@a.example>")
        self.event("header", "From", b" u@a.example")
        self.event("eoh")
        self.event("body", b"hello\r\n")
        return self.event("eom")


Start = Callable[..., tuple[Postfix, list[float]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Begin a session in this process: the peer, and a clock to set."""

    def begin(resolver: ZoneResolver, **settings: Any) -> tuple[Postfix, list[float]]:
        clock = [0.0]
        setup = setup_of(resolver, settings, deferrals=Deferrals(lambda: clock[0]))
        callbacks: dict[str, Callable[..., int]] = {}
        for name in ("connect", "helo", "envfrom", "header", "eoh", "body", "eom", "abort", "close"):
            monkeypatch.setattr(Milter, f"set_{name}_callback", partial(callbacks.__setitem__, name))
        for name in ("setconn", "opensocket", "setbacklog", "set_flags", "set_exception_policy"):
            monkeypatch.setattr(Milter, name, lambda *_: None)
        monkeypatch.setattr(Milter, "register", lambda _, negotiate: callbacks.update(negotiate=negotiate))
        session.open_socket("unix:/nowhere", lambda: setup)
        peer = Postfix(callbacks)
        peer.event("negotiate", [int(ALL_ACTIONS), int(ALL_STEPS), 0, 0])
        peer.event("connect", "mx.a.example", socket.AF_INET, ("192.0.2.1", 25))
        peer.event("helo", "mx.a.example")
        return peer, clock

    return begin


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    logger = logging.getLogger("authmilter")
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, "authmilter")
    return caplog


GOOD = 'a.example 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"'


def test_a_fault_is_logged_once_and_the_message_deferred(start: Start, log: pytest.LogCaptureFixture) -> None:
    peer, _ = start(Broken())
    assert peer.message() == Milter.TEMPFAIL
    assert peer.reply[:2] == ("451", "4.3.0")
    assert peer.edits == []
    (record,) = log.records
    text = record.getMessage()
    assert record.levelno == logging.ERROR
    assert text.startswith("4Fault: internal fault, message deferred: ")
    assert "RuntimeError" in text
    assert text.isprintable()


def test_a_fault_may_be_set_to_accept(start: Start, log: pytest.LogCaptureFixture) -> None:
    peer, _ = start(Broken(), on_fault="accept")
    assert peer.message() == Milter.CONTINUE
    assert peer.reply == ()
    (record,) = log.records
    assert record.getMessage().startswith("4Fault: internal fault, message accepted: ")


def test_a_fault_does_not_defer_for_ever(start: Start) -> None:
    peer, clock = start(Broken(), dmarc={"max_deferral": 3600})
    for seconds, answer in ((0, Milter.TEMPFAIL), (3599, Milter.TEMPFAIL), (3600, Milter.CONTINUE)):
        clock[0] = float(seconds)
        assert peer.message() == answer


def test_a_fault_spoils_one_message_only(start: Start, log: pytest.LogCaptureFixture) -> None:
    peer, _ = start(ZoneResolver(GOOD))
    peer.event("envfrom", b"<u@a.example>")
    peer.event("header", "From", None)
    peer.event("body", b"the rest is let pass\r\n")
    assert peer.event("eom") == Milter.TEMPFAIL
    assert peer.message() == Milter.CONTINUE
    assert [words[0] for words in peer.edits] == ["Authentication-Results"]
    # in an abandoned message it is forgotten with that, whether Postfix says so or not
    peer.event("envfrom", b"<u@a.example>")
    peer.event("header", "From", None)
    assert peer.message() == Milter.CONTINUE
    peer.event("envfrom", b"<u@a.example>")
    peer.event("header", "From", None)
    peer.event("abort")
    assert peer.message() == Milter.CONTINUE
    assert [record.levelno for record in log.records] == [logging.ERROR, *[logging.INFO] * 3]


@pytest.mark.parametrize("event", ["envfrom", "header", "eoh", "body"])
def test_a_fault_in_any_event_is_answered_at_the_end(start: Start, log: pytest.LogCaptureFixture, event: str) -> None:
    """Nothing but the end of a message is answered, and no event raises."""
    peer, _ = start(ZoneResolver(GOOD))
    words = {"envfrom": (None,), "header": ("From", None), "eoh": (None,), "body": ("too", "much")}
    for name in ("envfrom", "header", "eoh", "body"):
        good = {"envfrom": (b"<u@a.example>",), "header": ("From", b" u@a.example"), "eoh": (), "body": (b"x",)}
        assert peer.event(name, *(words if name == event else good)[name]) in (Milter.NOREPLY, Milter.CONTINUE)
    answer = peer.event("eom")
    assert answer == Milter.TEMPFAIL
    assert [record.levelno for record in log.records] == [logging.ERROR]
    assert peer.message() == Milter.CONTINUE


def test_a_fault_while_the_answer_is_carried_out(start: Start, log: pytest.LogCaptureFixture) -> None:
    peer, _ = start(ZoneResolver(GOOD))

    def refuse(*words: Any) -> None:
        raise Milter.error("cannot add header")

    peer.addheader = refuse  # type: ignore[method-assign]  # as libmilter does when Postfix is gone
    assert peer.message() == Milter.TEMPFAIL
    assert [record.levelno for record in log.records] == [logging.ERROR]


def test_an_event_without_a_session_before_it(start: Start) -> None:
    peer, _ = start(ZoneResolver(GOOD))
    assert peer.event("eom") == Milter.CONTINUE
    assert peer.event("eoh") in (Milter.NOREPLY, Milter.CONTINUE)
    assert peer.event("body", b"x") in (Milter.NOREPLY, Milter.CONTINUE)
    assert peer.message() == Milter.CONTINUE
    assert peer.event("abort") == Milter.CONTINUE
    assert peer.event("close") == Milter.CONTINUE
