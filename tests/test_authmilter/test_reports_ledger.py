"""Rows in the store and the thread that writes them: what goes in comes out, whatever the store does meanwhile."""

from __future__ import annotations

import random
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from authmilter.facts import Client, DmarcResult, MessageFacts
from authmilter.reports import collector as collecting
from authmilter.reports import ledger
from authmilter.reports.collector import Collector
from authmilter.reports.ledger import DAY, Key, Pending
from authmilter.reports.observation import PublishedFacts, RowFacts, observations
from authmilter.verdict import Decision, Verdict
from mailcommon.store import Store, open_store
from tests.support.postgres import PrivatePostgres, missing
from tests.support.report_rows import ACCEPT, dmarc, message, messages, tags
from tests.support.requirements import require
from tests.support.stores import Stores
from tests.support.waiting import wait_until

NOON = 20_000 * DAY + DAY / 2
REJECTED = Verdict(Decision.REJECT, "policy", "")


@pytest.fixture
def store(stores: Stores) -> Store:
    return stores.open([ledger.SCHEMA])


def facts(number: int = 0) -> MessageFacts:
    return message(dmarc(), client=Client(f"192.0.2.{number}"))


def key(number: int = 0, day: int = 20_000) -> Key:
    ((published, row),) = observations(facts(number), ACCEPT)
    return Key(day, published, row)


def contents(store: Store, today: int = 30_000) -> Counter[tuple[int, str, RowFacts]]:
    ledger.absorb(store)
    found: Counter[tuple[int, str, RowFacts]] = Counter()
    for what in ledger.pending(store, today):
        with store.read() as tx:
            domain = ledger.published(tx, what.policy).domain
            for row, count in ledger.rows(tx, what):
                found[what.day, domain, row] += count
    return found


def total(store: Store) -> int:
    return contents(store).total()


def test_equal_rows_are_counted_together(store: Store) -> None:
    ledger.write(store, "a", {key(1): 2, key(2): 1}, NOON)
    ledger.write(store, "b", {key(1): 3}, NOON)
    assert contents(store) == {(20_000, "shop.example", key(1).row): 5, (20_000, "shop.example", key(2).row): 1}


def test_a_batch_counts_once(store: Store) -> None:
    for _ in range(2):
        ledger.write(store, "a", {key(1): 2}, NOON)
    assert total(store) == 2


def test_a_batch_counts_once_even_if_it_was_absorbed_in_between(store: Store) -> None:
    for _ in range(3):
        ledger.write(store, "a", {key(1): 2}, NOON)
        assert total(store) == 2
    ledger.tidy(store, NOON + 10, 14)
    ledger.write(store, "a", {key(1): 2}, NOON)
    assert total(store) == 2


def test_many_batches_are_absorbed_in_several_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_ABSORBED_ROWS", 10)
    for number in range(30):
        ledger.write(store, str(number), {key(number): 1, key(number + 1): 2}, NOON)
    assert total(store) == 90
    with store.read() as tx:
        assert tx.one("SELECT count(*) FROM dmarc_batches WHERE content IS NOT NULL") == (0,)


def test_what_is_kept_comes_back_as_it_was(store: Store) -> None:
    hard = message(
        dmarc(DmarcResult.FAIL, published=tags(testing=True, rua=("mailto:a@b.example", "mailto:ü@c.example"))),
        mail_from="ü@bücher.example",
    )
    ((published, row),) = observations(hard, REJECTED)
    ledger.write(store, "a", {Key(20_000, published, row): 1}, NOON)
    ledger.absorb(store)
    (what,) = ledger.pending(store, 20_001)
    with store.read() as tx:
        assert ledger.published(tx, what.policy) == published
        assert list(ledger.rows(tx, what)) == [(row, 1)]


def test_days_policies_and_what_is_over(store: Store) -> None:
    other = key(1)._replace(published=key(1).published._replace(p="none"))
    ledger.write(store, "a", {key(1): 1, other: 1, key(1, day=20_001): 1, key(1, day=20_002): 1}, NOON)
    ledger.absorb(store)
    assert [what.day for what in ledger.pending(store, 20_002)] == [20_000, 20_000, 20_001]
    first = ledger.pending(store, 20_001)[0]
    with store.write() as tx:
        ledger.forget(tx, first)
    assert [what.day for what in ledger.pending(store, 20_002)] == [20_000, 20_001]
    assert [(day, rows, count) for day, _, rows, count in ledger.totals(store)] == [
        (20_000, 1, 1),
        (20_001, 1, 1),
        (20_002, 1, 1),
    ]


def test_old_rows_go_and_those_of_a_wrong_clock_are_todays(store: Store) -> None:
    ledger.write(store, "a", {key(1, day=19_000): 4, key(1): 1, key(1, day=25_000): 2, key(1, day=26_000): 3}, NOON)
    ledger.absorb(store)
    assert ledger.tidy(store, NOON, 14) == 4
    assert contents(store) == {(20_000, "shop.example", key(1).row): 6}
    (what,) = ledger.pending(store, 20_001)
    with store.write() as tx:
        ledger.forget(tx, what)
    ledger.tidy(store, NOON, 14)
    with store.read() as tx:
        assert tx.all("SELECT count(*) FROM dmarc_policies") == [(0,)]


def test_tidying_takes_one_pass(tmp_path: Path) -> None:
    """Not one for each policy: with a day of many domains that would be hours."""
    store = open_store(f"sqlite:{tmp_path}/s", [ledger.SCHEMA])
    plain = key(1)
    names = [f"d{number}.example" for number in range(6000)]
    batch = {plain._replace(published=plain.published._replace(domain=name)): 1 for name in names}
    ledger.write(store, "a", batch, NOON)
    ledger.absorb(store)
    began = time.process_time()
    ledger.tidy(store, NOON, 14)
    assert time.process_time() - began < 0.2
    store.close()


def test_no_policy_is_tidied_away_that_comes_again_at_that_moment(stores: Stores) -> None:
    """One host tidies while another adds up: a row without its policy would stop all reports."""
    one, other = stores.open([ledger.SCHEMA], 20.0), stores.open([ledger.SCHEMA], 20.0)
    ledger.write(one, "a", {key(1): 1}, NOON)
    ledger.absorb(one)
    with one.write() as tx:
        tx.run("DELETE FROM dmarc_rows")  # as if a report was made
    ledger.write(one, "b", {key(1): 1}, NOON)
    tidying = threading.Thread(target=ledger.tidy, args=(other, NOON, 14))
    with one.write() as tx:
        assert ledger._absorb_some(tx)
        tidying.start()
        tidying.join(0.5)  # it would be through by then if it did not wait
    tidying.join()
    assert contents(one).total() == 1


def test_hosts_that_write_the_same_rows_at_once(stores: Stores) -> None:
    """In different orders, which would be a deadlock if they were written so."""
    stores.open([ledger.SCHEMA]).size()
    keys = [key(number) for number in range(200)]
    faults = []

    def host(seed: int) -> None:
        store = stores.open([ledger.SCHEMA], 20.0)
        shuffled = random.Random(seed).sample(keys, len(keys))
        try:
            for number in range(10):
                ledger.write(store, f"{seed}.{number}", dict.fromkeys(shuffled, 1), NOON)
                ledger.absorb(store)
        except Exception as fault:  # noqa: BLE001 - shown below
            faults.append(fault)

    threads = [threading.Thread(target=host, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert total(stores.open([ledger.SCHEMA])) == 4 * 10 * 200


# The collector


@pytest.fixture
def collect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Collector]]:
    monkeypatch.setattr(collecting, "INTERVAL", 0.01)
    monkeypatch.setattr(collecting, "_RETRY", 0.02)
    made: list[Collector] = []

    def make(store: Store, **options: object) -> Collector:
        settings = {"max_bytes": 1 << 30, **options}
        made.append(Collector(store, lambda: NOON, time.monotonic, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_collected(stores: Stores, collect: Callable[..., Collector]) -> None:
    collector = collect(stores.open([ledger.SCHEMA]), exclude=("out.example",))
    left_out = dmarc(author_domain="a.out.example", policy_domain="out.example")
    for number in range(300):
        collector.note(facts(number % 7), ACCEPT)
        collector.note(message(left_out), ACCEPT)
    wait_until(lambda: total(stores.open([ledger.SCHEMA])) == 300, "all rows in the store")


def test_close_writes_what_is_left(stores: Stores, collect: Callable[..., Collector]) -> None:
    collector = collect(stores.open([ledger.SCHEMA]))
    collector.note(facts(), ACCEPT)
    collector.close()
    assert total(stores.open([ledger.SCHEMA])) == 1


def slowest(collector: Collector, messages: int) -> float:
    """The longest time in seconds that one message waited."""
    longest = 0.0
    for number in range(messages):
        began = time.perf_counter()
        collector.note(facts(number % 50), ACCEPT)
        longest = max(longest, time.perf_counter() - began)
    return longest


def test_a_locked_store_delays_nothing_and_is_caught_up_with(
    tmp_path: Path, collect: Callable[..., Collector], caplog: pytest.LogCaptureFixture
) -> None:
    address = f"sqlite:{tmp_path}/s"
    collector = collect(open_store(address, [ledger.SCHEMA], 0.05))
    collector.note(facts(), ACCEPT)
    reader = open_store(address, [ledger.SCHEMA])
    wait_until(lambda: total(reader) == 1, "the first row")
    other = sqlite3.connect(tmp_path / "s", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert slowest(collector, 2000) < 0.5
        wait_until(lambda: "another process has held its lock" in caplog.text, "the complaint")
        assert slowest(collector, 2000) < 0.5
    finally:
        other.execute("ROLLBACK")
        other.close()
    wait_until(lambda: "the store is back" in caplog.text, "the end of the complaint")
    assert caplog.text.count("another process has held its lock") == 1
    wait_until(lambda: total(reader) == 4001, "all rows in the store")
    reader.close()


def test_memory_is_bounded_while_the_store_is_away(
    tmp_path: Path,
    collect: Callable[..., Collector],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collecting, "MAX_ROWS", 20)
    collector = collect(open_store(f"sqlite:{tmp_path}/later/s", [ledger.SCHEMA], 0.05))
    wait_until(lambda: slowest(collector, 1) and "the folder must be there" in caplog.text, "the complaint")
    for number in range(250):
        collector.note(facts(number), ACCEPT)
    assert len(collector._counts) == 20
    (tmp_path / "later").mkdir()
    wait_until(lambda: "the store is back" in caplog.text, "the end of the complaint")
    assert "messages are not counted" in caplog.text
    reader = open_store(f"sqlite:{tmp_path}/later/s", [ledger.SCHEMA])
    wait_until(lambda: total(reader) >= 20, "what was kept")
    reader.close()


def test_a_store_that_is_too_large_gets_no_more(
    tmp_path: Path, collect: Callable[..., Collector], caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(f"sqlite:{tmp_path}/s", [ledger.SCHEMA])
    collector = collect(store, max_bytes=100)
    collector.note(facts(), ACCEPT)
    wait_until(lambda: "takes more than [reports] max_bytes" in caplog.text, "the complaint")
    reader = open_store(f"sqlite:{tmp_path}/s", [ledger.SCHEMA])
    assert total(reader) == 0
    reader.close()


def test_postgres_goes_away_in_the_middle(collect: Callable[..., Collector]) -> None:
    require(missing())
    with PrivatePostgres() as server:
        url = server.url("away")
        collector = collect(open_store(url, [ledger.SCHEMA], 1.0))
        sent = 0
        for _ in range(3):
            for _ in range(500):
                collector.note(facts(sent % 250), ACCEPT)
                sent += 1
            server.restart()
        reader = open_store(url, [ledger.SCHEMA])
        wait_until(lambda: total(reader) == sent, "all rows in the store")
        collector.close()
        assert total(reader) == sent
        reader.close()


def test_a_batch_whose_commit_was_not_answered_counts_once(
    tmp_path: Path, collect: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mailcommon.store import StoreFault

    written: list[str] = []
    write = ledger.write

    def unanswered(store: Store, name: str, counts: dict[Key, int], now: float) -> None:
        write(store, name, counts, now)
        written.append(name)
        if len(written) % 2:
            raise StoreFault("the connection broke")

    monkeypatch.setattr(collecting, "write", unanswered)
    address = f"sqlite:{tmp_path}/s"
    collector = collect(open_store(address, [ledger.SCHEMA]))
    collector.note(facts(), ACCEPT)
    reader = open_store(address, [ledger.SCHEMA])
    wait_until(lambda: len(written) >= 2, "a second try")
    assert written[0] == written[1]
    assert total(reader) == 1
    reader.close()


def random_days(seed: int) -> tuple[dict[Key, int], list[Pending]]:
    chance = random.Random(seed)
    counts = {key(chance.randrange(250), chance.randrange(20_000, 20_004)): chance.randrange(1, 9) for _ in range(100)}
    return counts, []


@pytest.mark.parametrize("seed", range(3))
def test_totals(store: Store, seed: int) -> None:
    counts, _ = random_days(seed)
    items = list(counts.items())
    for first in range(0, len(items), 17):
        ledger.write(store, secrets.token_hex(4), dict(items[first : first + 17]), NOON)
    assert contents(store) == {(day, published.domain, row): count for (day, published, row), count in counts.items()}


def test_day_of() -> None:
    assert ledger.day_of(0.0) == 0
    assert ledger.day_of(DAY - 0.001) == 0
    assert ledger.day_of(21_243 * DAY + 1) == 21_243  # 29 February 2028


def test_a_published_policy_is_known_by_all_of_it() -> None:
    plain = key().published
    assert isinstance(plain, PublishedFacts)
    packed = {ledger._packed_policy(each)[0] for each in (plain, plain._replace(rua=("mailto:x@y.example",)))}
    assert len(packed) == 2


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages())
def test_whatever_was_observed_can_be_kept(store: Store, made: tuple[MessageFacts, Verdict]) -> None:
    counts = {Key(20_000, *each): 1 for each in observations(*made)}
    ledger.write(store, secrets.token_hex(8), counts, NOON)
    ledger.absorb(store)
    for what in ledger.pending(store, 20_001):
        with store.write() as tx:
            ledger.forget(tx, what)
