"""One question is asked once, however many want the answer, and can be asked ahead of time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from mailcommon.dns.answer import Status
from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.waiting import wait_until
from tests.test_mailcommon.test_dns_cache import Clock

ZONE = "\n".join(f'n{number}.example. 300 IN TXT "{number}"' for number in range(400))
BIG = "\n".join(f'big.example. 300 IN TXT "{number:03d} {"x" * 200}"' for number in range(50))


def test_fifty_threads_make_one_query() -> None:
    gate = threading.Barrier(50)
    with FakeDns(ZONE, delay=0.05) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))

        def ask(_: int) -> bytes:
            gate.wait()
            return resolver.txt("n7.example").records[0]

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(ask, range(50))) == {b"7"}
        assert dns.count() == 1


def test_fifty_threads_and_one_failure() -> None:
    gate = threading.Barrier(50)
    with FakeDns(";FAULT * * servfail", delay=0.05) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))

        def ask(_: int) -> Status:
            gate.wait()
            return resolver.txt("n7.example").status

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(ask, range(50))) == {Status.SERVFAIL}
        assert dns.count() == 1


def test_fifty_tasks_make_one_query() -> None:
    async def ask(address: str) -> set[tuple[bytes, ...]]:
        resolver = AsyncDnsResolver(DnsSettings((address,)))
        return {answer.records for answer in await asyncio.gather(*(resolver.txt("n7.example") for _ in range(50)))}

    with FakeDns(ZONE, delay=0.05) as dns:
        assert asyncio.run(ask(dns.address)) == {(b"7",)}
        assert dns.count() == 1


def test_who_is_cancelled_takes_nobody_else_s_answer_away() -> None:
    async def ask(address: str) -> bytes:
        resolver = AsyncDnsResolver(DnsSettings((address,)))
        first = asyncio.create_task(resolver.txt("n7.example"))
        second = asyncio.create_task(resolver.txt("n7.example"))
        await asyncio.sleep(0)
        first.cancel()
        return (await second).records[0]

    with FakeDns(ZONE, delay=0.05) as dns:
        assert asyncio.run(ask(dns.address)) == b"7"
        assert dns.count() == 1


def test_who_waits_for_a_resolver_that_is_closed_gets_a_failure() -> None:
    """A reload closes the resolver of before: nobody's task is to end by that."""

    async def ask(address: str) -> Status:
        resolver = AsyncDnsResolver(DnsSettings((address,)))
        asked = asyncio.create_task(resolver.txt("n7.example"))
        await asyncio.sleep(0)
        await resolver.close()
        return (await asked).status

    with FakeDns(";FAULT * * timeout") as dns:
        assert asyncio.run(ask(dns.address)) is Status.SERVFAIL


def test_started_look_ups_wait_together() -> None:
    names = [f"n{number}.example" for number in range(20)]
    with FakeDns(ZONE, delay=0.1) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))
        began = time.monotonic()
        for name in names:
            resolver.start("TXT", name)
            resolver.start("TXT", name.upper())
        assert [resolver.txt(name).records[0] for name in names] == [b"%d" % number for number in range(20)]
        assert time.monotonic() - began < 0.5  # 2 s one after the other
        assert dns.count() == 20


def test_started_look_ups_wait_together_in_asyncio() -> None:
    names = [f"n{number}.example" for number in range(20)]

    async def ask(address: str) -> list[bytes]:
        resolver = AsyncDnsResolver(DnsSettings((address,)))
        for name in names:
            resolver.start("TXT", name)
            resolver.start("TXT", name)
        return [(await resolver.txt(name)).records[0] for name in names]

    with FakeDns(ZONE, delay=0.1) as dns:
        began = time.monotonic()
        assert asyncio.run(ask(dns.address)) == [b"%d" % number for number in range(20)]
        assert time.monotonic() - began < 0.5
        assert dns.count() == 20


def test_start_asks_nothing_that_is_known() -> None:
    with FakeDns(ZONE) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))
        resolver.txt("n1.example")
        resolver.start("TXT", "N1.example.")
        resolver.start("TXT", "a..b")
        resolver.start("NONSENSE", "n1.example")
        resolver.txt("n2.example")
        assert dns.count() == 2


def test_what_nobody_collects_still_gets_into_the_cache() -> None:
    clock = Clock()
    with FakeDns(ZONE) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)), clock=clock)
        resolver.start("TXT", "n1.example")
        wait_until(lambda: dns.count() == 1, "the query", timeout=5)
        resolver.query("TXT", "n2.example")  # its answer comes after that of n1
        clock.now += 3
        resolver.start("TXT", "n3.example")
        assert resolver.cache.get(("TXT", "n1.example")) is not None
        answer = resolver.txt("n1.example")
        assert (answer.records, answer.ttl) == ((b"1",), 297)  # three seconds lay between question and reading
        resolver.close()
        assert dns.count("n1.example") == 1


def test_an_answer_that_lay_too_long_is_not_used() -> None:
    clock = Clock()
    with FakeDns(ZONE) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)), clock=clock)
        resolver.start("TXT", "n1.example")
        wait_until(lambda: dns.count() == 1, "the query", timeout=5)
        dns.load('n1.example. 300 IN TXT "new"')
        clock.now += 61
        answer = resolver.txt("n1.example")
        assert (answer.records, answer.ttl) == ((b"new",), 300)


def test_a_started_look_up_goes_on_over_tcp_when_somebody_wants_it() -> None:
    with FakeDns(BIG) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))
        resolver.start("TXT", "big.example")
        assert len(resolver.txt("big.example").records) == 50
        assert [query.transport for query in dns.queries] == ["udp", "tcp"]


def test_started_look_ups_are_bounded() -> None:
    with FakeDns(ZONE, delay=0.05) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))
        for number in range(400):
            resolver.start("TXT", f"n{number}.example")
        assert resolver.txt("n399.example").records == (b"399",)  # beyond the bound: asked when it is wanted
        resolver.close()
        assert 256 <= dns.count() <= 257


def test_many_threads_and_names_at_once() -> None:
    def work(seed: int) -> bool:
        good = True
        for step in range(60):
            number = (seed * 37 + step * 11) % 400
            resolver.start("TXT", f"n{(number + 1) % 400}.example")
            good = good and resolver.txt(f"n{number}.example").records == (b"%d" % number,)
        return good

    with FakeDns(ZONE) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,)))
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(16)))
        resolver.close()
        assert dns.count() <= 400
