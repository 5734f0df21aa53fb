"""The outbox, on both kinds of store: once and no more, later and not for ever, and never to those who always fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mailcommon.outbox import (
    SCHEMA,
    Carrier,
    Delivery,
    Doorkeeper,
    Entry,
    Limits,
    Outbox,
    Outcome,
    Report,
    Result,
    Sent,
    State,
    send_due,
)
from mailcommon.store import Lease, LeaseLost, Store, held
from tests.support.stores import Stores

NOW = 1_700_000_000.0
A, B = "mailto:a@one.example", "mailto:b@two.example"
LIMITS = Limits(seconds=3600, first_pause=600, longest_pause=1000, failures=3, rest=5000, keep=10_000, keep_bytes=250)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Scripted(Carrier):
    """Says what it was told to, and remembers what it was given."""

    def __init__(self, *results: Result, own: bool = False) -> None:
        self._results = list(results)
        self._own = own
        self.given: list[tuple[str, str, str]] = []  # report, destination, token
        self.closed = 0

    def hand_over(self, report: Report, delivery: Delivery, token: str) -> Outcome:
        self.given.append((report.id, delivery.destination, token))
        return Outcome(self._results.pop(0) if self._results else Result.SENT, "said\r\nthis", self._own)

    def close(self) -> None:
        self.closed += 1


def report(number: int = 1, **changes: object) -> Report:
    plain = Report(f"id{number}", "test", f"d{number}.example", 0, 86_399, "name.gz", b"payload" * 10, count=3)
    return replace(plain, **changes)  # type: ignore[arg-type]


def add(outbox: Outbox, given: Report, *destinations: str, now: float = NOW) -> bool:
    with outbox.store.write() as tx:
        return outbox.add(tx, given, destinations, now)


@pytest.fixture
def store(stores: Stores) -> Store:
    return stores.open([SCHEMA])


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store, LIMITS)


@pytest.fixture
def lease(store: Store) -> Iterator[Lease]:
    with held(store, "send") as lease:
        assert lease is not None
        yield lease


def run(outbox: Outbox, lease: Lease, carrier: Carrier, clock: Clock) -> Sent:
    return send_due(outbox, lease, {"mailto": carrier}, clock)


def states(outbox: Outbox, report_id: str = "id1") -> list[State]:
    return [each.state for each in outbox.deliveries(report_id)]


def test_sent_to_each_destination_once(outbox: Outbox, lease: Lease) -> None:
    carrier, clock = Scripted(), Clock()
    assert add(outbox, report(), A, B)
    assert run(outbox, lease, carrier, clock) == Sent(done=2)
    assert [(given[0], given[1]) for given in carrier.given] == [("id1", A), ("id1", B)]
    assert run(outbox, lease, carrier, clock) == Sent()
    assert states(outbox) == [State.SENT, State.SENT]
    assert outbox.deliveries("id1")[0].note == "said this"
    assert carrier.closed == 2
    kept = outbox.report("id1")
    assert kept == report(made_at=NOW)


def test_the_same_is_made_once(outbox: Outbox) -> None:
    assert add(outbox, report(), A)
    assert not add(outbox, report(2, domain="d1.example"), A)
    assert add(outbox, report(3, domain="d1.example", part="x"), A)
    assert outbox.count_due(NOW) == 2


def test_more_than_one_batch(outbox: Outbox, lease: Lease) -> None:
    for number in range(250):
        add(outbox, report(number), A)
    carrier = Scripted(*[Result.LATER, Result.UNKNOWN] * 60)
    assert run(outbox, lease, carrier, Clock()) == Sent(done=130, later=120)
    assert len({given[0] for given in carrier.given}) == 250


def test_later_means_after_a_growing_pause(outbox: Outbox, lease: Lease) -> None:
    add(outbox, report(), A)
    carrier, clock = Scripted(Result.LATER, Result.LATER, Result.LATER), Clock()
    tried = []
    for _ in range(50):
        if run(outbox, lease, carrier, clock) != Sent():
            tried.append(clock.now - NOW)
        clock.now += 100
    assert tried == [0, 600, 1600, 2600]  # 600, then 1000 at the most
    assert states(outbox) == [State.SENT]


def test_given_up_when_the_time_is_over(outbox: Outbox, lease: Lease) -> None:
    add(outbox, report(), A)
    carrier, clock = Scripted(*[Result.LATER] * 20), Clock()
    for _ in range(60):
        run(outbox, lease, carrier, clock)
        clock.now += 100
    assert len(carrier.given) == 5
    assert states(outbox) == [State.FAILED]
    assert outbox.deliveries("id1")[0].note == "given up after 5 attempts: said this"


def test_refused_is_not_tried_again(outbox: Outbox, lease: Lease) -> None:
    add(outbox, report(), A)
    clock = Clock()
    assert run(outbox, lease, Scripted(Result.REFUSED), clock) == Sent(failed=1)
    clock.now += 10_000
    assert run(outbox, lease, Scripted(), clock) == Sent()


def test_an_unknown_scheme_fails(outbox: Outbox, lease: Lease) -> None:
    add(outbox, report(), "ftp://a.example")
    assert run(outbox, lease, Scripted(), Clock()) == Sent(failed=1)


# Crashes: the sender dies after `begin`. The doorkeeper is the milter.


@pytest.fixture
def door(stores: Stores) -> Doorkeeper:
    return Doorkeeper(stores.open([SCHEMA]), Clock())


def begun(outbox: Outbox, lease: Lease) -> str:
    add(outbox, report(), A)
    return outbox.begin(outbox.due(NOW)[0], lease, NOW)


def test_died_before_the_milter_saw_it(outbox: Outbox, lease: Lease, door: Doorkeeper) -> None:
    first = begun(outbox, lease)
    carrier = Scripted()
    assert run(outbox, lease, carrier, Clock()) == Sent(done=1)
    second = carrier.given[0][2]
    assert second != first
    # Postfix was slow: the message of the first attempt comes now, after the one of the second or before it
    assert door.admit(first) is Entry.DISCARD
    assert door.admit(second) is Entry.TAKE
    assert door.admit(second) is Entry.DISCARD


def test_died_after_the_milter_saw_it(outbox: Outbox, lease: Lease, door: Doorkeeper) -> None:
    token = begun(outbox, lease)
    assert door.admit(f" {token}\r\n") is Entry.TAKE
    carrier = Scripted()
    assert run(outbox, lease, carrier, Clock()) == Sent(done=1)
    assert carrier.given == []
    assert states(outbox) == [State.SENT]
    assert outbox.bounced(token, "came back", NOW)


def test_the_connection_broke_and_the_milter_sees_it_later(outbox: Outbox, lease: Lease, door: Doorkeeper) -> None:
    add(outbox, report(), A)
    carrier, clock = Scripted(Result.UNKNOWN), Clock()
    assert run(outbox, lease, carrier, clock) == Sent(later=1)
    assert door.admit(carrier.given[0][2]) is Entry.TAKE
    clock.now += 600
    assert run(outbox, lease, carrier, clock) == Sent(done=1)
    assert len(carrier.given) == 1


def test_refused_after_the_milter_took_it(outbox: Outbox, lease: Lease, door: Doorkeeper) -> None:
    """Postfix says no after the milter has said yes, a full disk for one: it is tried again and taken again."""
    add(outbox, report(), A)
    delivery = outbox.due(NOW)[0]
    token = outbox.begin(delivery, lease, NOW)
    assert door.admit(token) is Entry.TAKE
    assert outbox.finish(delivery, token, Outcome(Result.LATER), NOW) is State.WAITING
    carrier, clock = Scripted(), Clock()
    clock.now += 600
    assert run(outbox, lease, carrier, clock) == Sent(done=1)
    assert door.admit(token) is Entry.DISCARD
    assert door.admit(carrier.given[0][2]) is Entry.TAKE


def test_who_has_lost_the_lease_forgets_nothing_of_the_next(outbox: Outbox, lease: Lease, door: Doorkeeper) -> None:
    add(outbox, report(), A)
    delivery = outbox.due(NOW)[0]
    old = outbox.begin(delivery, lease, NOW)
    new = outbox.begin(delivery, lease, NOW)
    assert door.admit(new) is Entry.TAKE
    outbox.finish(delivery, old, Outcome(Result.LATER), NOW)
    assert run(outbox, lease, carrier := Scripted(), Clock()) == Sent(done=1)
    assert carrier.given == []


@pytest.mark.parametrize("text", ["", "x", "0" * 16 + "." + "0" * 32, "' OR 1=1 --", "a" * 100_000])
def test_tokens_of_strangers_say_nothing(outbox: Outbox, lease: Lease, door: Doorkeeper, text: str) -> None:
    begun(outbox, lease)
    assert door.admit(text) is Entry.STRANGER


def test_one_of_two_copies_that_come_at_once(outbox: Outbox, lease: Lease, stores: Stores) -> None:
    token = begun(outbox, lease)
    barrier = threading.Barrier(4)
    said: list[Entry] = []

    def come() -> None:
        door = Doorkeeper(stores.open([SCHEMA]), Clock())
        barrier.wait()
        said.append(door.admit(token))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.value for entry in said) == ["discard"] * 3 + ["take"]


def test_without_the_lease_nothing_is_begun(outbox: Outbox, stores: Stores) -> None:
    add(outbox, report(), A)
    lease = Lease(stores.open([SCHEMA]), "send", "nobody", 60.0)
    carrier = Scripted()
    with pytest.raises(LeaseLost):
        run(outbox, lease, carrier, Clock())
    assert carrier.given == []
    assert states(outbox) == [State.WAITING]


# Destinations that fail


def fail_days(outbox: Outbox, lease: Lease, days: int, result: Result = Result.REFUSED) -> None:
    for day in range(days):
        clock = Clock()
        clock.now += day
        add(outbox, report(day + 1), A, B, now=clock.now)
        run(outbox, lease, Scripted(result, Result.SENT), clock)


def test_who_always_fails_is_rested(outbox: Outbox, lease: Lease) -> None:
    fail_days(outbox, lease, 4)
    assert states(outbox, "id3") == [State.FAILED, State.SENT]
    assert states(outbox, "id4") == [State.RESTING, State.FAILED]  # the script's first word goes to B here
    add(outbox, report(9), A, now=NOW + 6000)
    assert states(outbox, "id9") == [State.WAITING]  # the rest is over


def test_what_bounces_fails_too(outbox: Outbox, lease: Lease) -> None:
    for day in range(3):
        add(outbox, report(day), A)
        carrier = Scripted()
        run(outbox, lease, carrier, Clock())
        assert outbox.bounced(carrier.given[0][2], "550 no such user\r\n", NOW)
        assert not outbox.bounced(carrier.given[0][2], "again", NOW)
    assert states(outbox, "id2") == [State.BOUNCED]
    with outbox.store.read() as tx:
        assert outbox.resting(tx, [A, B], NOW + 1) == {A}
    assert not outbox.bounced("no token", "", NOW)


def test_what_this_host_refuses_is_no_destinations_fault(outbox: Outbox, lease: Lease) -> None:
    clock = Clock()
    for day in range(5):
        add(outbox, report(day), A, now=clock.now)
        sent = run(outbox, lease, Scripted(Result.LATER, own=True), clock)
        assert sent == Sent(later=1, own_fault="said this")
        clock.now += LIMITS.seconds
        assert run(outbox, lease, Scripted(Result.LATER, own=True), clock).failed == 1
    with outbox.store.read() as tx:
        assert outbox.resting(tx, [A], clock.now) == set()


def test_one_delivery_makes_good(outbox: Outbox, lease: Lease) -> None:
    fail_days(outbox, lease, 2)
    add(outbox, report(7), A)
    run(outbox, lease, Scripted(Result.DELIVERED), Clock())
    add(outbox, report(8), A)
    run(outbox, lease, Scripted(Result.REFUSED), Clock())
    with outbox.store.read() as tx:
        assert outbox.resting(tx, [A], NOW + 1) == set()


# Clocks


def test_a_clock_that_was_wrong_delays_nothing_for_ever(outbox: Outbox, lease: Lease) -> None:
    """What was put off, or rested, while the clock was years ahead."""
    later = NOW + 1e8
    add(outbox, report(1), A, now=later)
    clock = Clock()
    clock.now = later
    run(outbox, lease, Scripted(Result.LATER), clock)
    for number in range(2, 6):
        add(outbox, report(number), B, now=later)
        run(outbox, lease, Scripted(Result.REFUSED), clock)
    assert run(outbox, lease, Scripted(), Clock()) == Sent(done=1)
    with outbox.store.read() as tx:
        assert outbox.resting(tx, [B], later) == {B}
        assert outbox.resting(tx, [B], NOW) == set()


# Retention


def test_what_is_done_goes_and_what_is_not_stays(outbox: Outbox, lease: Lease) -> None:
    add(outbox, report(1), A)
    run(outbox, lease, Scripted(), Clock())
    add(outbox, report(2), A)
    assert outbox.prune(NOW + 9_999) == 0
    assert outbox.prune(NOW + 10_001) == 1
    assert outbox.report("id1") is None
    assert outbox.deliveries("id1") == []
    assert outbox.report("id2") is not None


def test_payloads_go_before_there_are_too_many(outbox: Outbox, lease: Lease) -> None:
    for number in range(5):  # 70 bytes each, 250 allowed
        add(outbox, report(number), A, now=NOW + number)
    outbox.prune(NOW + 5)
    assert all(report.payload for report in map(outbox.report, ["id0", "id4"]) if report)  # not sent: kept
    clock = Clock()
    clock.now += 5
    run(outbox, lease, Scripted(), clock)
    outbox.prune(NOW + 5)
    found = [outbox.report(f"id{number}") for number in range(5)]
    assert [bool(each and each.payload) for each in found] == [False, False, True, True, True]
    assert len(outbox.reports()) == 5


def test_listed_newest_first(outbox: Outbox) -> None:
    add(outbox, report(1), A, now=NOW)
    add(outbox, report(2, kind="other"), A, B, now=NOW + 1)
    assert [given.id for given, _ in outbox.reports()] == ["id2", "id1"]
    assert [(given.id, len(deliveries)) for given, deliveries in outbox.reports("other")] == [("id2", 2)]


def test_each_kind_of_report_has_its_own_sender_in_one_store(store: Store, lease: Lease) -> None:
    one, other = Outbox(store, LIMITS, "one"), Outbox(store, LIMITS, "other")
    add(one, report(1, kind="one"), A)
    add(one, report(2, kind="other"), A)
    carrier, clock = Scripted(), Clock()
    assert (one.count_due(NOW), other.count_due(NOW)) == (1, 1)
    assert run(other, lease, carrier, clock) == Sent(done=1)
    assert [given[0] for given in carrier.given] == ["id2"]
    assert (one.count_due(NOW), other.count_due(NOW)) == (1, 0)
