"""The SQLite store: restarts, kill -9, damage, a full or read-only disk, and a command line beside the daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailcommon.dns.answer import Answer
from tests.test_tlspolicyd.policy_world import (
    DAY,
    FETCH_FAILED,
    NO_RECORD,
    SERVFAIL,
    START,
    Clock,
    Result,
    World,
    in_loop,
    policy,
    record,
)
from tlspolicyd.cache import keeper as keeper_module
from tlspolicyd.cache.entry import Entry, decode, make_entry
from tlspolicyd.cache.sqlite import SqliteStore
from tlspolicyd.cache.store import Row, StoreFault
from tlspolicyd.facts import Mode

A = "a.example"


def store(folder: Path) -> SqliteStore:
    return SqliteStore(str(folder / "policies.db"))


async def world_of(folder: Path, clock: Clock | None = None) -> World:
    world = World(store(folder), clock=clock)
    await world.policies.start()
    return world


async def rows_of(kept: SqliteStore) -> dict[str, Entry]:
    return {name: entry async for batch in kept.load() for name, entry in batch if entry is not None}


async def fill(folder: Path, count: int = 3, mode: Mode = Mode.ENFORCE) -> None:
    world = await world_of(folder)
    for number in range(count):
        world.publish(f"d{number}.example", "1", policy(mode=mode))
        await world.use(f"d{number}.example")
    await world.policies.close()


@in_loop
async def test_policies_survive_a_restart(tmp_path: Path) -> None:
    await fill(tmp_path)
    world = await world_of(tmp_path)
    world.dns.answers["d0.example"] = SERVFAIL
    assert await world.use("d0.example") == policy()
    assert (len(world.policies), world.hosts.fetched) == (3, [])
    await world.policies.close()


@in_loop
async def test_sts_30_time_goes_on_while_the_daemon_is_down(tmp_path: Path) -> None:
    await fill(tmp_path)
    world = World(store(tmp_path))
    world.clock.go(604_801)
    await world.policies.start()
    assert await world.use("d0.example") is None
    await world.policies.close()


@in_loop
async def test_a_store_from_the_future_is_neither_dropped_nor_immortal(tmp_path: Path) -> None:
    await fill(tmp_path)
    world = World(store(tmp_path))
    world.clock.wall -= 1000 * DAY
    await world.policies.start()
    world.dns.answers["d0.example"] = NO_RECORD
    assert await world.use("d0.example") == policy()
    world.clock.go(604_800)
    assert await world.use("d0.example") is None
    await world.policies.close()


WRITER = """
import asyncio, sys, time
from tlspolicyd.cache.entry import make_entry
from tlspolicyd.cache.sqlite import SqliteStore
from tlspolicyd.cache.store import Row
from tlspolicyd.facts import Mode, Policy

async def main():
    store = SqliteStore(sys.argv[1])
    first = int(sys.argv[2])
    for batch in range(10_000):
        rows = []
        for number in range(20):
            name = f"{first + batch}-{number}.example"
            text = ("x" * 500, name)
            rows.append((name, make_entry(Policy(Mode.ENFORCE, (name,), 604800, text), "1", time.time(), 0)))
        await store.write(rows, time.time())
        print(first + batch, flush=True)

asyncio.run(main())
"""


def test_kill_9_in_the_middle_of_a_write_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "policies.db"
    written: set[int] = set()
    for turn in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(turn * 10_000)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(4 + 3 * turn):
            written.add(int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        written |= {int(line) for line in writer.stdout.read().split()}
        writer.wait(10)
        writer.stdout.close()
        rows = asyncio.run(closing(SqliteStore(str(path))))
        names = {f"{batch}-{number}.example" for batch in written for number in range(20)}
        assert names <= set(rows)
        assert len(rows) % 20 == 0, "a batch is written whole or not at all"
        for name, entry in rows.items():
            known = decode(entry)
            assert known is not None
            assert known[1].mx == (name,)
    assert not list(tmp_path.glob("*.damaged"))


async def closing(kept: SqliteStore) -> dict[str, Entry]:
    rows = await rows_of(kept)
    assert kept.damaged == 0
    await kept.close()
    return rows


@pytest.mark.parametrize("damage", ["garbage", "header", "middle", "other database", "other version"])
@in_loop
async def test_a_corrupt_file_is_set_aside_and_begun_anew(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "policies.db"
    await fill(tmp_path, 300)
    whole = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(os.urandom(20_000))
    elif damage == "header":
        path.write_bytes(b"\0" * 200 + whole[200:])
    elif damage == "middle":
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    elif damage == "other version":
        with sqlite3.connect(path) as link:
            link.execute("PRAGMA user_version = 99")
        link.close()
    else:
        path.unlink()
        with sqlite3.connect(path) as link:
            link.execute("CREATE TABLE something (else_ TEXT)")
        link.close()
    with caplog.at_level(logging.ERROR, "tlspolicyd"):
        world = await world_of(tmp_path)
        world.publish(A, "1")
        await world.use(A)
        await world.policies.close()
    assert caplog.text.count("store damaged, begun anew") == 1
    assert (tmp_path / "policies.db.damaged").exists()
    again = await world_of(tmp_path)
    assert again.policies.peek(A) is not None
    await again.policies.close()


@in_loop
async def test_a_file_damaged_under_the_daemon_is_written_again_from_memory(tmp_path: Path) -> None:
    await fill(tmp_path, 300)
    world = await world_of(tmp_path)
    path = tmp_path / "policies.db"
    path.write_bytes(os.urandom(path.stat().st_size))
    world.publish(A, "1")
    await world.use(A)
    for _ in range(3):
        world.clock.go(100)
        await world.policies.keeper.sync()
    await world.policies.close()
    kept = store(tmp_path)
    assert len(await closing(kept)) == 301


@in_loop
async def test_a_file_taken_away_under_the_daemon_is_written_again(tmp_path: Path) -> None:
    await fill(tmp_path)
    world = await world_of(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    await world.policies.keeper.sync()
    await world.policies.close()
    assert len(await closing(store(tmp_path))) == 3


@pytest.mark.parametrize("column", ["domain", "mode"])
@in_loop
async def test_a_text_that_is_no_text_costs_its_own_row_only(column: str, tmp_path: Path) -> None:
    await fill(tmp_path)
    spoil(tmp_path, f"UPDATE policies SET {column} = CAST(x'656eff' AS TEXT) WHERE domain = 'd0.example'")
    world = await world_of(tmp_path)
    assert (len(world.policies), world.policies.keeper.up) == (2, True)
    world.publish(A, "1")
    await world.use(A)
    await world.policies.close()
    kept = store(tmp_path)
    assert set(await rows_of(kept)) == {"d1.example", "d2.example", A}
    await kept.close()


def spoil(folder: Path, statement: str) -> None:
    link = sqlite3.connect(folder / "policies.db")
    with link:
        link.execute(statement)
    link.close()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE policies SET body = x'ff'", "UPDATE policies SET body = 7", "UPDATE policies SET checksum = NULL"],
)
@in_loop
async def test_an_enforce_policy_that_cannot_be_read_is_known_to_exist(statement: str, tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    spoil(tmp_path, statement)
    world = await world_of(tmp_path)
    world.dns.answers["d0.example"] = record("1")
    world.hosts.results["d0.example"] = FETCH_FAILED
    fact = await world.policies.fact("d0.example", 5.0)
    assert (fact.unreadable, fact.policy) == (True, None)
    await world.quiet()
    assert world.hosts.fetched == ["d0.example"], "fetched anew at once"
    assert world.policies.peek("other.example") is None
    assert not (await world.policies.fact("other.example", 5.0)).unreadable
    world.clock.go(DAY + 1)  # mail does not wait for ever
    assert not (await world.policies.fact("d0.example", 5.0)).unreadable
    await world.quiet()
    await world.policies.close()


@in_loop
async def test_an_unreadable_policy_is_mended_by_the_next_fetch(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    spoil(tmp_path, "UPDATE policies SET body = x'ff'")
    world = await world_of(tmp_path)
    world.publish("d0.example", "1", policy())
    await world.use("d0.example")
    assert await world.use("d0.example") == policy()
    assert world.changed == ["d0.example"]
    await world.policies.close()


@pytest.mark.parametrize("answer", [NO_RECORD, SERVFAIL])
@in_loop
async def test_the_host_of_an_unreadable_policy_is_asked_whatever_dns_says(
    answer: Answer[bytes], tmp_path: Path
) -> None:
    await fill(tmp_path, 1)
    spoil(tmp_path, "UPDATE policies SET body = x'ff'")
    world = await world_of(tmp_path)
    world.dns.answers["d0.example"] = answer
    world.hosts.results["d0.example"] = Result(policy())
    await world.use("d0.example")
    assert await world.use("d0.example") == policy()
    assert world.hosts.fetched == ["d0.example"]
    world.publish("d0.example", "7", policy("new.example"))  # any record is new then
    world.clock.go(3700)
    await world.use("d0.example")
    assert await world.use("d0.example") == policy("new.example")
    await world.policies.close()


@pytest.mark.parametrize(("answer", "seconds"), [(NO_RECORD, 3600), (SERVFAIL, DAY), (record("1"), DAY)])
@in_loop
async def test_mail_waits_for_an_unreadable_policy_for_a_set_time(
    answer: Answer[bytes], seconds: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With restarts in between; no TXT record and a policy host that gives nothing out: an hour, else a day."""
    await fill(tmp_path, 1)
    spoil(tmp_path, "UPDATE policies SET body = x'ff'")
    clock = Clock()
    for turn in range(8):
        world = await world_of(tmp_path, clock)
        world.dns.answers["d0.example"] = answer
        assert (await world.policies.fact("d0.example", 5.0)).unreadable
        await world.quiet()
        clock.go(seconds / 8 + (9 if turn == 7 else -1))
        await world.policies.close()
    world = await world_of(tmp_path, clock)
    world.dns.answers["d0.example"] = answer
    assert not (await world.policies.fact("d0.example", 5.0)).unreadable
    await world.policies.close()
    assert caplog.text.count("ends within the hour") == (answer is NO_RECORD)


@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE])
@in_loop
async def test_other_modes_that_cannot_be_read_are_no_policy(mode: Mode, tmp_path: Path) -> None:
    await fill(tmp_path, 1, mode)
    spoil(tmp_path, "UPDATE policies SET body = x'ff'")
    world = await world_of(tmp_path)
    fact = await world.policies.fact("d0.example", 5.0)
    assert (fact.unreadable, fact.policy) == (False, None)
    await world.policies.close()


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond `limit` octets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


@in_loop
async def test_a_full_disk_is_one_log_line_and_the_memory_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(tmp_path)
    world = await world_of(tmp_path)
    with full_disk(4096):
        for number in range(20):
            world.publish(f"new{number}.example", "1")
            await world.use(f"new{number}.example")
            world.clock.go(61)
            assert not await world.policies.keeper.sync()
        assert world.policies.peek("new0.example") is not None
        assert world.policies.peek("d0.example") is not None
    assert caplog.text.count("store is away") == 1
    world.clock.go(61)
    assert await world.policies.keeper.sync()
    assert caplog.text.count("store is back") == 1
    await world.policies.close()
    assert len(await closing(store(tmp_path))) == 23


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Neither the folder nor its files can be written."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222 | 0o555 if path.is_dir() else mode & ~0o222 | 0o444)
    was_root = os.geteuid() == 0
    parents = [parent for parent in folder.parents if parent != Path("/") and was_root]
    before = {parent: stat.S_IMODE(parent.stat().st_mode) for parent in parents}
    for parent, mode in before.items():
        parent.chmod(mode | 0o011)
    if was_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for path, mode in (modes | before).items():
            path.chmod(mode)


@in_loop
async def test_a_read_only_store_is_read_and_the_memory_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(tmp_path)
    with read_only(tmp_path):
        world = await world_of(tmp_path)
        assert world.policies.peek("d0.example") is not None
        world.publish(A, "1")
        await world.use(A)
        for _ in range(5):
            world.clock.go(61)
            assert not await world.policies.keeper.sync()
        assert world.policies.peek(A) is not None
    assert caplog.text.count("store is away") == 1
    world.clock.go(61)
    assert await world.policies.keeper.sync()
    await world.policies.close()
    assert len(await closing(store(tmp_path))) == 4


@in_loop
async def test_a_folder_that_is_not_there_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    world = await world_of(folder)
    world.publish(A, "1")
    assert await world.use(A) == policy()
    folder.mkdir()
    world.clock.go(61)
    assert await world.policies.keeper.sync()
    await world.policies.close()
    assert set(await closing(store(folder))) == {A}
    assert caplog.text.count("store is away") == 1


@in_loop
async def test_a_store_that_comes_later_is_loaded_later(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    await fill(tmp_path / "there")
    (tmp_path / "there").rename(tmp_path / "away")
    world = await world_of(tmp_path / "there")
    assert not world.policies.keeper.up
    world.publish("d0.example", "2", policy("newer.example"))
    await world.use("d0.example")
    (tmp_path / "away").rename(tmp_path / "there")
    world.clock.go(61)
    assert await world.policies.keeper.sync()
    assert await world.use("d0.example") == policy("newer.example")
    assert await world.use("d1.example") == policy()
    assert world.hosts.fetched == ["d0.example"]
    await world.policies.close()


@in_loop
async def test_what_others_write_is_seen(tmp_path: Path) -> None:
    await fill(tmp_path)
    world = await world_of(tmp_path)
    other = store(tmp_path)
    await other.write([("d0.example", None)], START)
    await other.write([("d1.example", make_entry(policy("new.example"), "9", START, START))], START)
    assert await world.policies.keeper.sync()
    assert sorted(world.changed) == ["d0.example", "d1.example"]
    assert world.policies.peek("d0.example") is None
    fact = world.policies.peek("d1.example")
    assert fact is not None
    assert (fact.policy, fact.id) == (policy("new.example"), "9")
    world.forget_counts()
    await world.policies.keeper.sync()
    assert world.changed == []
    await other.close()
    await world.policies.close()


@in_loop
async def test_a_full_memory_drops_in_the_store_too(tmp_path: Path) -> None:
    world = World(store(tmp_path), entries=2)
    await world.policies.start()
    for number in range(4):
        world.publish(f"d{number}.example", "1")
        await world.use(f"d{number}.example")
    await world.policies.close()
    assert set(await closing(store(tmp_path))) == {"d2.example", "d3.example"}


@pytest.mark.parametrize("known", [True, False], ids=["read before", "never read"])
@in_loop
async def test_a_store_that_is_away_while_the_memory_is_full_costs_no_more_than_so_much(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_BATCH", 10)
    folder = tmp_path / "there"
    folder.mkdir()
    await fill(folder, 20)
    if not known:
        folder.rename(tmp_path / "away")
    world = World(store(folder), entries=20)
    keeper = world.policies.keeper
    await world.policies.start()
    if known:
        folder.rename(tmp_path / "away")
    most = 0
    for number in range(300):
        world.publish(f"n{number}.example", "1")
        await world.use(f"n{number}.example")
        assert not await keeper.sync()
        most = max(most, len(keeper._dirty))
    keeper.forget("n299.example")
    assert 20 < most <= 2 * 20 + 10
    assert keeper.unwritten
    (tmp_path / "away").rename(folder)
    world.clock.go(61)
    for _ in range(3):
        assert await keeper.sync()
    assert keeper.unwritten == 0
    expected = set(keeper.domains())
    await world.policies.close()
    kept = await closing(store(folder))
    assert set(kept) == expected
    if known:  # what was read has gone for what is newer; what was never read is not dropped unseen
        assert expected == {f"n{number}.example" for number in range(280, 299)}


@in_loop
async def test_a_store_that_goes_away_again_while_all_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_BATCH", 10)
    await fill(tmp_path, 40)
    world = World(store(tmp_path), entries=20)
    await world.policies.start()
    keeper = world.policies.keeper
    write, broken = keeper.store.write, 0

    async def failing(rows: Sequence[Row], now: float) -> None:
        nonlocal broken
        broken += 1
        if broken % 3:
            raise StoreFault("away")
        await write(rows, now)

    monkeypatch.setattr(keeper.store, "write", failing)
    for number in range(200):
        world.publish(f"n{number}.example", "1")
        await world.use(f"n{number}.example")
    for _ in range(50):
        world.clock.go(61)
        await keeper.sync()
        assert len(keeper._dirty) <= 2 * 20 + 10
    assert keeper.unwritten == 0
    await world.policies.close()
    assert set(await closing(store(tmp_path))) == {f"n{number}.example" for number in range(180, 200)}


@in_loop
async def test_the_expired_are_cleared_up(tmp_path: Path) -> None:
    await fill(tmp_path)
    world = await world_of(tmp_path)
    world.clock.go(604_801)
    for number in range(3):
        assert world.policies.peek(f"d{number}.example") is None
    for _ in range(3):
        world.clock.go(3700)
        await world.policies.keeper.sync()
    assert len(world.policies) == 0
    world.clock.go(2 * DAY)
    await world.policies.keeper.sync()
    await world.policies.close()
    link = sqlite3.connect(tmp_path / "policies.db")
    assert link.execute("SELECT count(*) FROM policies").fetchone() == (0,)
    link.close()


@in_loop
async def test_new_policies_are_written_in_the_background(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = await world_of(tmp_path)
    keeper = world.policies.keeper
    running = asyncio.ensure_future(keeper.run())
    world.publish(A, "1")
    await world.use(A)
    other = store(tmp_path)
    while A not in await rows_of(other):
        await asyncio.sleep(0.005)
    await other.close()

    async def broken() -> bool:
        keeper.sync = whole  # type: ignore[method-assign]
        raise ZeroDivisionError

    whole, keeper.sync = keeper.sync, broken  # type: ignore[method-assign]
    world.publish("b.example", "1")
    await world.use("b.example")
    while "ZeroDivisionError" not in caplog.text:
        await asyncio.sleep(0.005)
    assert not running.done()
    running.cancel()
    await world.policies.close()
    assert set(await closing(store(tmp_path))) == {A, "b.example"}


@pytest.mark.parametrize(
    ("path", "mend", "hint"),
    [
        ("none/policies.db", True, "there is no directory {0}/none"),
        ("file/policies.db", True, "{0}/file is not a directory"),
        ("folder", True, "it is a directory"),
        ("policies.db", False, "there is no such file, the daemon makes it when it starts"),
    ],
)
@in_loop
async def test_a_person_is_told_what_to_mend(path: str, mend: bool, hint: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    kept = SqliteStore(str(tmp_path / path), mend=mend)
    with pytest.raises(StoreFault, match=hint.format(tmp_path)):
        await kept.read(A)
    await kept.close()


@in_loop
async def test_policies_fetched_one_after_another_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction each costs a tenth of what the fetch does."""
    world = await world_of(tmp_path)
    keeper, written = world.policies.keeper, []
    write = keeper.store.write

    async def counted(rows: Sequence[Row], now: float) -> None:
        written.append(len(rows))
        await write(rows, now)

    monkeypatch.setattr(keeper.store, "write", counted)
    running = asyncio.ensure_future(keeper.run())
    for number in range(20):
        world.publish(f"d{number}.example", "1")
        await world.use(f"d{number}.example")
    while sum(written) < 20:
        await asyncio.sleep(0.005)
    assert len(written) <= 3
    running.cancel()
    await world.policies.close()
