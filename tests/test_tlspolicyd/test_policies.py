"""The life of a policy by the standard: STS-* of the checklist that concern the cache, and what users complain of."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from mailcommon.dns.answer import Answer, Status
from tests.test_tlspolicyd.policy_world import (
    DAY,
    FETCH_FAILED,
    NO_RECORD,
    SERVFAIL,
    START,
    Result,
    World,
    in_loop,
    policy,
    record,
)
from tlspolicyd.cache.entry import Entry, make_entry
from tlspolicyd.cache.store import Store
from tlspolicyd.discovery import Limits
from tlspolicyd.facts import Failure, Mode
from tlspolicyd.refresh import Refresher

A = "a.example"
BOGUS: Answer[bytes] = Answer(Status.BOGUS, detail="no delegation")
TIMEOUT: Answer[bytes] = Answer(Status.TIMEOUT)
TWO_RECORDS: Answer[bytes] = Answer(Status.OK, (b"v=STSv1; id=1;", b"v=STSv1; id=2;"), 300)
BAD_RECORD: Answer[bytes] = Answer(Status.OK, (b"v=STSv1; id=not-an-id!;",), 300)


async def known_world(**published: object) -> World:
    world = World()
    world.publish(A, "1", policy(**published))  # type: ignore[arg-type]  # the fields of a policy
    await world.use(A)
    world.forget_counts()
    return world


@in_loop
async def test_first_contact_finds_the_policy() -> None:
    world = World()
    world.publish(A, "20240101")
    fact = await world.policies.fact(A, 5.0)
    assert fact.policy == policy("mx.a.example")
    assert (fact.id, fact.fetched_at, fact.expires_at) == ("20240101", START, START + 604_800)
    assert (fact.cached, fact.signalled, fact.failure, fact.unreadable) == (False, True, None, False)
    assert world.dns.asked == ["_mta-sts.a.example"]
    assert world.hosts.fetched == [A]
    assert world.changed == [A]
    assert (await world.policies.fact(A, 5.0)).cached
    assert len(world.hosts.fetched) == 1


@in_loop
async def test_sts_6_a_parent_is_never_asked() -> None:
    world = World()
    world.publish(A, "1")
    assert await world.use("sub.a.example") is None
    assert world.dns.asked == ["_mta-sts.sub.a.example"]
    assert world.hosts.fetched == []


@pytest.mark.parametrize("answer", [NO_RECORD, SERVFAIL, TIMEOUT, TWO_RECORDS, BAD_RECORD])
@in_loop
async def test_sts_5_bad_txt_never_deletes_a_cached_policy(answer: Answer[bytes]) -> None:
    world = await known_world()
    world.dns.answers[A] = answer
    for _ in range(5):
        world.clock.go(7200)
        assert await world.use(A) == policy()
    assert len(world.dns.asked) == 5


@pytest.mark.parametrize("failure", list(Failure))
@in_loop
async def test_sts_13_and_21_a_failed_fetch_leaves_the_cached_policy(failure: Failure) -> None:
    world = await known_world()
    world.dns.answers[A] = record("2")
    world.hosts.results[A] = Result(failure=failure)
    world.clock.go(400)
    await world.use(A)
    assert world.hosts.fetched == [A]
    fact = world.policies.peek(A)
    assert fact is not None
    assert (fact.policy, fact.id, fact.failure) == (policy(), "1", None)


@in_loop
async def test_sts_13_a_failed_fetch_without_a_policy_is_no_policy() -> None:
    world = World()
    world.dns.answers[A] = record("1")
    world.hosts.results[A] = Result(failure=Failure.WEBPKI, reason="expired")
    fact = await world.policies.fact(A, 5.0)
    assert (fact.policy, fact.signalled, fact.failure, fact.reason) == (None, True, Failure.WEBPKI, "expired")


@in_loop
async def test_sts_12_five_minutes_between_failed_tries_of_one_id() -> None:
    world = World()
    world.dns.answers[A] = record("1", ttl=1)
    tries = []
    for _ in range(60):
        before = len(world.hosts.fetched)
        await world.use(A)
        if len(world.hosts.fetched) > before:
            tries.append(world.clock.monotonic)
        world.clock.go(20)
    assert len(tries) == 4
    assert all(later - sooner >= 300 for sooner, later in itertools.pairwise(tries))


@in_loop
async def test_sts_12_holds_for_a_refresh_too() -> None:
    world = await known_world()
    world.dns.answers[A] = record("2", ttl=1)
    world.hosts.results[A] = FETCH_FAILED
    tries = []
    for _ in range(500):
        before = len(world.hosts.fetched)
        await world.use(A)
        if len(world.hosts.fetched) > before:
            tries.append(world.clock.monotonic)
        world.clock.go(20)
    assert 2 <= len(tries) <= 6, "the pause grows while a policy is held"
    assert all(later - sooner >= 300 for sooner, later in itertools.pairwise(tries))


@in_loop
async def test_sts_12_a_new_id_is_tried_at_once() -> None:
    world = World()
    world.dns.answers[A] = record("1", ttl=60)
    await world.use(A)
    world.publish(A, "2")
    world.clock.go(61)
    await world.use(A)
    assert world.hosts.fetched == [A, A]
    assert await world.use(A) == policy("mx.a.example")


@in_loop
async def test_sts_14_refreshed_about_daily_although_the_id_is_the_same() -> None:
    world = await known_world(max_age=30 * 86_400)
    refresher = Refresher(world.policies)
    times = []
    for _ in range(24 * 10):
        world.clock.go(3600)
        refresher.step()
        await world.quiet()
        if world.hosts.fetched:
            times.append(world.clock.wall)
            world.hosts.fetched.clear()
    assert 9 <= len(times) <= 14
    assert len({round((b - a) / 3600) for a, b in itertools.pairwise(times)}) > 1, "no jitter"
    assert world.changed == [], "the same policy again is no change"


@pytest.mark.parametrize(("mode", "logged"), [(Mode.ENFORCE, True), (Mode.TESTING, True), (Mode.NONE, False)])
@in_loop
async def test_sts_14_failed_refreshes_are_logged_unless_mode_none(
    mode: Mode, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = await known_world(mode=mode)
    world.hosts.results[A] = FETCH_FAILED
    world.clock.go(DAY)
    with caplog.at_level(logging.WARNING, "tlspolicyd"):
        assert Refresher(world.policies).step() == 1
        await world.quiet()
    assert ("refresh failed" in caplog.text) == logged
    assert world.hosts.fetched == [A]


@in_loop
async def test_sts_14_the_refresh_does_not_need_a_working_dns() -> None:
    world = await known_world()
    world.dns.answers[A] = SERVFAIL
    world.clock.go(DAY)
    await world.use(A)
    fact = world.policies.peek(A)
    assert fact is not None
    assert (fact.id, fact.fetched_at) == ("1", world.clock.wall)


@in_loop
async def test_a_domain_that_took_its_record_away_is_not_fetched_any_more() -> None:
    world = await known_world(max_age=3 * 86_400)
    world.dns.answers[A] = NO_RECORD
    for _ in range(71):
        world.clock.go(3600)
        assert await world.use(A) is not None
    world.clock.go(3601)
    assert await world.use(A) is None
    assert world.hosts.fetched == []


@in_loop
async def test_sts_15_a_new_id_is_fetched_and_the_same_one_is_not() -> None:
    world = await known_world()
    world.clock.go(400)
    await world.use(A)
    assert (len(world.dns.asked), world.hosts.fetched) == (1, [])
    world.publish(A, "2", policy("new.a.example"))
    world.clock.go(400)
    assert await world.use(A) == policy()  # the answer does not wait for the look-up it starts
    assert await world.use(A) == policy("new.a.example")
    assert world.changed == [A]


@in_loop
async def test_sts_15_a_fetch_starts_the_max_age_clock_anew() -> None:
    world = await known_world(max_age=100_000)
    world.clock.go(90_000)
    await world.use(A)
    world.clock.go(90_000)
    assert await world.use(A) is not None
    assert world.policies.peek(A).fetched_at == START + 180_000  # type: ignore[union-attr]  # it is there


@in_loop
async def test_sts_18_max_age_bounds() -> None:
    world = await known_world(max_age=31_557_600 * 10)
    fact = world.policies.peek(A)
    assert fact is not None
    assert fact.expires_at == START + 31_557_600
    for domain, age in (("zero.example", 0), ("negative.example", -5)):
        world.publish(domain, "1", policy(max_age=age))
        assert await world.use(domain) is None
        assert await world.use(domain) is None
    assert world.hosts.fetched == ["zero.example", "negative.example"]


@in_loop
async def test_max_age_0_ends_a_policy_that_is_held() -> None:
    world = await known_world()
    world.publish(A, "2", policy(max_age=0))
    world.clock.go(400)
    await world.use(A)
    assert await world.use(A) is None
    assert world.changed == [A]


@in_loop
async def test_sts_26_mode_none_is_kept_until_max_age() -> None:
    world = await known_world(mode=Mode.NONE, max_age=86_400)
    world.dns.answers[A] = NO_RECORD
    world.clock.go(86_399)
    fact = await world.policies.fact(A, 0)
    assert fact.policy is not None
    assert fact.policy.mode is Mode.NONE
    await world.quiet()
    world.clock.go(1)
    assert await world.use(A) is None


@in_loop
async def test_sts_30_an_expired_policy_is_none_counted_from_the_fetch() -> None:
    world = await known_world(max_age=86_400)
    world.dns.answers[A] = NO_RECORD
    world.clock.go(86_399)
    assert await world.use(A) is not None
    world.clock.go(1)
    assert await world.use(A) is None


@in_loop
async def test_sts_31_first_contact_waits_no_longer_than_it_may() -> None:
    world = World()
    world.publish(A, "1")
    world.hosts.held = asyncio.Event()
    fact = await world.policies.fact(A, 0.01)
    assert (fact.policy, fact.failure) == (None, None)
    assert fact.reason
    world.clock.go(30)
    async with asyncio.timeout(5):
        fact = await world.policies.fact(A, 30.0)  # whoever comes later does not wait again for the same fetch
    assert fact.policy is None
    world.hosts.held.set()
    await world.quiet()
    assert world.policies.peek(A) is not None
    assert (len(world.dns.asked), len(world.hosts.fetched)) == (1, 1)
    assert world.changed == [A], "whoever keeps the former answer must hear of it"


@in_loop
async def test_a_cached_answer_never_waits() -> None:
    world = await known_world()
    world.dns.held = asyncio.Event()
    world.clock.go(2 * DAY)
    fact = world.policies.peek(A)
    assert fact is not None
    assert fact.policy == policy()
    assert await world.policies.fact(A, 60.0) == fact
    world.dns.held.set()
    await world.quiet()


@in_loop
async def test_10000_look_ups_of_a_new_domain_are_one_query_and_one_fetch() -> None:
    world = World()
    world.publish(A, "1")
    world.dns.held = asyncio.Event()
    askers = [asyncio.ensure_future(world.policies.fact(A, 30.0)) for _ in range(10_000)]
    while not world.dns.asked:
        await asyncio.sleep(0)
    askers[0].cancel()  # who gives up takes nothing away
    world.dns.held.set()
    facts = await asyncio.gather(*askers[1:])
    assert all(fact.policy == policy() for fact in facts)
    assert (len(world.dns.asked), len(world.hosts.fetched)) == (1, 1)


@in_loop
async def test_negative_answers_are_cached_briefly() -> None:
    world = World()
    world.dns.answers[A] = Answer(Status.NXDOMAIN, ttl=120)
    await world.use(A)
    world.clock.go(119)
    await world.use(A)
    assert len(world.dns.asked) == 1
    world.publish(A, "1")
    world.clock.go(1)
    assert await world.use(A) == policy()


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 60), (1, 60), (300, 300), (86_400, 600), (2**31, 600)])
@in_loop
async def test_negative_answers_have_bounds(ttl: int, seconds: int) -> None:
    world = World()
    world.dns.answers[A] = Answer(Status.NODATA, ttl=ttl)
    await world.use(A)
    world.clock.go(seconds - 1)
    assert world.policies.peek(A) is not None
    world.clock.go(1)
    assert world.policies.peek(A) is None


@in_loop
async def test_complaint_2_a_failing_txt_look_up_with_nothing_cached_is_no_policy() -> None:
    for answer in (SERVFAIL, TIMEOUT, BOGUS):
        world = World()
        world.dns.answers[A] = answer
        fact = await world.policies.fact(A, 5.0)
        assert (fact.policy, fact.failure, fact.unreadable, fact.signalled) == (None, None, False, False)
        assert world.hosts.fetched == []


@in_loop
async def test_complaint_4_a_changed_policy_is_seen_long_before_expiry() -> None:
    world = await known_world(max_age=31_557_600)
    world.publish(A, "2", policy("new.a.example"))
    world.clock.go(301)
    await world.use(A)
    assert await world.use(A) == policy("new.a.example")


@in_loop
async def test_complaint_4_a_policy_changed_without_its_id_is_seen_within_a_day() -> None:
    world = await known_world(max_age=31_557_600)
    world.publish(A, "1", policy("new.a.example"))
    world.clock.go(DAY)
    await world.use(A)
    assert await world.use(A) == policy("new.a.example")


@in_loop
async def test_complaint_4_a_policy_that_fits_no_mx_is_looked_at_once() -> None:
    world = await known_world(max_age=31_557_600)
    world.publish(A, "1", policy("new.a.example"))
    world.policies.suspect(A)
    world.policies.suspect(A)
    await world.quiet()
    assert world.hosts.fetched == [A]
    assert world.changed == [A]
    assert await world.use(A) == policy("new.a.example")
    world.policies.suspect(A)  # not again for every mail
    await world.quiet()
    assert world.hosts.fetched == [A]
    world.clock.go(601)
    world.policies.suspect(A)
    await world.quiet()
    assert world.hosts.fetched == [A, A]


@in_loop
async def test_complaint_4_a_domain_that_stays_wrong_is_asked_less_and_less_often() -> None:
    world = await known_world(max_age=31_557_600)
    times = []
    for _ in range(24 * 60):
        world.policies.suspect(A)
        await world.quiet()
        if world.hosts.fetched:
            times.append(world.clock.monotonic)
            world.hosts.fetched.clear()
        world.clock.go(60)
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert pauses[:4] == [600, 1200, 2400, 3600]
    assert set(pauses[4:]) == {3600}
    world.clock.go(3 * 3600)  # it was well for a while
    for _ in range(2):
        world.policies.suspect(A)
        await world.quiet()
        world.clock.go(601)
    assert len(world.hosts.fetched) == 2


@in_loop
async def test_a_suspicion_during_a_look_up_is_not_forgotten() -> None:
    world = await known_world(max_age=31_557_600)
    world.publish(A, "1", policy("new.a.example"))
    world.clock.go(400)
    world.dns.held = asyncio.Event()
    assert world.policies.peek(A) is not None  # the TXT record is looked at: the id is the same
    world.policies.suspect(A)
    world.dns.held.set()
    await world.quiet()
    assert world.hosts.fetched == [A]
    assert await world.use(A) == policy("new.a.example")


@in_loop
async def test_txt_is_asked_for_at_a_use_after_its_ttl() -> None:
    world = World()
    world.publish(A, "1", ttl=1800)
    await world.use(A)
    world.clock.go(1799)
    await world.use(A)
    assert len(world.dns.asked) == 1
    world.clock.go(1)
    await world.use(A)
    assert len(world.dns.asked) == 2


@in_loop
async def test_a_clock_that_goes_forward_expires_and_back_again_brings_back() -> None:
    world = await known_world()
    world.dns.answers[A] = SERVFAIL
    world.clock.wall += 400 * DAY
    assert await world.use(A) is None
    world.clock.wall -= 400 * DAY
    assert await world.use(A) == policy()
    world.clock.go(4000)
    await world.policies.keeper.sync()  # clears up what has been expired for an hour
    assert await world.use(A) == policy()


@in_loop
async def test_clearing_up_looks_at_the_clock_again() -> None:
    world = await known_world()
    world.dns.answers[A] = SERVFAIL
    world.clock.wall += 400 * DAY
    assert await world.use(A) is None
    world.clock.go(4000)
    world.clock.wall -= 400 * DAY
    await world.policies.keeper.sync()
    assert await world.use(A) == policy()


@in_loop
async def test_a_clock_that_goes_back_makes_no_policy_immortal(caplog: pytest.LogCaptureFixture) -> None:
    world = await known_world()
    world.dns.answers[A] = NO_RECORD
    world.clock.wall -= 400 * DAY
    assert await world.use(A) == policy(), "not dropped"
    assert "went back" in caplog.text
    world.clock.go(604_799)
    assert await world.use(A) == policy()
    world.clock.go(1)
    assert await world.use(A) is None


@in_loop
async def test_thousands_that_are_due_at_once_do_not_stampede() -> None:
    world = World(entries=10_000, limits=Limits(refreshes=8))
    for number in range(3000):
        world.publish(f"d{number}.example", "1")
    await asyncio.gather(*(world.policies.fact(f"d{number}.example", 30) for number in range(3000)))
    world.clock.go(DAY)
    world.hosts.most = 0
    world.forget_counts()
    refresher = Refresher(world.policies, under_way=32)
    world.hosts.held = asyncio.Event()
    assert refresher.step() == 32
    assert refresher.step() == 0
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.hosts.most == 8
    world.hosts.held.set()
    await world.quiet()
    for _ in range(3000 // 32 + 2):
        refresher.step()
        await world.quiet()
    assert sorted(world.hosts.fetched) == sorted(f"d{number}.example" for number in range(3000))
    assert world.hosts.most == 8


@in_loop
async def test_policies_fetched_together_are_refreshed_at_different_times() -> None:
    world = World(entries=10_000)
    for number in range(500):
        world.publish(f"d{number}.example", "1")
        await world.use(f"d{number}.example")
    world.forget_counts()
    refresher = Refresher(world.policies, under_way=1000)
    each = []
    for _ in range(25):
        world.clock.go(3600)
        each.append(refresher.step() + refresher.step())  # a whole round
        await world.quiet()
    assert sum(each) == 500
    assert max(each) < 200


@in_loop
async def test_refreshes_do_not_stand_in_the_way_of_a_first_contact() -> None:
    world = World(limits=Limits(refreshes=2))
    for number in range(10):
        world.publish(f"d{number}.example", "1")
        await world.use(f"d{number}.example")
    world.clock.go(DAY)
    world.hosts.held = hanging = asyncio.Event()
    Refresher(world.policies).step()
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.hosts.open == 2
    world.publish(A, "1")
    world.hosts.held = None
    assert (await world.policies.fact(A, 5.0)).policy == policy()
    hanging.set()
    await world.quiet()


@in_loop
async def test_what_nobody_uses_is_left_to_expire() -> None:
    world = await known_world(max_age=31_557_600)
    refresher = Refresher(world.policies)
    for _ in range(60 * 24):
        world.clock.go(3600)
        refresher.step()
        await world.quiet()
    assert 25 <= len(world.hosts.fetched) <= 45
    assert await world.use(A) is not None


@in_loop
async def test_too_many_first_contacts_get_no_policy_at_once() -> None:
    world = World(limits=Limits(flights=3))
    world.dns.held = asyncio.Event()
    for number in range(3):
        await world.policies.fact(f"d{number}.example", 0)
    fact = await world.policies.fact(A, 60.0)
    assert "too many" in fact.reason
    world.dns.held.set()
    await world.quiet()


@in_loop
async def test_a_bug_in_the_fetch_or_the_resolver_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    world = await known_world()

    async def broken(_: str) -> Result:
        raise ZeroDivisionError

    world.policies.discovery.fetcher.fetch = broken  # type: ignore[method-assign, assignment]
    world.clock.go(DAY)
    assert await world.use(A) == policy()
    assert await world.use(A) == policy()
    world.dns.answers["b.example"] = record("1")
    fact = await world.policies.fact("b.example", 5.0)
    assert fact.failure is Failure.FETCH
    world.policies.discovery.resolver.txt = broken  # type: ignore[method-assign, assignment]
    assert await world.use("c.example") is None
    world.clock.go(DAY)
    assert await world.use(A) == policy()
    assert caplog.text.count("ZeroDivisionError") >= 3


@in_loop
async def test_closing_gives_up_what_is_under_way() -> None:
    world = World()
    world.dns.held = asyncio.Event()
    asker = asyncio.ensure_future(world.policies.fact(A, 60.0))
    while not world.dns.asked:
        await asyncio.sleep(0)
    await world.policies.close()
    assert (await asker).policy is None


@in_loop
async def test_a_policy_taken_over_from_another_host_ends_the_answers_of_before() -> None:
    class Shared(Store):
        shared = True

        async def read(self, domain: str) -> Entry | None:
            return make_entry(policy(), "1", START, START) if domain == A else None

    world = World(Shared())
    world.publish(A, "1")
    assert await world.use(A) == policy()
    assert world.changed == [A]
    assert world.hosts.fetched == []
