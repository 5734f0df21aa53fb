"""Trusted forwarders, signs of a mailing list, and how long a message was deferred."""

from __future__ import annotations

import pytest

from authmilter.deferrals import Deferrals
from authmilter.facts import Client, DkimFact, DkimResult, IprevFact, IprevResult, MessageFacts, SpfFact, SpfResult
from authmilter.knowledge import Forwarders, Networks, list_evidence

FORWARDERS = Forwarders(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "forward.example"])


def verified(name: str) -> IprevFact:
    return IprevFact(IprevResult.PASS, "203.0.113.1", name)


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
def test_forwarders(ip: str, iprev: IprevFact | None, expected: str) -> None:
    assert FORWARDERS.match(Client(ip, helo="mx.forward.example"), iprev) == expected


def test_networks_of_the_other_family_do_not_match() -> None:
    assert "::" not in Networks(["0.0.0.0/0"])
    assert "255.255.255.255" in Networks(["::/0", "0.0.0.0/0"])


def signed_by(domain: str, result: DkimResult = DkimResult.PASS) -> tuple[DkimFact, ...]:
    return (DkimFact(result, domain),)


def sent_by(domain: str, scope: str = "mfrom", result: SpfResult = SpfResult.PASS) -> tuple[SpfFact, ...]:
    return (SpfFact(scope, result, domain, f"bounces@{domain}"),)


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
def test_list_evidence(list_id: str, dkim: tuple[DkimFact, ...], spf: tuple[SpfFact, ...], found: bool) -> None:
    facts = MessageFacts(Client("192.0.2.1"), "x@y.example", dkim=dkim, spf=spf, list_id=list_id)
    assert bool(list_evidence(facts)) is found


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
