"""Remembered SPF results: the same as evaluated ones, for as long as the answers behind them hold."""

from __future__ import annotations

import pytest

from authmilter.facts import SpfResult
from authmilter.spf.evaluate import SpfLimits, check_host
from authmilter.spf.memory import SpfMemory
from tests.support.zone_resolver import ZoneResolver

ZONE = """
plain.example. 60 IN TXT "v=spf1 include:inner.example -all"
inner.example. 30 IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
macro.example. 60 IN TXT "v=spf1 exists:%{l}.users.macro.example -all"
joe.users.macro.example. 60 IN A 127.0.0.2
explained.example. 60 IN TXT "v=spf1 -all exp=why.explained.example"
why.explained.example. 60 IN TXT "%{s} may not send from %{i}"
brief.example. 0 IN TXT "v=spf1 -all"
broken.example TXT servfail
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def zone() -> ZoneResolver:
    return ZoneResolver(ZONE)


@pytest.fixture
def memory(clock: Clock) -> SpfMemory:
    return SpfMemory("mx.home.example", SpfLimits(), clock)


def test_the_second_check_asks_nothing_and_says_the_same(zone: ZoneResolver, memory: SpfMemory) -> None:
    first = memory.check("mfrom", "192.0.2.7", "joe@plain.example", "h.example", zone)
    asked = len(zone.queries)
    second = memory.check("mfrom", "192.0.2.7", "ann@PLAIN.example", "other.example", zone)
    assert len(zone.queries) == asked > 0
    assert (second.result, second.mechanism, second.domain) == (first.result, first.mechanism, first.domain)
    assert second.identity == "ann@PLAIN.example"
    # HELO of the same name is the same evaluation (RFC 7208 §2.3: postmaster at that name)
    assert memory.check("helo", "192.0.2.7", "", "plain.example", zone).scope == "helo"
    assert len(zone.queries) == asked


def test_another_address_or_domain_is_evaluated(zone: ZoneResolver, memory: SpfMemory) -> None:
    assert memory.check("mfrom", "192.0.2.7", "joe@plain.example", "h.example", zone).result is SpfResult.PASS
    assert memory.check("mfrom", "198.51.100.7", "joe@plain.example", "h.example", zone).result is SpfResult.FAIL
    assert memory.check("mfrom", "192.0.2.7", "joe@inner.example", "h.example", zone).mechanism == "ip4:192.0.2.0/24"


def test_it_is_forgotten_with_the_shortest_ttl(zone: ZoneResolver, memory: SpfMemory, clock: Clock) -> None:
    memory.check("mfrom", "192.0.2.7", "joe@plain.example", "h.example", zone)
    clock.now += 29
    asked = len(zone.queries)
    memory.check("mfrom", "192.0.2.7", "joe@plain.example", "h.example", zone)
    assert len(zone.queries) == asked
    clock.now += 2
    zone_after = ZoneResolver(ZONE.replace("192.0.2.0/24", "203.0.113.0/24"))
    assert memory.check("mfrom", "192.0.2.7", "joe@plain.example", "h.example", zone_after).result is SpfResult.FAIL


@pytest.mark.parametrize(
    ("mail_from", "helo"),
    [
        ("joe@macro.example", "h.example"),
        ("ann@macro.example", "h.example"),
        ("joe@explained.example", "h.example"),
        ("joe@brief.example", "h.example"),
        ("joe@broken.example", "h.example"),
        ("", "plain.example"),
        ("joe@x", "h.example"),
        ("joe\n@plain.example", "h.example"),
    ],
)
def test_what_depends_on_more_is_evaluated_each_time(
    zone: ZoneResolver, memory: SpfMemory, mail_from: str, helo: str
) -> None:
    """Whatever was asked before, the result is that of check_host()."""
    for sender in ("joe", "ann"):
        for domain in ("macro", "explained", "brief", "broken", "plain"):
            memory.check("mfrom", "192.0.2.7", f"{sender}@{domain}.example", "h.example", zone)
    expected = check_host(
        scope="mfrom", ip="192.0.2.7", mail_from=mail_from, helo=helo, receiver="mx.home.example", resolver=zone
    )
    assert memory.check("mfrom", "192.0.2.7", mail_from, helo, zone) == expected
