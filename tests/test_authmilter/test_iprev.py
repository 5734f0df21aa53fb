"""iprev (RFC 8601 §3), row by row."""

from __future__ import annotations

from typing import Any

import pytest

from authmilter.facts import Client, IprevFact
from authmilter.iprev import check_iprev
from mailcommon.dns.answer import Answer, Status
from tests.support.zone_resolver import ZoneResolver

REVERSE = "1.2.0.192.in-addr.arpa"
LEADS_BACK = "a.example 9 IN A 192.0.2.1"
REVERSE6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def check(zone: str, ip: str = "192.0.2.1", name: str = "") -> tuple[IprevFact, ZoneResolver]:
    resolver = ZoneResolver(zone)
    return check_iprev(Client(ip, name), resolver), resolver


@pytest.mark.parametrize(
    ("zone", "result", "name", "reason"),
    [
        (f"{REVERSE} 9 IN PTR a.example\na.example 9 IN A 192.0.2.1", "pass", "a.example", ""),
        (f"{REVERSE} 9 IN PTR A.Example.\na.example 9 IN A 192.0.2.1", "pass", "a.example", ""),
        (
            f"{REVERSE} 9 IN PTR a.example\n{REVERSE} 9 IN PTR b.example\nb.example 9 IN A 10.0.0.1\n"
            "b.example 9 IN A 192.0.2.1",
            "pass",
            "b.example",
            "",
        ),
        (
            f"{REVERSE} 9 IN CNAME r.example\nr.example 9 IN PTR a.example\na.example 9 IN A 192.0.2.1",
            "pass",
            "a.example",
            "",
        ),
        # RFC 8601 §2.7.3: permerror if there is no PTR record, fail if no name leads back
        ("", "permerror", "", "no PTR record"),
        (f"{REVERSE} 9 IN NS ns.example", "permerror", "", "no PTR record"),
        (f"{REVERSE} 9 IN PTR a.example", "fail", "", "a.example does not lead back to the address"),
        (f"{REVERSE} 9 IN PTR a.example\na.example 9 IN A 192.0.2.2", "fail", "", "a.example does not lead back"),
        (f"{REVERSE} 9 IN PTR a.example\na.example 9 IN AAAA ::ffff:192.0.2.1", "fail", "", "a.example does not"),
        (f"{REVERSE} PTR servfail", "temperror", "", "PTR: servfail"),
        (f"{REVERSE} PTR timeout", "temperror", "", "PTR: timeout"),
        (f"{REVERSE} PTR bogus", "temperror", "", "PTR: bogus"),
        (f"{REVERSE} 9 IN PTR a.example\na.example A timeout", "temperror", "", "a.example: timeout"),
        # one name that cannot be had does not hide one that fits
        (
            f"{REVERSE} 9 IN PTR a.example\n{REVERSE} 9 IN PTR b.example\n"
            "a.example A servfail\nb.example 9 IN A 192.0.2.1",
            "pass",
            "b.example",
            "",
        ),
        (
            f"{REVERSE} 9 IN PTR a.example\n{REVERSE} 9 IN PTR b.example\n"
            "a.example A servfail\nb.example 9 IN A 10.0.0.1",
            "temperror",
            "",
            "a.example: servfail",
        ),
    ],
)
def test_each_row(zone: str, result: str, name: str, reason: str) -> None:
    fact, _ = check(zone)
    assert (fact.result, fact.ip, fact.name) == (result, "192.0.2.1", name)
    assert fact.reason.startswith(reason)
    assert bool(fact.reason) == bool(reason)


def test_ipv6() -> None:
    zone = f"{REVERSE6} 9 IN PTR a.example\na.example 9 IN AAAA 2001:db8::1\na.example A servfail"
    fact, resolver = check(zone, "2001:db8::1")
    assert (fact.result, fact.name) == ("pass", "a.example")
    assert resolver.queries == [("PTR", REVERSE6), ("AAAA", "a.example")]


def test_a_name_that_the_mta_verified_costs_no_query() -> None:
    fact, resolver = check(f"{REVERSE} PTR servfail", name="mx.a.example")
    assert (fact.result, fact.name) == ("pass", "mx.a.example")
    assert not resolver.queries


def test_ten_names_are_looked_at() -> None:
    names = [f"p{number}.example" for number in range(30)]
    zone = "".join(f"{REVERSE} 9 IN PTR {name}\n" for name in names)
    fact, resolver = check(zone + "p9.example 9 IN A 192.0.2.1")
    assert (fact.result, fact.name) == ("pass", "p9.example")
    fact, resolver = check(zone + "p10.example 9 IN A 192.0.2.1")
    assert fact.result == "fail"
    assert sum(rdtype == "A" for rdtype, _ in resolver.queries) == 10


def test_names_are_looked_up_together() -> None:
    zone = "".join(f"{REVERSE} 9 IN PTR p{number}.example\n" for number in range(5))
    _, resolver = check(zone)
    assert resolver.started == [("A", f"p{number}.example") for number in range(1, 5)]


@pytest.mark.parametrize("name", ["*.example", "a b.example", "-", ".", "x" * 70 + ".example", '"(;.example'])
def test_odd_names(name: str) -> None:
    class Odd(ZoneResolver):
        def query(self, rdtype: str, asked: str) -> Answer[Any]:
            return Answer(Status.OK, (name,)) if rdtype == "PTR" else super().query(rdtype, asked)

    fact = check_iprev(Client("192.0.2.1"), Odd())
    assert fact.result == "fail"
