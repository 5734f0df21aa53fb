"""Policies that allow none of a domain's MX hosts are noticed, with few questions and beside the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.tls_facts import dane, facts, sts
from tests.test_tlspolicyd.policy_world import in_loop
from tlspolicyd.facts import DaneFact, Facts, Mode, StsFact, Tlsa
from tlspolicyd.mx_watch import MxWatch

OFF = DaneFact(enabled=False)
OLD = sts(Mode.ENFORCE, "old.example")  # the hosts are mx0.a.example and so on
ZONE = """
a.example. 60 MX 10 mx0.a.example.
a.example. 60 MX 20 mx1.a.example.
long.example. 86400 MX 10 mx.long.example.
null.example. 60 MX 0 .
;FAULT fail.example. MX servfail
;FAULT slow.example. MX timeout
"""


class World:
    """A watch with a DNS server; `now` is its clock."""

    def __init__(self, dns: FakeDns, at_once: int = 50) -> None:
        self.dns = dns
        self.now = 1000.0
        self.suspected: list[str] = []
        self.resolver = AsyncDnsResolver(DnsSettings((dns.address,), 1.0, 0))  # no cache: each query is seen
        self.watch = MxWatch(self.resolver, self.suspected.append, at_once=at_once, clock=lambda: self.now)

    async def quiet(self) -> None:
        """All looks have ended."""
        while self.watch._looks:
            await asyncio.sleep(0.002)

    async def answer(self, these: Facts) -> list[str]:
        self.watch.answered(these)
        await self.quiet()
        return self.suspected


def watching(test: Callable[[World], Awaitable[None]], at_once: int = 50) -> None:
    async def run() -> None:
        with FakeDns(ZONE) as dns:
            world = World(dns, at_once)
            try:
                await test(world)
            finally:
                await world.watch.close()
                await world.resolver.close()

    in_loop(run)()


@pytest.mark.parametrize("found", [OFF, dane(Tlsa.NONE, Tlsa.NONE, secure=False)], ids=["DANE off", "DANE on"])
@pytest.mark.parametrize(
    ("fact", "suspected"),
    [
        (OLD, True),
        (sts(Mode.ENFORCE, "old.example", "*.a.example"), False),
        (sts(Mode.ENFORCE, "mx1.a.example"), False),  # one host is enough
        (sts(Mode.TESTING, "old.example"), False),
        (replace(OLD, cached=False), False),  # just fetched
        (sts(unreadable=True), False),
        (sts(), False),
    ],
)
def test_complaint_4_a_policy_that_allows_none_of_the_mx_hosts_is_suspected(
    found: DaneFact, fact: StsFact, suspected: bool
) -> None:
    async def test(world: World) -> None:
        assert await world.answer(facts(found, fact)) == (["a.example"] if suspected else [])
        watched = not found.enabled and fact.cached and fact.policy is not None and fact.policy.mode is Mode.ENFORCE
        assert [query.rdtype for query in world.dns.queries] == (["MX"] if watched else [])

    watching(test)


@pytest.mark.parametrize("domain", ["fail.example", "slow.example", "null.example"])
def test_no_host_is_no_reason(domain: str) -> None:
    async def test(world: World) -> None:
        assert await world.answer(Facts(domain, replace(OLD, domain=domain), OFF)) == []
        assert world.dns.count(rdtype="MX")

    watching(test)


@pytest.mark.parametrize(("domain", "seconds"), [("a.example", 300), ("fail.example", 300), ("long.example", 3600)])
def test_one_question_in_an_interval(domain: str, seconds: int) -> None:
    async def test(world: World) -> None:
        these = Facts(domain, replace(OLD, domain=domain), OFF)
        await world.answer(these)
        asked = world.dns.count()
        for _ in range(100):
            world.now += (seconds - 1) / 100
            await world.answer(these)
        assert world.dns.count() == asked
        world.now += 2  # floating point
        await world.answer(these)
        assert world.dns.count() == 2 * asked

    watching(test)


def test_so_many_at_once_and_the_others_later() -> None:
    async def test(world: World) -> None:
        world.dns.delay = 0.1
        domains = [f"d{number}.example" for number in range(10)]
        for _ in range(3):
            for domain in domains:
                world.watch.answered(Facts(domain, replace(OLD, domain=domain), OFF))
        while world.dns.count() < 4:
            await asyncio.sleep(0.002)
        await world.quiet()
        assert world.dns.count() == 4
        for _ in range(2):
            for domain in domains:
                world.watch.answered(Facts(domain, replace(OLD, domain=domain), OFF))
            await world.quiet()
        assert sorted(query.name for query in world.dns.queries) == domains

    watching(test, at_once=4)
