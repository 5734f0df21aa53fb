"""The store, of both kinds: transactions, schema versions, the lease, and what people read when it fails."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mailcommon.store import Lease, LeaseLost, Schema, Store, StoreAddress, StoreFault, held, lease_holder, open_store
from mailcommon.store.store import Transaction
from tests.support.postgres import PrivatePostgres
from tests.support.stores import Stores

ONE = Schema("one", (("CREATE TABLE things (id IDENTITY, name TEXT UNIQUE NOT NULL, n INTEGER, at REAL, data BLOB)",),))
TWO = Schema("one", (*ONE.versions, ("ALTER TABLE things ADD COLUMN colour TEXT", "UPDATE things SET colour = 'red'")))


def names(store: Store) -> list[str]:
    with store.read() as tx:
        return [str(row[0]) for row in tx.all("SELECT name FROM things ORDER BY id")]


def test_what_goes_in_comes_out(stores: Stores) -> None:
    store = stores.open([ONE])
    with store.write() as tx:
        assert tx.run("INSERT INTO things (name, n, at, data) VALUES (?, ?, ?, ?)", "a", 2**40, 1.25, b"\0\xff") == 1
        tx.many("INSERT INTO things (name) VALUES (?)", [("b",), ("ü%",)])
    with store.read() as tx:
        row = tx.one("SELECT n, at, data FROM things WHERE name = ?", "a")
        assert row is not None
        assert (row[0], row[1], bytes(row[2])) == (2**40, 1.25, b"\0\xff")
        assert tx.one("SELECT n FROM things WHERE name = ?", "none") is None
        assert [row[0] for row in tx.stream("SELECT name FROM things ORDER BY id")] == ["a", "b", "ü%"]
    assert store.size() > 0


def test_all_or_nothing(stores: Stores) -> None:
    store = stores.open([ONE])

    def half() -> None:
        with store.write() as tx:
            tx.run("INSERT INTO things (name) VALUES ('a')")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert names(store) == []


def test_a_new_version_keeps_what_is_there(stores: Stores) -> None:
    old = stores.open([ONE])
    with old.write() as tx:
        tx.run("INSERT INTO things (name) VALUES ('a')")
    new = stores.open([TWO])
    with new.read() as tx:
        assert tx.all("SELECT name, colour FROM things") == [("a", "red")]
    with pytest.raises(StoreFault, match="version 2, this program knows 1"), stores.open([ONE]).read():
        pass


def test_many_open_it_at_the_same_moment(stores: Stores) -> None:
    faults: list[StoreFault] = []

    def use(name: str) -> None:
        try:
            with stores.open([TWO]).write() as tx:
                tx.run("INSERT INTO things (name) VALUES (?)", name)
        except StoreFault as fault:
            faults.append(fault)

    threads = [threading.Thread(target=use, args=(f"n{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(names(stores.open([TWO]))) == 8


def test_one_holds_the_lease(stores: Stores) -> None:
    one, two = stores.open([ONE]), stores.open([ONE])
    with held(one, "send") as lease:
        assert lease is not None
        with held(two, "send") as other:
            assert other is None
        assert f"process {os.getpid()}" in lease_holder(two, "send")
        with held(two, "another") as other:
            assert other is not None
        lease.renew()
    assert lease_holder(two, "send") == ""
    with held(two, "send") as other:
        assert other is not None


def expire(store: Store, owner: str, ends_in: float) -> None:
    with store.write() as tx:
        tx.run("DELETE FROM leases")
        tx.run("INSERT INTO leases VALUES ('send', ?, ?)", owner, store.clock(tx) + ends_in)


@pytest.mark.parametrize(("ends_in", "free"), [(60.0, False), (-1.0, True)])
def test_a_lease_of_another_host_ends_by_the_clock(stores: Stores, ends_in: float, free: bool) -> None:
    store = stores.open([ONE])
    with store.read():
        pass
    expire(store, "other boot/pid:[1] 77 123 abc", ends_in)
    with held(store, "send") as lease:
        assert (lease is not None) is free


def write_under(lease: Lease) -> None:
    with lease.store.write() as tx:
        tx.run("INSERT INTO things (name) VALUES ('a')")
        lease.confirm(tx)


def test_who_lost_it_writes_nothing_more(stores: Stores) -> None:
    store = stores.open([ONE])
    with held(store, "send") as lease:
        assert lease is not None
        expire(stores.open([ONE]), "other boot/pid:[1] 77 123 abc", 60.0)
        with pytest.raises(LeaseLost):
            write_under(lease)
    assert names(store) == []
    assert lease_holder(store, "send") == "process 77 on other"  # and does not give back what is not its own


HOLDER = """
import sys
from mailcommon.store import held, open_store
with held(open_store(sys.argv[1], []), "send") as lease:
    print("held" if lease else "not held", flush=True)
    sys.stdin.read()
"""


def test_the_lease_of_a_killed_process_is_free_at_once(stores: Stores) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, stores.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with held(stores.open([]), "send") as lease:
            assert lease is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with held(stores.open([]), "send") as lease:
            assert lease is not None


def test_two_ask_for_the_lease_at_once_and_one_gets_it(stores: Stores) -> None:
    barrier, leave = threading.Barrier(6), threading.Event()
    got: list[bool] = []

    def ask() -> None:
        store = stores.open([])
        with store.read():
            pass
        barrier.wait()
        with held(store, "send") as lease:
            got.append(lease is not None)
            leave.wait(10)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    barrier.wait()
    while len(got) < 5:
        pass
    leave.set()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 4 + [True]


def test_a_lease_that_could_not_be_given_back(stores: Stores) -> None:
    """The store was away when its holder, who lives on, let it go."""
    store = stores.open([])
    with held(store, "send") as lease:
        assert lease is not None
        owner = lease.owner
    with store.write() as tx:
        tx.run("INSERT INTO leases VALUES ('send', ?, ?)", owner, store.clock(tx) + 600)
    with held(store, "send") as lease:
        assert lease is not None


# Faults of SQLite


def open_sqlite(path: Path, seconds: float = 0.05) -> Store:
    return open_store(f"sqlite:{path}", [ONE], seconds)


def fault_of(store: Store) -> str:
    with pytest.raises(StoreFault) as caught, store.write() as tx:
        tx.run("INSERT INTO things (name, data) VALUES ('x', ?)", b"x" * 100_000)
    return str(caught.value)


def test_locked(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "s")
    names(store)
    other = sqlite3.connect(tmp_path / "s", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "another process has held its lock" in fault_of(store)
    other.execute("ROLLBACK")
    other.close()
    with store.write() as tx:
        tx.run("INSERT INTO things (name) VALUES ('a')")
    assert names(store) == ["a"]
    store.close()


def limit(tx: Transaction, pages: int) -> None:
    tx.all(f"PRAGMA max_page_count = {pages}")


def test_full(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "s")
    with store.write() as tx:
        limit(tx, 1)  # SQLite takes what is in use already as the least
    assert "the disk is full" in fault_of(store)
    store.close()


def test_not_a_database_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"no database at all" * 100)
    assert "move it away" in fault_of(open_sqlite(tmp_path / "s"))
    assert "the folder must be there" in fault_of(open_sqlite(tmp_path / "no" / "s"))


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "s")
    names(store)
    assert all(not path.stat().st_mode & 0o027 for path in tmp_path.iterdir())
    store.close()


def test_moved_away_and_made_anew(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "s")
    with store.write() as tx:
        tx.run("INSERT INTO things (name) VALUES ('a')")
    for path in tmp_path.iterdir():
        path.rename(tmp_path / f"old-{path.name}")
    assert names(store) == []
    store.close()


# Faults of PostgreSQL


def test_server_goes_away_and_comes_back() -> None:
    from tests.support.postgres import missing
    from tests.support.requirements import require

    require(missing())
    with PrivatePostgres() as server:
        store = open_store(server.url("restarts"), [ONE], 1.0)
        with store.write() as tx:
            tx.run("INSERT INTO things (name) VALUES ('a')")

        def interrupted() -> None:
            with store.write() as tx:
                tx.run("INSERT INTO things (name) VALUES ('lost')")
                server.halt()

        with pytest.raises(StoreFault):
            interrupted()
        assert "127.0.0.1" in fault_of(store)
        server.start()
        assert names(store) == ["a"]
        store.close()


def test_no_password_in_a_text() -> None:
    store = open_store("postgresql://me:secret@127.0.0.1:1/base", [], 0.5)
    with pytest.raises(StoreFault) as caught, store.read():
        pass
    assert "secret" not in str(caught.value)
    assert "postgresql://127.0.0.1:1/base" in str(caught.value)


@pytest.mark.parametrize("good", ["", "sqlite:/a/b", "postgresql://h/d", "postgres://u@h/d?sslmode=require"])
def test_addresses(good: str) -> None:
    from pydantic import TypeAdapter

    assert TypeAdapter(StoreAddress).validate_python(good) == good


@pytest.mark.parametrize("bad", ["sqlite:relative", "mysql://h/d", "/a/b", "sqlite:", "redis://h"])
def test_bad_addresses(bad: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    with pytest.raises(ValidationError):
        TypeAdapter(StoreAddress).validate_python(bad)
