"""A small world for the life of a policy: clocks set by hand, DNS and policy hosts that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps

from mailcommon.dns.answer import Answer, Status
from tlspolicyd.cache.store import Store
from tlspolicyd.clocks import Clocks
from tlspolicyd.discovery import Limits
from tlspolicyd.facts import Failure, Mode, Policy
from tlspolicyd.policies import Policies
from tlspolicyd.timing import Timing

START = 1_700_000_000.0
DAY = 86_400.0
NO_RECORD: Answer[bytes] = Answer(Status.NXDOMAIN, ttl=300)
SERVFAIL: Answer[bytes] = Answer(Status.SERVFAIL, detail="SERVFAIL")


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own, a minute at most."""

    @wraps(test)
    def run(*args: object, **named: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **named)

        asyncio.run(bounded())

    return run


def record(record_id: str, ttl: int = 300) -> Answer[bytes]:
    return Answer(Status.OK, (f"v=STSv1; id={record_id};".encode(),), ttl)


def policy(mx: str = "mx.a.example", mode: Mode = Mode.ENFORCE, max_age: int = 604_800) -> Policy:
    lines = ("version: STSv1", f"mode: {mode}", f"mx: {mx}", f"max_age: {max_age}")
    return Policy(mode, (mx,), max_age, lines)


@dataclass(frozen=True, slots=True)
class Result:
    policy: Policy | None = None
    failure: Failure | None = None
    reason: str = ""
    certificate: str = ""
    lines: tuple[str, ...] = ()


FETCH_FAILED = Result(failure=Failure.FETCH, reason="connection refused")


@dataclass
class Clock:
    wall: float = START
    monotonic: float = 1000.0

    def go(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.monotonic += seconds

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, lambda: self.monotonic)


@dataclass
class Dns:
    answers: dict[str, Answer[bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    held: asyncio.Event | None = None  # answers come when it is set

    async def txt(self, name: str) -> Answer[bytes]:
        self.asked.append(name)
        if self.held is not None:
            await self.held.wait()
        return self.answers.get(name.removeprefix("_mta-sts."), NO_RECORD)


@dataclass
class Hosts:
    results: dict[str, Result] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    held: asyncio.Event | None = None
    open: int = 0
    most: int = 0

    async def fetch(self, domain: str) -> Result:
        self.fetched.append(domain)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            if self.held is not None:
                await self.held.wait()
            return self.results.get(domain, FETCH_FAILED)
        finally:
            self.open -= 1


class World:
    """`policies` with all that is around it."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        clock: Clock | None = None,
        dns: Dns | None = None,
        hosts: Hosts | None = None,
        entries: int = 1000,
        timing: Timing | None = None,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.clock = clock or Clock()
        self.dns = dns or Dns()
        self.hosts = hosts or Hosts()
        self.changed: list[str] = []
        self.policies = Policies(
            self.dns,
            self.hosts,
            store or Store(),
            entries=entries,
            timing=timing,
            limits=limits,
            clocks=self.clock.clocks,
            on_change=self.changed.append,
            sleep=sleep,
        )

    def publish(self, domain: str, record_id: str, published: Policy | None = None, ttl: int = 300) -> None:
        self.dns.answers[domain] = record(record_id, ttl)
        self.hosts.results[domain] = Result(published or policy(f"mx.{domain}"))

    async def quiet(self) -> None:
        """All that was started has come to its end."""
        while self.policies.under_way:
            await asyncio.sleep(0)

    async def use(self, domain: str) -> Policy | None:
        """A delivery, and what it sets going in the background; the policy that the delivery got."""
        fact = await self.policies.fact(domain, 5.0)
        await self.quiet()
        return fact.policy

    def forget_counts(self) -> None:
        self.dns.asked.clear()
        self.hosts.fetched.clear()
        self.changed.clear()
