"""From a request to its reply: which ones are kept ready, what is looked up once, and what a fault comes to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tlspolicyd import answering, socketmap
from tlspolicyd.answering import Answers
from tlspolicyd.facts import DaneFact, Facts, Mode, MxHost, Policy, SiteLevel, StsFact, Tlsa
from tlspolicyd.metrics import Metrics
from tlspolicyd.ready import ReadyReplies
from tlspolicyd.socketmap import write_reply, write_request

NOW = 1_800_000_000.0
OFF = DaneFact(enabled=False)
ENFORCE = Policy(Mode.ENFORCE, ("mx.a.example",), 86_400, ("version: STSv1",))
SECURE = b"OK secure match=mx.a.example servername=hostname"


def sts(policy: Policy | None = ENFORCE, **other: object) -> StsFact:
    plain = StsFact("a.example", policy, "1", NOW - 10, NOW + 86_390, cached=True, signalled=policy is not None)
    return replace(plain, **other)  # type: ignore[arg-type]  # each test names fields of StsFact


class StandIn:
    """A gate that knows what it is told."""

    def __init__(self, known: Facts | None = None, later: Facts | Exception | None = None) -> None:
        self.known = known
        self.later = later
        self.asked = 0
        self.go = asyncio.Event()
        self.site_level = SiteLevel.DANE
        self.policy: StsFact | Exception | None = None

    def hot(self, _domain: str, _port: int) -> Facts | None:
        return self.known

    async def facts(self, _domain: str, _port: int) -> Facts:
        self.asked += 1
        await self.go.wait()
        if self.later is None or isinstance(self.later, Exception):
            raise self.later or RuntimeError("bug")
        return self.later

    def peek(self, _domain: str) -> StsFact | None:
        if isinstance(self.policy, Exception):
            raise self.policy
        return self.policy


class World:
    def __init__(self, gate: StandIn) -> None:
        self.now = 100.0
        self.ready = ReadyReplies(100, lambda: self.now)
        self.metrics = Metrics()
        self.gate = gate
        self.answers = Answers(gate, self.ready, self.metrics, lambda: NOW)

    def ask(self, key: bytes = b"a.example", name: bytes = b"policy") -> bytes | Awaitable[bytes]:
        return self.answers.answer(name, key)

    def kept(self, key: bytes = b"a.example", name: bytes = b"policy") -> tuple[float, bytes] | None:
        entry = self.ready.entries.get(write_request(name, key))
        return (entry[0] - self.now, entry[1]) if entry else None


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_unknown_map_names_the_two() -> None:
    world = World(StandIn())
    for name in (b"polic", b"\xff", b"POLICY", b"policy-tlsrpt-2"):
        assert world.ask(name=name) == socketmap.UNKNOWN_MAP


def test_keys_without_domain_are_answered_at_once() -> None:
    world = World(StandIn())
    for key in (b"", b".example", b"[mx.a.example]", b"\xff\xfe", b"a b", b"192.0.2.1"):
        assert world.ask(key) == b"NOTFOUND "
    assert world.gate.asked == 0
    assert world.ready.entries == {}


def test_known_facts_are_answered_at_once_and_kept_ready() -> None:
    world = World(StandIn(Facts("a.example", sts(), OFF)))
    assert world.ask(b"A.Example.") == SECURE
    assert world.kept(b"A.Example.") == (60.0, write_reply(SECURE))
    tlsrpt = world.ask(name=b"policy-tlsrpt")
    assert isinstance(tlsrpt, bytes)
    assert b"policy_type=sts" in tlsrpt
    assert world.kept(name=b"policy-tlsrpt") == (60.0, write_reply(tlsrpt))


@pytest.mark.parametrize(
    ("fact", "dane", "seconds"),
    [
        (sts(), OFF, 60.0),
        (sts(expires_at=NOW + 7), OFF, 7.0),  # STS-30: an expired policy is none
        (sts(expires_at=NOW), OFF, None),
        (sts(None), OFF, 60.0),
        (sts(None, signalled=True), OFF, 5.0),
        (sts(), DaneFact(expires_in=12), 12.0),
        (sts(), DaneFact(expires_in=0), None),
        (sts(None, unreadable=True, signalled=True), OFF, None),  # TEMP
    ],
)
def test_a_reply_is_ready_no_longer_than_what_it_was_made_of(
    fact: StsFact, dane: DaneFact, seconds: float | None
) -> None:
    world = World(StandIn(Facts("a.example", fact, dane)))
    world.ask()
    kept = world.kept()
    assert (kept and kept[0]) == seconds


def test_a_changed_policy_takes_its_ready_replies_away() -> None:
    world = World(StandIn(Facts("a.example", sts(), OFF)))
    world.ask()
    world.ask(name=b"policy-tlsrpt")
    world.ask(b"A.example")
    assert len(world.ready.entries) == 3
    world.ready.forget("b.example")
    assert len(world.ready.entries) == 3
    world.ready.forget("a.example")
    assert world.ready.entries == {}


def test_ten_thousand_who_ask_at_once_cause_one_look_up_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tlspolicyd")

    async def test() -> None:
        world = World(StandIn(None, Facts("a.example", sts(cached=False), OFF)))
        waiting = [asyncio.ensure_future(_awaited(world.ask())) for _ in range(10_000)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # who hangs up takes nobody's answer away
        world.gate.go.set()
        assert set(await asyncio.gather(*waiting[1:])) == {SECURE}
        assert world.gate.asked == 1
        assert world.kept() is None  # only what is at hand is kept ready

    run(test)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "decision=secure domain=a.example source=mta-sts" in lines[0]


async def _awaited(answer: bytes | Awaitable[bytes]) -> bytes:
    assert not isinstance(answer, bytes)
    return await answer


def test_ports_are_looked_up_apart() -> None:
    async def test() -> None:
        world = World(StandIn(None, Facts("a.example", sts(), OFF)))
        waiting = [asyncio.ensure_future(_awaited(world.ask(key))) for key in (b"a.example:25", b"a.example:587")]
        await asyncio.sleep(0)
        world.gate.go.set()
        await asyncio.gather(*waiting)
        assert world.gate.asked == 2

    run(test)


@pytest.mark.parametrize(
    ("known", "reply"),
    [
        (None, b"NOTFOUND "),
        (sts(None), b"NOTFOUND "),
        (sts(replace(ENFORCE, mode=Mode.TESTING)), b"NOTFOUND "),
        (sts(), socketmap.FAULT),
        (sts(None, unreadable=True), socketmap.FAULT),
        (RuntimeError("another bug"), b"NOTFOUND "),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_fault_inside_defers_only_what_an_enforce_policy_protects(
    known: StsFact | Exception | None, reply: bytes, at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        world = World(StandIn(None, RuntimeError("bug")))
        world.gate.policy = known
        if at_once:
            world.gate.known = Facts("a.example", None, OFF)  # type: ignore[arg-type]  # the bug
            assert world.ask() == reply
        else:
            world.gate.go.set()
            both = await asyncio.gather(_awaited(world.ask()), _awaited(world.ask()))
            assert list(both) == [reply, reply]
        assert world.kept() is None
        assert "tlspolicyd_faults_total 1.0" in world.metrics.page().decode()

    run(test)
    assert len(caplog.records) == 1  # logged once, however many asked
    assert "a.example" in caplog.records[0].getMessage()


def test_an_answer_that_never_comes_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 0.05)

    async def test() -> None:
        world = World(StandIn(None, Facts("a.example", sts(), OFF)))
        begun = time.monotonic()
        assert await _awaited(world.ask()) == b"NOTFOUND "
        assert time.monotonic() - begun < 5

    run(test)
    assert len(caplog.records) == 1


def test_the_log_line_has_everything_and_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tlspolicyd")
    hosts = (
        MxHost("mx1.a.example", 10, True, Tlsa.USABLE, ("3 1 1 ab",)),
        MxHost("mx2.a.example", 20, False, Tlsa.FAILED),
    )
    evil = "two\nlines \x1b[31m"

    async def test() -> None:
        facts = Facts("a.example", sts(cached=False, reason=evil), DaneFact(hosts=hosts, expires_in=60, mx_secure=True))
        world = World(StandIn(None, facts))
        world.gate.go.set()
        assert await _awaited(world.ask()) == b"OK dane-only"

    run(test)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()
    for part in (
        "decision=dane-only domain=a.example source=dane ",
        " mode=enforce id=1 mx=mx.a.example max_age=86400 cached=no sts=policy ",
        " dane=mx1.a.example:secure:usable,mx2.a.example:insecure:failed",
        ' sts_reason="two\\nlines \\x1b[31m"',
        " ms=",
    ):
        assert part in line, line


def test_look_ups_are_counted_by_outcome() -> None:
    world = World(StandIn(Facts("a.example", sts(), OFF)))
    world.ask()
    world.ask(b".example")
    world.ask(name=b"x")
    world.ready.entries[write_request(b"policy", b"a.example")][2][0] += 3  # as the server does
    page = world.metrics.page().decode()
    for line in (
        'tlspolicyd_lookups_total{outcome="secure",ready="no"} 1.0',
        'tlspolicyd_lookups_total{outcome="secure",ready="yes"} 3.0',
        'tlspolicyd_lookups_total{outcome="no-domain",ready="no"} 1.0',
        'tlspolicyd_lookups_total{outcome="perm",ready="no"} 1.0',
    ):
        assert line in page, page
