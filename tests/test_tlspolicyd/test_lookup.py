"""Both halves of the facts at once, each in its time, and without waiting when they are at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.tls_facts import sts
from tlspolicyd.facts import Facts, Mode, StsFact, Tlsa
from tlspolicyd.lookup import Lookup

T = TypeVar("T")

ZONE = f""";FAULT * * ad
a.example. 60 MX 10 mx1.a.example.
mx1.a.example. 300 A 192.0.2.1
_25._tcp.mx1.a.example. 300 TLSA 3 1 1 {"ab" * 32}
zero.example. 0 MX 10 mx1.a.example.
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class KnownPolicies:
    """Always the same policy, known from the first question on."""

    def __init__(self, fact: StsFact) -> None:
        self.known: StsFact | None = None
        self.waits: list[float] = []
        self._fact = fact

    async def fact(self, domain: str, wait: float) -> StsFact:
        self.waits.append(wait)
        self.known = replace(self._fact, domain=domain)
        return self.known

    def peek(self, domain: str) -> StsFact | None:
        return self.known if self.known is not None and self.known.domain == domain else None


Test = Callable[[AsyncDnsResolver, FakeDns], Coroutine[Any, Any, T]]


def with_dns(test: Test[T], zone: str = ZONE) -> T:
    with FakeDns(zone) as dns:

        async def run() -> T:
            resolver = AsyncDnsResolver(DnsSettings((dns.address,), 5.0, 0))  # no cache: each query is seen
            try:
                return await test(resolver, dns)
            finally:
                await resolver.close()

        return asyncio.run(run())


def test_hot_once_looked_up_and_no_longer_than_the_least_ttl() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        clock, policies = Clock(), KnownPolicies(sts(Mode.TESTING))
        lookup = Lookup(policies, resolver, clock=clock)
        assert lookup.hot("a.example") is None
        facts = await lookup.facts("a.example")
        assert facts.dane.expires_in == 60
        assert [host.tlsa for host in facts.dane.hosts] == [Tlsa.USABLE]
        asked = dns.count()
        assert lookup.hot("a.example") == facts
        clock.now += 59.5
        assert lookup.hot("a.example") is None  # less than a second is left
        clock.now -= 30
        hot = lookup.hot("a.example")
        assert hot is not None
        assert hot.dane.expires_in == 30
        assert await lookup.facts("a.example") == hot
        assert dns.count() == asked
        clock.now += 31
        assert lookup.hot("a.example") is None
        await lookup.facts("a.example")
        assert dns.count() == 2 * asked

    with_dns(run)


def test_no_policy_at_hand_is_not_hot() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        policies = KnownPolicies(sts())
        lookup = Lookup(policies, resolver)
        await lookup.facts("a.example")
        policies.known = None
        assert lookup.hot("a.example") is None
        assert lookup.peek("a.example") is None

    with_dns(run)


def test_ports_are_kept_apart() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        lookup = Lookup(KnownPolicies(sts()), resolver)
        await lookup.facts("a.example")
        assert lookup.hot("a.example", 587) is None
        assert (await lookup.facts("a.example", 587)).dane.hosts[0].tlsa is Tlsa.NONE
        hot = lookup.hot("a.example")
        assert hot is not None
        assert hot.dane.hosts[0].tlsa is Tlsa.USABLE

    with_dns(run)


def test_ttl_zero_is_not_kept() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        lookup = Lookup(KnownPolicies(sts()), resolver)
        assert (await lookup.facts("zero.example")).dane.expires_in == 0
        assert lookup.hot("zero.example") is None

    with_dns(run)


def test_both_at_the_same_time() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        class Slow(KnownPolicies):
            async def fact(self, domain: str, wait: float) -> StsFact:
                assert dns.count(rdtype="TLSA") == 0  # this did not wait for DANE
                while dns.count(rdtype="TLSA") == 0:  # and DANE does not wait for this
                    await asyncio.sleep(0.005)
                return await super().fact(domain, wait)

        policies = Slow(sts())
        async with asyncio.timeout(10):
            await Lookup(policies, resolver, wait=0.7).facts("a.example")
        assert policies.waits == [0.7]

    with_dns(run)


def test_dane_within_its_time() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        facts = await Lookup(KnownPolicies(sts()), resolver, seconds=0.2).facts("a.example")
        assert facts.dane.mx_failed

    with_dns(run, f"{ZONE};FAULT a.example. MX timeout\n")


def test_switched_off_asks_nothing() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        lookup = Lookup(KnownPolicies(sts()), resolver, dane=False)
        assert not (await lookup.facts("a.example")).dane.enabled
        assert lookup.hot("a.example") is not None
        assert dns.count() == 0

    with_dns(run)


def test_all_facts_that_are_given_out_are_heard_of() -> None:
    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        heard: list[Facts] = []
        lookup = Lookup(KnownPolicies(sts(Mode.ENFORCE)), resolver, answered=heard.append)
        assert lookup.hot("a.example") is None
        assert heard == []
        given = [await lookup.facts("a.example"), lookup.hot("a.example")]
        assert heard == given

    with_dns(run)


def test_bounded() -> None:
    zone = ZONE + "".join(f"d{n}.example. 300 MX 1 mx.d{n}.example.\n" for n in range(30))

    async def run(resolver: AsyncDnsResolver, dns: FakeDns) -> None:
        policies = KnownPolicies(sts())
        lookup = Lookup(policies, resolver, entries=10)
        for n in range(30):
            await lookup.facts(f"d{n}.example")
        hot = []
        for n in range(30):
            policies.known = replace(sts(), domain=f"d{n}.example")
            hot.append(lookup.hot(f"d{n}.example") is not None)
        assert hot.count(True) == 10

    with_dns(run, zone)
