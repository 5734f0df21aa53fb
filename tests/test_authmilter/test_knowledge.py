"""Trusted forwarders, signs of a mailing list, and how long a message was deferred."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from authmilter.deferrals import Deferrals
from authmilter.facts import (
    Author,
    Client,
    DkimFact,
    DkimResult,
    HeloFact,
    IprevFact,
    IprevResult,
    MessageFacts,
    SpfFact,
    SpfResult,
)
from authmilter.helo import confirm_helo
from authmilter.knowledge import Forwarders, Networks, Sealers, list_evidence, unknown_for_now
from tests.support.zone_resolver import ZoneResolver

FORWARDERS = Forwarders(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "forward.example"])
BY_HELO = Forwarders(["helo:forward.example"])
BY_DKIM = Forwarders(["dkim:forward.example"])
CLIENT = Client("203.0.113.1", helo="mx.forward.example")


def message(client: Client = CLIENT, mail_from: str = "x@y.example", **facts: Any) -> MessageFacts:
    return MessageFacts(client, mail_from, author=Author(("bank.example",)), **facts)


def verified(name: str) -> IprevFact:
    return IprevFact(IprevResult.PASS, "203.0.113.1", name)


def signed_by(domain: str, result: DkimResult = DkimResult.PASS) -> tuple[DkimFact, ...]:
    return (DkimFact(result, domain),)


def sent_by(domain: str, scope: str = "mfrom", result: SpfResult = SpfResult.PASS) -> tuple[SpfFact, ...]:
    return (SpfFact(scope, result, domain, f"bounces@{domain}"),)


def leads(result: IprevResult) -> HeloFact:
    return HeloFact(result, "mx.forward.example")


@pytest.mark.parametrize(
    ("ip", "iprev", "expected"),
    [
        ("192.0.2.77", None, "192.0.2.77"),
        ("2001:db8::9", None, "2001:db8::9"),
        ("198.51.100.7", None, "198.51.100.7"),
        ("198.51.100.8", None, ""),
        ("203.0.113.1", verified("mx.forward.example"), "mx.forward.example"),
        ("203.0.113.1", verified("FORWARD.example."), "forward.example"),
        ("203.0.113.1", verified("notforward.example"), ""),
        ("203.0.113.1", verified("forward.example.evil.example"), ""),
        ("203.0.113.1", IprevFact(IprevResult.FAIL, "203.0.113.1", "mx.forward.example"), ""),
        ("203.0.113.1", None, ""),
        ("", None, ""),
    ],
)
def test_forwarders_by_address_and_by_name(ip: str, iprev: IprevFact | None, expected: str) -> None:
    """Signature and HELO of the same domain do not make up for it."""
    facts = message(Client(ip, helo="mx.forward.example"), iprev=iprev, dkim=signed_by("forward.example"))
    assert FORWARDERS.match(facts) == expected


HELO_SPF = sent_by("mx.forward.example", "helo")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (message(helo=leads(IprevResult.PASS)), "HELO mx.forward.example, which leads to 203.0.113.1"),
        (message(spf=HELO_SPF), "HELO mx.forward.example, which passes SPF"),
        # RFC 7208 §2.4: SPF of the null sender is that of HELO
        (message(mail_from="", spf=sent_by("mx.forward.example")), "HELO mx.forward.example, which passes SPF"),
        (message(dataclasses.replace(CLIENT, helo="FORWARD.example."), spf=sent_by("forward.example", "helo")), "HELO"),
        # what the client says of itself counts for nothing
        (message(), ""),
        (message(helo=leads(IprevResult.FAIL)), ""),
        (message(helo=leads(IprevResult.TEMPERROR)), ""),
        (message(helo=leads(IprevResult.FAIL), spf=sent_by("mx.forward.example", "helo", SpfResult.SOFTFAIL)), ""),
        (message(helo=leads(IprevResult.FAIL), spf=sent_by("mx.forward.example", "helo", SpfResult.NEUTRAL)), ""),
        # another name passes
        (message(spf=sent_by("other.example", "helo")), ""),
        (message(spf=sent_by("mx.forward.example")), ""),  # MAIL FROM of anybody there
        (message(dataclasses.replace(CLIENT, helo="other.example"), helo=leads(IprevResult.PASS), spf=HELO_SPF), ""),
        (message(dataclasses.replace(CLIENT, helo="notforward.example"), helo=leads(IprevResult.PASS)), ""),
        # nor do a name or a signature where HELO is asked for
        (message(iprev=verified("mx.forward.example"), dkim=signed_by("forward.example")), ""),
    ],
)
def test_forwarders_by_helo(facts: MessageFacts, expected: str) -> None:
    found = BY_HELO.match(facts)
    assert found.startswith(expected) if expected else found == ""


@pytest.mark.parametrize(
    ("dkim", "expected"),
    [
        (signed_by("forward.example"), "signature of forward.example"),
        ((*signed_by("y.example"), *signed_by("forward.example")), "signature of forward.example"),
        (signed_by("forward.example", DkimResult.FAIL), ""),
        (signed_by("forward.example", DkimResult.POLICY), ""),
        (signed_by("forward.example", DkimResult.TEMPERROR), ""),
        # names below a domain are often given to others
        (signed_by("news.forward.example"), ""),
        (signed_by("example"), ""),
        ((), ""),
    ],
)
def test_forwarders_by_signature(dkim: tuple[DkimFact, ...], expected: str) -> None:
    facts = message(iprev=verified("mx.forward.example"), helo=leads(IprevResult.PASS), spf=HELO_SPF, dkim=dkim)
    assert BY_DKIM.match(facts) == expected


def test_helo_is_asked_for_only_where_a_setting_trusts_it() -> None:
    for helo, asked in (
        ("MX.Forward.example.", "mx.forward.example"),
        ("forward.example", "forward.example"),
        ("forward.example.evil.example", ""),
        ("[203.0.113.1]", ""),
        ("", ""),
    ):
        assert BY_HELO.asks_for(helo) == asked
        assert FORWARDERS.asks_for(helo) == BY_DKIM.asks_for(helo) == ""


@pytest.mark.parametrize(
    ("ip", "zone", "result"),
    [
        ("203.0.113.1", "mx.forward.example 9 IN A 203.0.113.9\nmx.forward.example 9 IN A 203.0.113.1", "pass"),
        ("2001:db8::1", "mx.forward.example 9 IN AAAA 2001:db8::1", "pass"),
        ("203.0.113.1", "mx.forward.example 9 IN A 203.0.113.9", "fail"),
        ("203.0.113.1", "", "fail"),
        ("203.0.113.1", "mx.forward.example A servfail", "temperror"),
    ],
)
def test_what_a_helo_name_leads_to(ip: str, zone: str, result: str) -> None:
    assert confirm_helo(Client(ip), "mx.forward.example", ZoneResolver(zone)).result == result


NOBODY = Sealers(())


@pytest.mark.parametrize(
    ("forwarders", "facts", "unknown"),
    [
        (FORWARDERS, message(iprev=IprevFact(IprevResult.TEMPERROR, "203.0.113.1")), True),
        (BY_HELO, message(iprev=IprevFact(IprevResult.TEMPERROR, "203.0.113.1")), False),
        (BY_HELO, message(helo=leads(IprevResult.TEMPERROR)), True),
        (BY_HELO, message(spf=sent_by("mx.forward.example", "helo", SpfResult.TEMPERROR)), True),
        (BY_HELO, message(spf=sent_by("y.example", "mfrom", SpfResult.TEMPERROR)), False),
        (BY_DKIM, message(helo=leads(IprevResult.TEMPERROR)), False),
        (BY_DKIM, message(dkim=signed_by("forward.example", DkimResult.TEMPERROR)), True),
        # who breaks his own DNS makes nothing unknown
        (BY_DKIM, message(dkim=signed_by("evil.example", DkimResult.TEMPERROR)), False),
    ],
)
def test_what_a_failed_look_up_leaves_open(forwarders: Forwarders, facts: MessageFacts, unknown: bool) -> None:
    assert bool(unknown_for_now(facts, forwarders, NOBODY)) is unknown


def test_networks_of_the_other_family_do_not_match() -> None:
    assert "::" not in Networks(["0.0.0.0/0"])
    assert "255.255.255.255" in Networks(["::/0", "0.0.0.0/0"])


@pytest.mark.parametrize(
    ("list_id", "dkim", "spf", "found"),
    [
        ("Developers <dev.lists.example>", signed_by("lists.example"), (), True),
        ("<dev.lists.example>", signed_by("dev.lists.example"), (), True),
        ("<dev.lists.example>", (), sent_by("lists.example"), True),
        ("<dev.lists.example>", (), sent_by("bounce.lists.example"), True),
        ('"a <b@c>" <dev.lists.example> (comment)', signed_by("lists.example"), (), True),
        # without authentication, or by somebody else's
        ("<dev.lists.example>", (), (), False),
        ("<dev.lists.example>", signed_by("lists.example", DkimResult.FAIL), (), False),
        ("<dev.lists.example>", signed_by("evil.example"), (), False),
        ("<dev.lists.example>", (), sent_by("lists.example", "helo"), False),
        ("<dev.lists.example>", (), sent_by("lists.example", result=SpfResult.SOFTFAIL), False),
        # a signature of the public suffix says nothing of the list
        ("<dev.lists.example>", signed_by("example"), (), False),
        # nor does a domain that shares no more than the top-level domain
        ("<python.example>", (), sent_by("evil.example"), False),
        ("", signed_by("lists.example"), (), False),
        ("no brackets", signed_by("lists.example"), (), False),
        ("<>", signed_by("lists.example"), (), False),
        ("<" * 900, signed_by("lists.example"), (), False),
    ],
)
def test_list_id(list_id: str, dkim: tuple[DkimFact, ...], spf: tuple[SpfFact, ...], found: bool) -> None:
    assert bool(list_evidence(message(dkim=dkim, spf=spf, list_id=list_id))) is found


@pytest.mark.parametrize(
    ("list_post", "dkim", "spf", "found"),
    [
        ("<mailto:dev@lists.example>", signed_by("lists.example"), (), True),
        ("<MAILTO:dev@Lists.example?subject=x> (moderated)", signed_by("lists.example"), (), True),
        ("<https://lists.example/dev>, <mailto:dev@lists.example>", (), sent_by("bounce.lists.example"), True),
        ("< mailto:dev@dev.lists.example >", (), sent_by("lists.example"), True),
        ("<mailto:dev@lists.example>", (), (), False),
        ("<mailto:dev@lists.example>", signed_by("lists.example", DkimResult.FAIL), (), False),
        ("<mailto:dev@lists.example>", signed_by("evil.example"), (), False),
        ("<mailto:dev@lists.example>", signed_by("example"), (), False),
        ("<mailto:dev@example>", signed_by("evil.example"), (), False),
        ("NO", signed_by("lists.example"), (), False),  # RFC 2369 §3.4: nobody may post
        ("<https://lists.example/dev@lists.example>", signed_by("lists.example"), (), False),
        ("dev@lists.example", signed_by("lists.example"), (), False),
        ("<mailto:" * 120, signed_by("lists.example"), (), False),
    ],
)
def test_list_post(list_post: str, dkim: tuple[DkimFact, ...], spf: tuple[SpfFact, ...], found: bool) -> None:
    facts = message(dkim=dkim, spf=spf, list_post=list_post)
    assert bool(list_evidence(facts)) is found
    # beside a List-Id that has nothing to do with who sent this
    assert bool(list_evidence(dataclasses.replace(facts, list_id="<dev.12345.localhost>"))) is found


def test_a_list_that_cannot_be_told_for_the_moment() -> None:
    none = Forwarders(())
    broken = signed_by("lists.example", DkimResult.TEMPERROR)
    for facts in (
        message(list_id="<dev.lists.example>", dkim=broken),
        message(list_post="<mailto:dev@lists.example>", dkim=broken),
        message(list_post="<mailto:dev@lists.example>", spf=sent_by("lists.example", result=SpfResult.TEMPERROR)),
    ):
        assert "mailing list" in unknown_for_now(facts, none, NOBODY)
    assert not unknown_for_now(message(dkim=broken), none, NOBODY)
    assert not unknown_for_now(message(list_id="<dev.other.example>", dkim=broken), none, NOBODY)


def test_deferrals_count_from_the_first_time() -> None:
    now = [1000.0]
    deferrals = Deferrals(lambda: now[0], entries=2)
    assert deferrals.age("a") == 0.0
    deferrals.note("a")
    now[0] += 60
    deferrals.note("a")
    assert deferrals.age("a") == 60.0
    deferrals.note("b")
    deferrals.note("c")  # bounded: the oldest goes
    assert sum(bool(deferrals._first.get(key)) for key in "abc") == 2
    now[0] += 6 * 86_400
    assert deferrals.age("c") == 0.0
