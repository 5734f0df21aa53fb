"""The one who goes through the cache: what he sees, and that he does not stop."""

from __future__ import annotations

import asyncio

import pytest

from tests.test_tlspolicyd.policy_world import DAY, START, World, in_loop, policy
from tlspolicyd.refresh import EVERY, Refresher


class _Enough(Exception):
    pass


@in_loop
async def test_the_oldest_fetch_is_known_after_a_round() -> None:
    world = World()
    refresher = Refresher(world.policies)
    refresher.step()
    assert refresher.oldest_fetch == 0.0
    for number in range(3):
        world.publish(f"d{number}.example", "1")
        await world.use(f"d{number}.example")
        world.clock.go(100)
    refresher.step()
    refresher.step()
    assert refresher.oldest_fetch == START


@in_loop
async def test_short_lived_policies_are_refreshed_by_use_alone() -> None:
    world = World()
    world.publish("a.example", "1", policy(max_age=1200))
    await world.use("a.example")
    world.clock.go(900)
    assert Refresher(world.policies).step() == 0
    assert await world.use("a.example") is not None
    world.clock.go(900)
    assert await world.use("a.example") is not None
    assert len(world.hosts.fetched) >= 2


@in_loop
async def test_it_goes_on_after_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    refresher = Refresher(world.policies)
    turns: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) > 3:
            raise _Enough
        await asyncio.sleep(0)

    def broken() -> int:
        raise ZeroDivisionError

    refresher.step = broken  # type: ignore[method-assign]
    with pytest.raises(_Enough):
        await refresher.run(sleep)
    assert turns == [EVERY] * 4
    assert caplog.text.count("refresh: error") == 3


@in_loop
async def test_what_expires_unused_is_noticed() -> None:
    world = World()
    world.publish("a.example", "1")
    await world.use("a.example")
    world.clock.go(8 * DAY)
    assert Refresher(world.policies).step() == 0
    world.clock.go(3700)
    await world.policies.keeper.sync()
    assert len(world.policies) == 0
