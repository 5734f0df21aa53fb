"""Every fault that a DNS server can have, for each record that a message needs, through the daemon and real packets.

The message is in good order: SPF and DKIM would pass, both aligned, with p=reject. One look-up at a time goes wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from authmilter.deferrals import Deferrals
from authmilter.verdict import Decision
from mailcommon.dns.answer import Answer
from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.inbound import run_message, setup_of, words
from tests.support.milter_client import Outcome
from tests.support.stranger import Strangers, results
from tests.support.zone_resolver import ZoneResolver

TIMEOUT = 0.4
KEY = make_key("ed25519")
FIELDS, BODY = split_message(b"From: u@a.example\r\nTo: me@home.example\r\nSubject: x\r\n\r\nhello\r\n")
MESSAGE = join_message([sign(FIELDS, BODY, "a.example", "s", KEY), *FIELDS], BODY)

RECORDS = {
    "spf": ("a.example", "TXT", '"v=spf1 ip4:192.0.2.1 -all"'),
    "dkim": ("s._domainkey.a.example", "TXT", f'"{dns_record(KEY)}"'),
    "dmarc": ("_dmarc.a.example", "TXT", '"v=DMARC1; p=reject"'),
    "iprev": ("1.2.0.192.in-addr.arpa", "PTR", "mx.a.example."),
}
OTHERS = "mx.a.example. 0 IN A 192.0.2.1\n"

FAILED = {"spf": "temperror", "dkim": "temperror", "dmarc": "temperror", "iprev": "temperror"}
ABSENT = {"spf": "none", "dkim": "permerror", "dmarc": "none", "iprev": "permerror"}
FINE = dict.fromkeys(RECORDS, "pass")

# fault -> (its line or records in the zone, what the look-up comes to)
FAULTS: dict[str, dict[str, str]] = {
    "timeout": FAILED,
    "servfail": FAILED,
    "bogus": FAILED,
    "refused": FAILED,
    "lame": FAILED,
    "garbage": FAILED,
    "close": FAILED,
    "drip": FAILED,  # one octet in 50 ms takes longer than the whole look-up may
    "nxdomain": ABSENT,
    "truncate": FINE,
    "wrong-case": FINE,
    "wrong-id": FINE,
    "wrong-question": FINE,
    "formerr": FINE,
    "notimp": FINE,
    "delay=0.1": FINE,
    "timeout times=1": FINE,  # the second packet comes through
    "servfail times=1 ": FAILED,  # a server that has answered is not asked again
}


def zone_of(changed: str = "", fault: str = "") -> str:
    zone = OTHERS
    for method, (name, rdtype, data) in RECORDS.items():
        zone += f"{name}. 0 IN {rdtype} {data}\n"
        if method == changed:
            zone += f";FAULT {name}. {rdtype} {fault}\n"
    return zone


def chain_zone(changed: str, length: int, *, loop: bool = False, dangling: bool = False) -> str:
    """The record stands behind aliases."""
    zone = OTHERS
    for method, (name, rdtype, data) in RECORDS.items():
        if method != changed:
            zone += f"{name}. 0 IN {rdtype} {data}\n"
            continue
        zone += f"{name}. 0 IN CNAME c1.chain.example.\n"
        zone += "".join(f"c{n}.chain.example. 0 IN CNAME c{n + 1}.chain.example.\n" for n in range(1, length))
        if loop:
            zone += f"c{length}.chain.example. 0 IN CNAME c1.chain.example.\n"
        elif not dangling:
            zone += f"c{length}.chain.example. 0 IN {rdtype} {data}\n"
    return zone


@pytest.fixture(scope="module")
def gate() -> Iterator[Strangers]:
    # no memory for answers, and no TTL that would let a result be remembered: each case begins anew
    with Strangers("", {"dns": {"cache_entries": 0}}, timeout=TIMEOUT) as running:
        yield running


@pytest.fixture(scope="module")
def deferring() -> Iterator[Strangers]:
    tables = {"dns": {"cache_entries": 0}, "dmarc": {"on_temperror": "tempfail"}, "workers": 1}
    with Strangers("", tables, timeout=TIMEOUT) as running:
        yield running


def send(gate: Strangers, zone: str) -> Outcome:
    gate.dns.load(zone, negative_ttl=0)
    with gate.client(helo="mx.a.example") as milter:
        began = time.monotonic()
        outcome = milter.send(MESSAGE, mail_from="u@a.example")
        # every look-up one after the other, each to its end: PTR, its A, SPF twice, key, three of DMARC
        assert time.monotonic() - began < 8 * TIMEOUT + 1.0
    return outcome


def expected(method: str, word: str) -> dict[str, str]:
    found = {**FINE, method: word}
    if method == "dmarc":
        return found
    # the other one of SPF and DKIM is aligned and passes
    return {**found, "dmarc": "pass"}


def of_interest(outcome: Outcome) -> dict[str, str]:
    return {method: word for method, word in results(outcome).items() if method not in ("helo", "arc")}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", RECORDS)
def test_each_fault_of_each_record(gate: Strangers, method: str, fault: str) -> None:
    word = FAULTS[fault][method]
    if method == "iprev" and fault == "wrong-case":
        word = "pass"
    outcome = send(gate, zone_of(method, fault))
    assert outcome.reply.kind == "continue"  # RFC 9989 §5.3.6 and our own word: a DNS failure never rejects
    assert of_interest(outcome) == expected(method, word)


@pytest.mark.parametrize("method", RECORDS)
@pytest.mark.parametrize(
    ("length", "loop", "dangling", "words"),
    [
        (1, False, False, FINE),
        (8, False, False, FINE),
        (5, True, False, FAILED),
        (15, False, False, FAILED),
        (1, False, True, ABSENT),
        (5, False, True, ABSENT),
    ],
)
def test_aliases(gate: Strangers, method: str, length: int, loop: bool, dangling: bool, words: dict[str, str]) -> None:
    outcome = send(gate, chain_zone(method, length, loop=loop, dangling=dangling))
    assert outcome.reply.kind == "continue"
    assert of_interest(outcome) == expected(method, words[method])


@pytest.mark.parametrize("fault", ["no-follow", "truncate", "drip", "timeout"])
def test_aliases_with_a_fault_on_the_way(gate: Strangers, fault: str) -> None:
    zone = (
        chain_zone("dkim", 3) + f";FAULT c1.chain.example. TXT {fault}\n;FAULT s._domainkey.a.example. TXT no-follow\n"
    )
    outcome = send(gate, zone)
    assert results(outcome)["dkim"] == ("pass" if fault in ("no-follow", "truncate") else "temperror")


def test_three_hundred_records(gate: Strangers) -> None:
    """The one that counts among 300: over TCP, and with the right answer."""
    zone = zone_of() + "".join(f'a.example. 0 IN TXT "noise {n}"\n' for n in range(300))
    zone += "".join(f'_dmarc.a.example. 0 IN TXT "noise {n}"\n' for n in range(300))
    assert of_interest(send(gate, zone)) == FINE


@pytest.mark.parametrize(
    ("faults", "word", "decision"),
    [
        # SPF and DKIM undecided and nothing else aligned: neither pass nor fail (DMARC-49, DMARC-50)
        (["a.example. TXT servfail", "s._domainkey.a.example. TXT servfail"], "temperror", "continue"),
        (["a.example. TXT timeout", "s._domainkey.a.example. TXT nxdomain"], "temperror", "continue"),
        (["a.example. TXT nxdomain", "s._domainkey.a.example. TXT timeout"], "temperror", "continue"),
        (["_dmarc.a.example. TXT servfail"], "temperror", "continue"),
        # nothing failed: the policy is applied
        (["a.example. TXT nxdomain", "s._domainkey.a.example. TXT nxdomain"], "", "replycode"),
        # the record and the names are there: the rest of the walk does not matter
        (["_dmarc.example. TXT servfail"], "pass", "continue"),
        (["* * servfail"], "temperror", "continue"),
        (["* * timeout"], "temperror", "continue"),
    ],
)
def test_what_dmarc_makes_of_it(gate: Strangers, faults: list[str], word: str, decision: str) -> None:
    outcome = send(gate, zone_of() + "".join(f";FAULT {fault}\n" for fault in faults))
    assert outcome.reply.kind == decision, outcome.smtp
    if word:
        assert results(outcome)["dmarc"] == word
    else:
        assert outcome.smtp.startswith("550 5.7.26 ")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("_dmarc.a.example. TXT servfail", "451 4.7.1 "),
        ("_dmarc.a.example. TXT timeout", "451 4.7.1 "),
        ("* TXT servfail", "451 4.7.24 "),
    ],
)
def test_deferred_if_that_is_wanted(deferring: Strangers, fault: str, code: str) -> None:
    outcome = send(deferring, zone_of() + f";FAULT {fault}\n")
    assert outcome.smtp.startswith(code)
    assert "a.example" in outcome.smtp
    assert not outcome.edits
    # with DNS back the same message comes through
    assert of_interest(send(deferring, zone_of())) == FINE


def test_nothing_is_deferred_for_ever() -> None:
    """The clock is handed in: at `max_deferral` the message is accepted and marked."""
    clock = [1000.0]
    resolver = ZoneResolver("_dmarc.a.example TXT servfail")
    tables = {"dmarc": {"on_temperror": "tempfail", "max_deferral": 3600}}
    setup = setup_of(resolver, tables, deferrals=Deferrals(lambda: clock[0]))

    def attempt(**changes: Any) -> Decision:
        return run_message(MESSAGE, resolver, setup=setup, **{"mail_from": "u@b.example", **changes}).verdict.decision

    for minutes, decision in ((0, "tempfail"), (15, "tempfail"), (59, "tempfail"), (60, "accept"), (90, "accept")):
        clock[0] = 1000.0 + 60 * minutes
        assert attempt() == decision, f"after {minutes} minutes"
    # the same mail from another address of its sender's pool
    assert attempt(ip="192.0.2.2") == "accept"
    # other mail begins its own time
    assert attempt(mail_from="v@b.example") == "tempfail"
    clock[0] += 3600
    assert attempt(mail_from="v@b.example") == "accept"


def test_what_was_decided_in_between_is_deferred_anew() -> None:
    clock = [1000.0]
    broken, whole = ZoneResolver("_dmarc.a.example TXT servfail"), ZoneResolver("a.example. 60 IN A 192.0.2.1")
    deferrals = Deferrals(lambda: clock[0])
    for resolver, decision in ((broken, "tempfail"), (whole, "accept"), (broken, "tempfail")):
        setup = setup_of(resolver, {"dmarc": {"on_temperror": "tempfail"}}, deferrals=deferrals)
        assert run_message(MESSAGE, resolver, setup=setup, mail_from="u@b.example").verdict.decision == decision
        clock[0] += 100_000


UNKNOWN_WORLD = """
bank.example. 60 IN TXT "v=spf1 ptr -all"
_dmarc.bank.example. 60 IN TXT "v=DMARC1; p=reject"
list.example. 60 IN TXT "v=spf1 a -all"
fwd.example. 60 IN TXT "v=spf1 a -all"
"""
BANK = b"From: a@bank.example\r\nList-Id: <dev.list.example>\r\n\r\nx\r\n"


@pytest.mark.parametrize(
    ("mail_from", "fault", "decision"),
    [
        # the sender's own record asks for the client's names
        ("a@bank.example", "9.113.0.203.in-addr.arpa PTR servfail", "quarantine"),
        ("a@bank.example", "", "reject"),
        # a list that may have sent it
        ("b@list.example", "list.example A timeout", "quarantine"),
        ("b@list.example", "", "reject"),
        # a stranger who breaks his own DNS gains nothing
        ("b@mallory.example", "mallory.example TXT servfail", "reject"),
    ],
)
@pytest.mark.parametrize("on_temperror", ["accept", "tempfail"])
def test_unknown_for_the_moment_is_neither_rejected_nor_delivered(
    mail_from: str, fault: str, decision: str, on_temperror: str
) -> None:
    resolver = ZoneResolver(UNKNOWN_WORLD + fault)
    setup = setup_of(resolver, {"dmarc": {"on_temperror": on_temperror}})
    found = run_message(BANK, resolver, setup=setup, mail_from=mail_from, ip="203.0.113.9").verdict
    wanted = "tempfail" if (decision, on_temperror) == ("quarantine", "tempfail") else decision
    assert (found.decision, found.rule) == (wanted, "policy" if decision == "reject" else "unknown")


def test_a_forwarder_that_cannot_be_told_for_the_moment() -> None:
    resolver = ZoneResolver(UNKNOWN_WORLD + "9.113.0.203.in-addr.arpa PTR timeout")
    setup = setup_of(resolver, {"trust": {"networks": [], "forwarders": ["fwd.example"]}})
    message = b"From: a@bank.example\r\n\r\nx\r\n"
    found = run_message(message, resolver, setup=setup, mail_from="x@fwd.example", ip="203.0.113.9").verdict
    assert (found.decision, found.rule) == ("quarantine", "unknown")


def test_mail_with_p_none_is_never_deferred() -> None:
    """RFC 9989 §5.4: the policy none changes nothing, a failing look-up beside it neither."""
    resolver = ZoneResolver('_dmarc.a.example. 60 IN TXT "v=DMARC1; p=none"\na.example TXT timeout')
    setup = setup_of(resolver, {"dmarc": {"on_temperror": "tempfail"}})
    found = run_message(MESSAGE, resolver, setup=setup, mail_from="u@a.example").verdict
    assert (found.decision, found.rule) == ("accept", "policy-none")


def test_all_lookups_of_a_message_have_one_deadline() -> None:
    """Past it nothing more is asked, and the message is answered with what is known."""
    clock = [1000.0]

    class Slow(ZoneResolver):
        def query(self, rdtype: str, name: str) -> Answer[Any]:
            clock[0] += 25
            return super().query(rdtype, name)

    resolver = Slow("")
    setup = replace(setup_of(resolver, {}), monotonic=lambda: clock[0])
    outcome = run_message(MESSAGE, resolver, setup=setup, mail_from="u@b.example")
    assert outcome.verdict.rule == "temperror"
    assert len(resolver.queries) <= 4


@pytest.mark.parametrize("fault", ["servfail", "timeout", "bogus"])
@pytest.mark.parametrize("on_temperror", ["accept", "tempfail"])
def test_no_failure_of_any_set_of_lookups_rejects(fault: str, on_temperror: str) -> None:
    """Of all subsets of the records that can fail, none rejects or quarantines a message that is in good order."""
    names = [f"{name} {rdtype} {fault}" for name, rdtype, _ in RECORDS.values()]
    good = "\n".join(f"{name} 300 IN {rdtype} {data}" for name, rdtype, data in RECORDS.values()) + "\n"
    good += "mx.a.example 300 IN A 192.0.2.1\n"
    for choice in range(16):
        failing = [line for place, line in enumerate(names) if choice & 1 << place]
        tables = {"dmarc": {"on_temperror": on_temperror}}
        outcome = run_message(MESSAGE, ZoneResolver(good + "\n".join(failing)), mail_from="u@a.example", tables=tables)
        found = words(outcome)
        assert found["decision"] in ("accept", "tempfail")
        undecided = choice & 0b100 or choice & 0b11 == 0b11
        assert found["dmarc"] == ("temperror" if undecided else "pass")
        assert found["decision"] == ("tempfail" if undecided and on_temperror == "tempfail" else "accept")


def test_the_deadline_holds_for_a_look_up_as_a_whole(gate: Strangers) -> None:
    """Retries, aliases and TCP share it."""
    zone = chain_zone("spf", 8) + ";FAULT * * delay=0.15 no-follow\n"
    gate.dns.load(zone)
    resolver = DnsResolver(DnsSettings(nameservers=(gate.dns.address,), timeout=TIMEOUT))
    began = time.monotonic()
    assert resolver.txt("a.example").status.failed
    assert time.monotonic() - began < TIMEOUT + 0.3
