"""Policy hosts that hang, by the thousand: every policy that can be refreshed is, long before its end. Simulated time.

The places are a sixteenth of the real ones, and so are the domains.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.simulated_time import SimulatedLoop
from tests.test_tlspolicyd.policy_world import DAY, FETCH_FAILED, START, Clock, Hosts, Result, World, in_loop, policy
from tlspolicyd.clocks import Clocks
from tlspolicyd.discovery import Limits
from tlspolicyd.facts import Mode
from tlspolicyd.refresh import Refresher
from tlspolicyd.timing import Timing

LIMITS = Limits(refreshes=2, repeats=1)
HANGING = 46_000 // 16
HEALTHY = 200
AGE = 2 * DAY


class LoopClock(Clock):
    """The time of the simulated loop."""

    @property
    def clocks(self) -> Clocks:
        loop = asyncio.get_running_loop()
        return Clocks(lambda: START + loop.time(), lambda: 1000.0 + loop.time())


class HangingHosts(Hosts):
    """`hangs(number)`: whether the so-many-eth fetch of a hanging host hangs.

    `stumbles`: the number of the one fetch at which a healthy host fails, at once.
    """

    def __init__(self, hangs: Callable[[int], bool], stumbles: int = -1) -> None:
        super().__init__()
        self._hangs = hangs
        self._stumbles = stumbles
        self._fetches: Counter[str] = Counter()

    async def fetch(self, domain: str) -> Result:
        number = self._fetches[domain]
        self._fetches[domain] += 1
        if domain.startswith("hanging") and self._hangs(number):
            await asyncio.sleep(60.0)
            return FETCH_FAILED
        if number == self._stumbles and not domain.startswith("hanging"):
            return FETCH_FAILED
        return self.results[domain]


async def least_left(
    hosts: Hosts, timing: Timing | None = None, hanging_age: float = AGE, hanging: int = HANGING
) -> float:
    """The shortest life that a healthy policy had left at any moment of four days, in seconds."""
    world = World(clock=LoopClock(), hosts=hosts, entries=10_000, limits=LIMITS, timing=timing)
    healthy = [f"healthy{number}.example" for number in range(HEALTHY)]
    for domain in [f"hanging{number}.example" for number in range(hanging)] + healthy:
        age = AGE if domain in healthy else hanging_age
        world.publish(domain, "1", policy(f"mx.{domain}", Mode.ENFORCE, int(age)))
        assert await world.use(domain) is not None
        await asyncio.sleep(0.2)
    task = asyncio.ensure_future(Refresher(world.policies).run(lambda _: asyncio.sleep(60.0)))
    least = AGE
    wall = world.clock.clocks.wall
    for _ in range(4 * 24):
        await asyncio.sleep(3600.0)
        for domain in healthy:
            entry = world.policies.keeper.get(domain)
            least = min(least, entry.expires_at - wall() if entry is not None else 0.0)
    task.cancel()
    await world.policies.close()
    return least


CASES: dict[str, tuple[Callable[[int], bool], float]] = {
    "from the first refresh on": (lambda number: number > 0, AGE),
    "every other time": (lambda number: number % 2 == 1, AGE),
    "every other time, with policies of an hour": (lambda number: number % 2 == 1, 3600.0),
}


@pytest.mark.parametrize("case", CASES)
def test_hanging_domains_do_not_starve_the_others(case: str) -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        hangs, age = CASES[case]
        left = runner.run(least_left(HangingHosts(hangs), hanging_age=age))
    assert left > AGE / 4, f"{left / 3600:.1f} hours were left"


def test_a_healthy_domain_that_failed_once_does_not_share_their_places() -> None:
    hosts = HangingHosts(CASES["from the first refresh on"][0], stumbles=1)
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        left = runner.run(least_left(hosts))
    assert left > AGE / 4, f"{left / 3600:.1f} hours were left"


def test_they_could_be_starved_by_whoever_gets_all_the_time() -> None:
    """Or the test above says nothing."""
    hosts = HangingHosts(CASES["from the first refresh on"][0])
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        left = runner.run(least_left(hosts, Timing(refresh_patience=600.0), hanging=3 * HANGING))
    assert left < AGE / 4, f"{left / 3600:.1f} hours were left"


@in_loop
async def test_who_failed_lately_waits_among_his_like() -> None:
    world = World(limits=Limits(refreshes=1, repeats=1))
    for domain in ("bad.example", "good.example"):
        world.publish(domain, "1", policy(f"mx.{domain}"))
        await world.use(domain)
    good = world.hosts.results["bad.example"]
    # two failures, and then it works again
    for result, seconds in ((FETCH_FAILED, DAY), (FETCH_FAILED, 3600), (good, 3600)):
        world.hosts.results["bad.example"] = result
        world.clock.go(seconds)
        await world.use("bad.example")
    world.clock.go(DAY)
    world.hosts.held = hanging = asyncio.Event()
    world.policies.peek("bad.example")
    while not world.hosts.open:
        await asyncio.sleep(0)
    world.hosts.held = None
    async with asyncio.timeout(5):  # less than the time for which a refresh may keep its place
        world.policies.peek("good.example")
        while world.hosts.fetched[-1] != "good.example":
            await asyncio.sleep(0)
    hanging.set()
    await world.quiet()


@in_loop
async def test_more_than_may_wait_keep_what_they_hold_and_come_again() -> None:
    world = World(limits=Limits(refreshes=1, refreshes_waiting=2))
    domains = [f"d{number}.example" for number in range(6)]
    for domain in domains:
        world.publish(domain, "1")
        await world.use(domain)
    world.forget_counts()
    world.clock.go(DAY)
    world.hosts.held = hanging = asyncio.Event()
    for domain in domains:
        world.policies.peek(domain)
    while world.policies.under_way > 3:
        await asyncio.sleep(0)
    hanging.set()
    await world.quiet()
    assert sorted(world.hosts.fetched) == domains[:3]
    world.clock.go(301)
    for domain in domains:
        assert await world.use(domain) is not None
    assert sorted(world.hosts.fetched) == domains
