"""A crowd begins one after another, and nobody who hangs keeps the others from it."""

from __future__ import annotations

import asyncio

from tests.test_tlspolicyd.policy_world import World, in_loop
from tlspolicyd.pace import AT_ONCE, Pace

_NEVER = 3600.0  # seconds


class _Crowd:
    """Tasks that hold their turn until they are told to end."""

    def __init__(self, pace: Pace, count: int) -> None:
        self.begun: list[int] = []
        self.ends = [asyncio.Event() for _ in range(count)]
        self._pace = pace
        self.tasks = [asyncio.create_task(self._one(number)) for number in range(count)]

    async def _one(self, number: int) -> None:
        async with self._pace.turn():
            self.begun.append(number)
            await self.ends[number].wait()

    async def settled(self) -> list[int]:
        for _ in range(10):
            await asyncio.sleep(0)
        return self.begun

    async def all_begun(self) -> None:
        while len(self.begun) < len(self.ends):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@in_loop
async def test_a_few_at_once_and_the_next_when_one_ends() -> None:
    crowd = _Crowd(Pace(3, _NEVER, _NEVER), 10)
    assert await crowd.settled() == [0, 1, 2]
    crowd.ends[1].set()
    assert await crowd.settled() == [0, 1, 2, 3]
    for end in crowd.ends:
        end.set()
    await asyncio.gather(*crowd.tasks)
    assert crowd.begun == list(range(10))


@in_loop
async def test_one_more_after_each_gap_although_none_ends() -> None:
    crowd = _Crowd(Pace(2, _NEVER, 0.001), 10)
    await crowd.all_begun()
    assert crowd.begun == list(range(10))
    await crowd.stop()


@in_loop
async def test_who_holds_a_turn_for_too_long_makes_room() -> None:
    pace = Pace(2, 0.01, _NEVER)
    crowd = _Crowd(pace, 10)
    await crowd.all_begun()
    await crowd.stop()
    # each turn came back once, not twice
    again = _Crowd(pace, 10)
    assert len(await again.settled()) == 2
    await again.stop()


@in_loop
async def test_who_is_cancelled_takes_no_turn_away() -> None:
    pace = Pace(2, _NEVER, _NEVER)
    crowd = _Crowd(pace, 6)
    assert await crowd.settled() == [0, 1]
    crowd.tasks[2].cancel()
    crowd.ends[0].set()
    crowd.tasks[3].cancel()
    assert await crowd.settled() == [0, 1, 4]
    crowd.ends[1].set()
    await asyncio.wait((crowd.tasks[1],))
    crowd.tasks[5].cancel()  # its turn has come in this moment
    await crowd.stop()
    again = _Crowd(pace, 3)
    assert len(await again.settled()) == 2
    await again.stop()


@in_loop
async def test_first_contacts_of_hanging_hosts_begin_a_few_in_each_pass_of_the_loop() -> None:
    """Else the handshakes of all of them would stand in the way of every cached answer together."""
    world = World()
    world.hosts.held = asyncio.Event()
    domains = [f"d{number}.example" for number in range(100)]
    for domain in domains:
        world.publish(domain, "1")
    asking = [asyncio.create_task(world.policies.fact(domain, 30)) for domain in domains]
    most = before = 0
    while len(world.hosts.fetched) < len(domains):  # none of them ends
        await asyncio.sleep(0)
        most = max(most, len(world.hosts.fetched) - before)
        before = len(world.hosts.fetched)
    assert most <= AT_ONCE
    assert world.hosts.open == len(domains)
    world.hosts.held.set()
    assert all(fact.policy for fact in await asyncio.gather(*asking))
