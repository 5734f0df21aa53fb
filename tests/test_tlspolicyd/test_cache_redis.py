"""The shared store with a real server: several hosts, and a server that goes away and comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from tests.support.requirements import require
from tests.support.valkey import PrivateValkey, missing
from tests.test_tlspolicyd.policy_world import (
    DAY,
    FETCH_FAILED,
    SERVFAIL,
    START,
    Clock,
    Dns,
    Hosts,
    Result,
    World,
    in_loop,
    policy,
    record,
)
from tlspolicyd.cache import keeper as keeper_module
from tlspolicyd.cache.entry import decode, make_entry
from tlspolicyd.cache.redis import RedisStore
from tlspolicyd.cache.store import StoreFault
from tlspolicyd.facts import Failure

A = "a.example"


@pytest.fixture(scope="module")
def started() -> Iterator[PrivateValkey]:
    require(missing())
    with PrivateValkey() as valkey:
        yield valkey


@pytest.fixture
def server(started: PrivateValkey) -> PrivateValkey:
    assert started.command("FLUSHALL") == b"+OK\r\n"
    return started


def store(server: PrivateValkey, clock: Clock | None = None) -> RedisStore:
    return RedisStore(server.url, lambda: START if clock is None else clock.wall)


class Host(World):
    """One of several that share DNS, policy hosts and the store."""

    def __init__(
        self,
        server: PrivateValkey,
        dns: Dns | None = None,
        hosts: Hosts | None = None,
        clock: Clock | None = None,
        entries: int = 1000,
    ) -> None:
        async def pause(_: float) -> None:
            await asyncio.sleep(0.001)

        super().__init__(store(server, clock), dns=dns, hosts=hosts, clock=clock, entries=entries, sleep=pause)


async def pair(server: PrivateValkey) -> tuple[Host, Host]:
    one = Host(server)
    two = Host(server, one.dns, one.hosts)
    for host in (one, two):
        await host.policies.start()
    return one, two


async def close(*hosts: World) -> None:
    for host in hosts:
        await host.policies.close()


@in_loop
async def test_a_second_host_finds_what_the_first_one_fetched(server: PrivateValkey) -> None:
    one, two = await pair(server)
    one.publish(A, "1")
    await one.use(A)
    await one.policies.keeper.sync()
    one.dns.answers[A] = SERVFAIL
    assert await two.use(A) == policy()
    assert one.hosts.fetched == [A]
    await close(one, two)


@in_loop
async def test_one_host_fetches_for_all(server: PrivateValkey) -> None:
    hosts = [Host(server)]
    hosts += [Host(server, hosts[0].dns, hosts[0].hosts) for _ in range(4)]
    hosts[0].publish(A, "1")
    hosts[0].hosts.held = asyncio.Event()
    askers = [asyncio.ensure_future(host.policies.fact(A, 30.0)) for host in hosts for _ in range(5)]
    while not hosts[0].hosts.fetched:
        await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0.001)
    hosts[0].hosts.held.set()
    assert [fact.policy for fact in await asyncio.gather(*askers)] == [policy()] * 25
    assert hosts[0].hosts.fetched == [A]
    await close(*hosts)


@in_loop
async def test_sts_12_five_minutes_hold_across_hosts(server: PrivateValkey) -> None:
    one, two = await pair(server)
    one.dns.answers[A] = record("1")
    one.hosts.results[A] = Result(failure=Failure.WEBPKI, reason="certificate expired")
    await one.use(A)
    fact = await two.policies.fact(A, 5.0)
    assert (fact.policy, fact.failure) == (None, Failure.WEBPKI)
    assert "certificate expired" in fact.reason
    assert one.hosts.fetched == [A]
    await close(one, two)


@in_loop
async def test_a_new_policy_reaches_the_others_within_one_look(server: PrivateValkey) -> None:
    one, two = await pair(server)
    one.publish(A, "1")
    await one.use(A)
    await two.use(A)
    two.forget_counts()
    one.publish(A, "2", policy("new.a.example"))
    one.clock.go(400)
    await one.use(A)
    await one.policies.keeper.sync()
    await two.policies.keeper.sync()
    assert await two.use(A) == policy("new.a.example")
    assert two.changed == [A]
    await close(one, two)


@in_loop
async def test_a_claim_of_a_host_that_died_ends_by_itself(server: PrivateValkey) -> None:
    dead, other, alive = store(server), store(server), Host(server)
    alive.publish(A, "1")
    assert await dead.claim(A, 0.05)
    assert not await other.claim(A, 0.05)
    assert (await alive.policies.fact(A, 30.0)).policy == policy()
    assert await dead.claim(A, 10)
    await dead.release(A)
    assert await other.claim(A, 10)
    await dead.release(A)  # not its own
    assert not await dead.claim(A, 10)
    await dead.close()
    await other.close()
    await close(alive)


@in_loop
async def test_policies_are_loaded_at_the_start(server: PrivateValkey) -> None:
    one = Host(server)
    await one.policies.start()
    for number in range(30):
        one.publish(f"d{number}.example", "1", policy())
        await one.use(f"d{number}.example")
    await close(one)
    two = Host(server)
    await two.policies.start()
    assert len(two.policies) == 30
    fact = two.policies.peek("d7.example")
    assert fact is not None
    assert (fact.policy, fact.id, fact.fetched_at) == (policy(), "1", START)
    await close(two)


@in_loop
async def test_keys_go_when_the_policy_expires(server: PrivateValkey) -> None:
    one = Host(server)
    one.publish(A, "1", policy(max_age=600))
    await one.use(A)
    await close(one)
    lifetime = int(server.command("TTL", "{tlspolicyd}:policy:a.example")[1:].strip())
    assert 590 <= lifetime <= 600


@in_loop
async def test_the_server_goes_away_and_comes_back_empty(caplog: pytest.LogCaptureFixture) -> None:
    require(missing())
    with PrivateValkey() as server:
        world = Host(server)
        await world.policies.start()
        world.publish(A, "1")
        await world.use(A)
        await world.policies.keeper.sync()
        server.halt()
        assert await world.use(A) == policy()
        for number in range(3):
            world.publish(f"d{number}.example", "1", policy())
            assert await world.use(f"d{number}.example") == policy()
            world.clock.go(61)
            assert not await world.policies.keeper.sync()
        server.start()
        world.clock.go(61)
        for _ in range(3):  # notices, writes, settles
            assert await world.policies.keeper.sync()
        assert caplog.text.count("store is away") == 1
        assert caplog.text.count("store is back") == 1
        await close(world)
        again = Host(server)
        await again.policies.start()
        assert len(again.policies) == 4
        await close(again)


@in_loop
async def test_a_server_that_is_away_while_the_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the other hosts is dropped for it, and what they fetched meanwhile is seen."""
    require(missing())
    monkeypatch.setattr(keeper_module, "_BATCH", 10)
    with PrivateValkey() as server:
        world = Host(server, entries=20)
        await world.policies.start()
        for number in range(50):  # all of them in the store, 20 in memory
            world.publish(f"d{number}.example", "1")
            await world.use(f"d{number}.example")
        keeper = world.policies.keeper
        assert await keeper.sync()
        working, keeper.store.write = keeper.store.write, away  # type: ignore[method-assign]
        for _ in range(4):
            for number in range(30, 50):  # forgotten again and again, under changing names
                keeper.forget(f"d{number}.example")
                keeper.put(f"d{number}.example", make_entry(policy("late"), "2", START + 1, START))
                keeper.forget(f"x{_}{number}.example")
            assert not await keeper.sync()
            assert len(keeper._dirty) <= 2 * 20 + 10
        assert keeper.unwritten == 20
        keeper.store.write = working  # type: ignore[method-assign]
        other = store(server)
        await other.write([(A, make_entry(policy(), "1", START, START))], START)
        world.clock.go(61)
        for _ in range(3):
            assert await keeper.sync()
        assert keeper.unwritten == 0
        assert keeper.get(A) is not None
        kept = {domain: entry async for batch in other.load() for domain, entry in batch}
        assert set(kept) == {A} | {f"d{number}.example" for number in range(50)}
        late = kept["d40.example"]
        assert late is not None
        assert late.fetched_at == START + 1
        await other.close()
        await close(world)


async def away(rows: object, now: float) -> None:
    raise StoreFault("away")


@in_loop
async def test_a_server_emptied_and_filled_by_others_gets_ours_again(server: PrivateValkey) -> None:
    one = Host(server)
    await one.policies.start()
    one.publish(A, "1")
    await one.use(A)
    await one.policies.keeper.sync()
    server.command("FLUSHALL")
    other = store(server)
    for number in range(5):  # past the revision that `one` has seen
        await other.write([(f"o{number}.example", make_entry(policy(), "1", START, START))], START)
    await one.policies.keeper.sync()
    await one.policies.keeper.sync()
    assert await other.read(A) is not None
    assert len(one.policies) == 6
    await other.close()
    await close(one)


@in_loop
async def test_a_server_that_does_not_answer_holds_up_no_cached_answer(server: PrivateValkey) -> None:
    world = Host(server)
    world.publish(A, "1")
    await world.use(A)
    server.freeze()
    try:
        waiting = asyncio.ensure_future(world.policies.fact("b.example", 30.0))
        for _ in range(5):
            await asyncio.sleep(0)
        fact = world.policies.peek(A)
        assert fact is not None
        assert fact.policy == policy()
        assert (await waiting).policy is None  # a second later, without the store
    finally:
        server.thaw()
    await close(world)


@in_loop
async def test_many_changes_are_all_seen(server: PrivateValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlspolicyd.cache.redis._LISTED", 10)
    one, two = await pair(server)
    rows = [(f"d{number}.example", make_entry(policy(), "1", START, START)) for number in range(25)]
    for row in rows:
        await one.policies.keeper.store.write([row], START)
    await two.policies.keeper.sync()
    assert len(two.policies) == 25
    await close(one, two)


@in_loop
async def test_the_later_fetch_stays(server: PrivateValkey) -> None:
    one = store(server)
    newer, older = (make_entry(policy(name), "1", at, at) for name, at in (("new.example", START), ("old", START - 50)))
    await one.write([(A, newer)], START)
    await one.write([(A, older)], START)
    there = await one.read(A)
    assert there is not None
    assert decode(there) == ("1", policy("new.example"))
    await one.write([(A, older)], START - 5000)  # a clock that went back: what lies ahead was wrong
    there = await one.read(A)
    assert there is not None
    assert decode(there) == ("1", policy("old"))
    await one.close()


@pytest.mark.parametrize(
    "value",
    ["enforce", "enforce x y z", "enforce 1700000000 600 1700000000 ", "enforce 1700000000 600 1700000000 {", "\xff"],
)
@in_loop
async def test_damaged_values(value: str, server: PrivateValkey) -> None:
    server.command("SET", "{tlspolicyd}:policy:a.example", value)
    world = Host(server)
    await world.policies.start()
    fact = await world.policies.fact(A, 5.0)
    assert fact.unreadable == value.startswith("enforce")
    assert fact.policy is None
    await world.quiet()
    world.publish(A, "1")
    world.clock.go(700)
    await world.use(A)
    assert await world.use(A) == policy()
    await close(world)


@pytest.mark.parametrize("name", ["revision", "floor", "changes", "epoch"])
@in_loop
async def test_damaged_counters_are_no_reason_to_stop(name: str, server: PrivateValkey) -> None:
    one = Host(server)
    await one.policies.start()
    server.command("SET", f"{{tlspolicyd}}:{name}", "\xff")
    one.publish(A, "1")
    assert await one.use(A) == policy()
    await one.policies.keeper.sync()
    two = Host(server)
    await two.policies.start()
    await close(one, two)


@in_loop
async def test_a_server_that_speaks_another_protocol_hinders_no_first_contact(caplog: pytest.LogCaptureFixture) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(b":abc\r\n")  # redis-py ends with a ValueError
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    world = World(RedisStore(f"redis://127.0.0.1:{port}/0", lambda: START))
    with caplog.at_level(logging.ERROR, "tlspolicyd"):
        await world.policies.start()
        world.clock.go(10)
        world.publish(A, "1")
        assert await world.use(A) == policy()
    assert caplog.text.count("store is away") == 1
    await close(world)
    server.close()


def test_an_option_that_redis_py_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"an option in the URL is not known: .*colour"):
        RedisStore("redis://127.0.0.1:1/0?colour=red", lambda: START)


@pytest.mark.parametrize("value", ["enforce", "enforce 1700000000 604800 1700000000 {"])
@pytest.mark.parametrize(("signalled", "longest"), [(True, DAY), (False, 3600)])
@in_loop
async def test_restarts_do_not_begin_the_time_of_a_damaged_value_anew(
    value: str, signalled: bool, longest: float, server: PrivateValkey
) -> None:
    server.command("SET", "{tlspolicyd}:policy:a.example", value)
    clock = Clock()
    for _ in range(10):
        host = Host(server, clock=clock)
        host.hosts.results[A] = FETCH_FAILED
        if signalled:
            host.dns.answers[A] = record("1")
        await host.policies.start()
        fact = await host.policies.fact(A, 5.0)
        assert fact.unreadable == (clock.wall < START + longest)
        await host.quiet()
        await close(host)
        clock.go(longest / 8)


@in_loop
async def test_the_unix_socket_and_a_wrong_password(server: PrivateValkey) -> None:
    local = RedisStore(server.unix_url, lambda: START)
    await local.write([(A, make_entry(policy(), "1", START, START))], START)
    assert await local.read(A) is not None
    await local.close()
    secret = RedisStore(f"redis://u:hidden@127.0.0.1:{server.port}/0", lambda: START)
    with pytest.raises(StoreFault) as fault:
        await secret.read(A)
    assert "hidden" not in str(fault.value) + secret.name
    await secret.close()
