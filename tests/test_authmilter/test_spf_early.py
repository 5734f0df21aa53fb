"""What SPF asks for before it has to know: count, order and time of real queries."""

from __future__ import annotations

import time

import pytest

from authmilter.spf.evaluate import check_host
from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.inbound import run_message
from tests.support.zone_resolver import ZoneResolver

INCLUDES = (
    'b.example. TXT "v=spf1 include:i1.example include:i2.example include:i3.example include:i4.example -all"\n'
    + "".join(f'i{n}.example. TXT "v=spf1 ip4:10.0.0.{n} -all"\n' for n in range(1, 5))
)


def seconds(zone: str, delay: float) -> tuple[float, list[tuple[str, str]]]:
    """The shortest of three evaluations with nothing cached, and the queries of one."""
    times = []
    with FakeDns(zone, delay=delay) as dns:
        for _ in range(3):
            dns.forget()
            resolver = DnsResolver(DnsSettings(nameservers=(dns.address,), timeout=5.0))
            began = time.monotonic()
            check_host(
                scope="mfrom",
                ip="192.0.2.1",
                mail_from="u@b.example",
                helo="h.example",
                receiver="r.example",
                resolver=resolver,
            )
            times.append(time.monotonic() - began)
            queries = [(query.rdtype, query.name) for query in dns.queries]
            resolver.close()
    return min(times), queries


def test_four_includes_take_two_round_trips() -> None:
    taken, queries = seconds(INCLUDES, 0.03)
    assert queries == [("TXT", "b.example"), *(("TXT", f"i{n}.example") for n in range(1, 5))]
    assert 0.06 <= taken < 0.12, f"{taken * 1000:.0f} ms, two round trips are 60 and five are 150"


@pytest.mark.parametrize(
    ("terms", "started"),
    [
        ("include:a.example -all", [("TXT", "a.example")]),
        (
            "?include:a.example ~a:b.example/24 mx:c.example//64 redirect=d.example",
            [("TXT", "a.example"), ("A", "b.example"), ("MX", "c.example"), ("TXT", "d.example")],
        ),
        ("+INCLUDE:A.example. -all", [("TXT", "a.example")]),
        ("a mx -all", [("MX", "b.example"), ("A", "b.example")]),
        ("exists:%{i}.x.example include:%{d}.y.example ptr -all", []),
        ("ip4:10.0.0.1 all", []),
        ("exp=e.example -all", []),
        (" ".join(f"include:i{n}.example" for n in range(30)), [("TXT", f"i{n}.example") for n in range(10)]),
    ],
)
def test_what_is_started(terms: str, started: list[tuple[str, str]]) -> None:
    resolver = ZoneResolver(f'b.example 9 IN TXT "v=spf1 {terms}"')
    check_host(
        scope="mfrom", ip="192.0.2.1", mail_from="u@b.example", helo="h", receiver="r.example", resolver=resolver
    )
    assert resolver.started == started


def test_no_more_is_started_than_evaluation_may_ask_for() -> None:
    """An included record of many names does not begin anew."""
    names = " ".join(f"include:i{n}.example" for n in range(10))
    zone = f'b.example 9 IN TXT "v=spf1 {names}"\n'
    zone += "".join(f'i{n}.example 9 IN TXT "v=spf1 {names.replace("i", f"j{n}-i")}"\n' for n in range(10))
    resolver = ZoneResolver(zone)
    check_host(
        scope="mfrom", ip="192.0.2.1", mail_from="u@b.example", helo="h", receiver="r.example", resolver=resolver
    )
    assert len(resolver.started) == 10


def test_a_message_starts_its_look_ups_with_the_envelope() -> None:
    resolver = ZoneResolver()
    run_message(b"From: u@a.b.example\r\n\r\n", resolver, helo="h.example", mail_from="u@b.example")
    assert {("TXT", "b.example"), ("TXT", "h.example"), ("PTR", "1.2.0.192.in-addr.arpa")} == set(resolver.started[:3])
    assert set(resolver.started[3:]) == {
        ("TXT", "_dmarc.a.b.example"),
        ("TXT", "_dmarc.b.example"),
        ("TXT", "_dmarc.example"),
    }


def test_a_verified_name_and_trusted_clients_start_nothing_needless() -> None:
    resolver = ZoneResolver()
    run_message(b"From: u@b.example\r\n\r\n", resolver, name="mx.b.example", mail_from="u@b.example")
    assert not [name for rdtype, name in resolver.started + resolver.queries if rdtype == "PTR"]
    resolver = ZoneResolver()
    run_message(b"From: u@b.example\r\n\r\n", resolver, mail_from="u@b.example", auth_user="u")
    assert not resolver.started + resolver.queries
