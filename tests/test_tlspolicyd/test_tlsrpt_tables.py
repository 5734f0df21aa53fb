"""Counts in the store, on both kinds: totals in are totals out, whatever breaks in between and whoever else writes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailcommon.store import Store, open_store
from tests.support.postgres import PrivatePostgres
from tests.support.stores import Stores
from tlspolicyd.tlsrpt import tables
from tlspolicyd.tlsrpt.counts import Count, Counts, Row, merge
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, Session
from tlspolicyd.tlsrpt.tables import Batch, Pending
from tlspolicyd.tlsrpt.writing import Writer

DAY = datetime.date(2026, 11, 27)
LATER = datetime.date(2026, 11, 28)
POLICY = AppliedPolicy(PolicyType.STS, "a.example", ("version: STSv1", "mx: x"), ("x.example", "*.y.example"))
FAILURE = Failure(Result.EXPIRED, "192.0.2.1", "mx.a.example", "helo", "2001:db8::1", "https://x/", "why")


def row(domain: str = "a.example", good: int = 1, failed: int = 1, record: str = "", day: datetime.date = DAY) -> Row:
    return Row(day, domain, POLICY, Count(good, failed, {FAILURE: failed} if failed else {}), record)


@pytest.fixture
def store(stores: Stores) -> Store:
    return stores.open([tables.SCHEMA])


def read(store: Store, domain: str = "a.example", day: datetime.date = DAY) -> list[Row]:
    with store.read() as tx:
        return tables.rows_of(tx, day, domain)


def test_what_is_written_is_read(store: Store) -> None:
    tables.write(store, Batch("w", 1, (row(record="v=TLSRPTv1; rua=mailto:x@a.example"),)), 1.0)
    assert read(store) == [row(record="v=TLSRPTv1; rua=mailto:x@a.example")]


def test_counts_add_up(store: Store) -> None:
    other = Failure(Result.NO_STARTTLS)
    tables.write(store, Batch("w", 1, (row(good=2, failed=3, record="old"),)), 1.0)
    tables.write(store, Batch("w", 2, (row(good=5, failed=7, record="new"),)), 2.0)
    tables.write(store, Batch("other", 1, (Row(DAY, "a.example", POLICY, Count(0, 1, {other: 1})),)), 3.0)
    (found,) = read(store)
    assert (found.count.successes, found.count.failures, found.record) == (7, 11, "new")
    assert found.count.details == {FAILURE: 10, other: 1}


def test_a_batch_counts_once(store: Store) -> None:
    for number in (1, 1, 2, 2, 1):
        tables.write(store, Batch("w", number, (row(),)), 1.0)
    assert read(store)[0].count.successes == 2


def test_pending_days(store: Store) -> None:
    tables.write(store, Batch("w", 1, (row("b.example"), row("a.example", record="r"), row(day=LATER))), 1.0)
    assert tables.pending(store, LATER) == [
        Pending(DAY, "a.example", 2, 1, "r"),
        Pending(DAY, "b.example", 2, 1, ""),
    ]
    with store.write() as tx:
        tables.forget(tx, DAY, "a.example")
    assert [each.domain for each in tables.pending(store, LATER)] == ["b.example"]
    assert read(store) == []


def test_positions_are_written_with_the_counts(store: Store) -> None:
    assert tables.position(store, "h", "/log") == ""
    tables.write(store, Batch("w", 1, (), (("h", "/log", "1:2"),)), 1.0)
    tables.write(store, Batch("w", 2, (), (("h", "/log", "1:3"), ("g", "/log", "7:7"))), 1.0)
    assert tables.position(store, "h", "/log") == "1:3"
    tables.write(store, Batch("w", 2, (), (("h", "/log", "1:9"),)), 1.0)  # comes again
    assert tables.position(store, "h", "/log") == "1:3"


def test_old_counts_are_deleted(store: Store) -> None:
    tables.write(store, Batch("w", 1, (row(), row(day=LATER))), 1.0)
    assert tables.prune(store, LATER, 0.0) == 1
    assert read(store) == []
    assert read(store, day=LATER) != []
    assert tables.prune(store, datetime.date(2027, 1, 1), 2.0) == 1
    with store.read() as tx:
        assert tx.all("SELECT * FROM tls_failures") == tx.all("SELECT * FROM tls_writers") == []


def test_many_writers_at_once(stores: Stores) -> None:
    """Hosts that count the same domains, in whatever order, lose nothing and never stop each other for good."""
    names = [f"d{number}.example" for number in range(40)]

    def write(writer: int) -> None:
        store = stores.open([tables.SCHEMA], 30.0)
        ordered = names if writer % 2 else names[::-1]
        for number in range(5):
            tables.write(store, Batch(f"w{writer}", number + 1, tuple(row(name) for name in ordered)), 1.0)

    stores.open([tables.SCHEMA])
    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = tables.pending(stores.open([tables.SCHEMA]), LATER)
    assert [(each.domain, each.sessions) for each in found] == [(name, 40) for name in sorted(names)]


def counted(number: int = 1) -> Counts:
    counts = Counts()
    for _ in range(number):
        counts.add(Session("a.example", POLICY, True, (FAILURE,)), DAY)
    return counts


def test_writer(stores: Stores) -> None:
    async def main() -> None:
        counts, positions = counted(3), (("h", "/log", "1:1"),)
        writer = Writer(stores.open([tables.SCHEMA]), counts, lambda: positions)
        assert await writer.write()
        counts.add(Session("a.example", POLICY, False), DAY)
        assert await writer.write()

    asyncio.run(main())
    (found,) = read(stores.open([tables.SCHEMA]))
    assert (found.count.successes, found.count.failures) == (1, 3)
    assert tables.position(stores.open([tables.SCHEMA]), "h", "/log") == "1:1"


def test_commands_find_the_file_before_anything_is_counted(tmp_path: Path) -> None:
    """`report send`, run by a timer from the first day, makes no file."""
    address = f"sqlite:{tmp_path}/reports.db"

    async def main() -> None:
        writing = asyncio.create_task(Writer(open_store(address, [tables.SCHEMA]), Counts()).run())
        while not (tmp_path / "reports.db").exists():
            await asyncio.sleep(0)
            assert not writing.done()
        writing.cancel()

    asyncio.run(asyncio.wait_for(main(), 10.0))
    assert not read(open_store(address, [tables.SCHEMA], create=False))


def test_a_store_that_is_away_is_caught_up_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "later"
    store = open_store(f"sqlite:{folder}/reports.db", [tables.SCHEMA])

    async def main() -> None:
        counts = counted(2)
        writer = Writer(store, counts)
        for _ in range(3):
            assert not await writer.write()
        counts.add(Session("a.example", POLICY, False), DAY)
        folder.mkdir()
        assert await writer.write()
        assert not writer.failing

    asyncio.run(main())
    assert [each.count.successes + each.count.failures for each in merge(read(store))] == [3]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file may get any larger than 64 KB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_full_disk(tmp_path: Path) -> None:
    """Counts wait in memory, and nothing is lost once there is room."""
    store = open_store(f"sqlite:{tmp_path}/reports.db", [tables.SCHEMA])

    async def main() -> None:
        counts = counted(1)
        writer = Writer(store, counts)
        assert await writer.write()
        with full_disk():
            for number in range(200):
                lines = tuple(f"x{n}: {'y' * 400}" for n in range(20))
                counts.add(Session(f"d{number}.example", AppliedPolicy(PolicyType.STS, "x.example", lines), False), DAY)
            assert not await writer.write()
            counts.add(Session("a.example", POLICY, False), DAY)
        assert await writer.write()

    asyncio.run(main())
    assert sum(each.sessions for each in tables.pending(store, LATER)) == 202


def test_the_server_is_restarted_in_the_middle(postgres: PrivatePostgres) -> None:
    store = open_store(postgres.url("restarted"), [tables.SCHEMA])

    async def main() -> None:
        counts = counted(1)
        writer = Writer(store, counts)
        assert await writer.write()
        counts.add(Session("a.example", POLICY, False), DAY)
        postgres.halt()
        assert not await writer.write()
        postgres.start()
        assert await writer.write()

    asyncio.run(main())
    assert sum(each.sessions for each in tables.pending(store, LATER)) == 2
    store.close()
