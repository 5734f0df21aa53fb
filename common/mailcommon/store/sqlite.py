"""The store in an SQLite file: one host, any number of processes on it.

Every commit is on the disk when it returns (synchronous = FULL): what was handed to Postfix must not be forgotten in a
power cut. Limits: `seconds` of waiting for the lock of another process.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from mailcommon.store.store import Row, Schema, Store, StoreFault, Transaction

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process has held its lock for too long",
    sqlite3.SQLITE_LOCKED: "another process has held its lock for too long",
    sqlite3.SQLITE_READONLY: "this user may not write to it; the folder must be writable too",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: the folder must be there and this user must be able to write to it",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it away and a new one is made",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; move it away and a new one is made",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written, or is full",
}


class SqliteStore(Store):
    """`path` is absolute; its folder must exist. `create`: make the file if it is not there."""

    def __init__(self, path: str, schemas: Sequence[Schema], seconds: float = 5.0, *, create: bool = True) -> None:
        super().__init__(schemas)
        self.name = f"sqlite:{path}"
        self._path = Path(path)
        self._seconds = seconds
        self._create = create
        self._link: sqlite3.Connection | None = None
        self._inode = 0

    @contextlib.contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[Transaction]:
        try:
            link = self._connection()
            # IMMEDIATE: a lock that cannot be had is waited for here, not found out at the first change
            link.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            try:
                yield _SqliteTransaction(link)
                link.execute("COMMIT")
            except BaseException:
                if link.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        link.execute("ROLLBACK")
                raise
        except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as fault:
            if isinstance(fault, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
                raise
            self.close()
            raise StoreFault(f"{self.name}: {_text(fault)}") from fault

    def _connection(self) -> sqlite3.Connection:
        if self._link is None:
            if self._create:
                # who got mail from whom is nobody else's business; what is wrong with the place SQLite says itself
                with contextlib.suppress(OSError):
                    os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
            elif self._path.parent.is_dir() and not self._path.exists():
                raise StoreFault(f"{self.name}: it is not there; the daemon makes it when it starts")
            link = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw",
                uri=True,
                timeout=self._seconds,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                link.execute("PRAGMA journal_mode = WAL")
                link.execute("PRAGMA synchronous = FULL")
                link.execute("PRAGMA foreign_keys = ON")
                link.execute("PRAGMA journal_size_limit = 16777216")
                link.execute("PRAGMA cache_size = -8192")  # KiB
            except BaseException:
                link.close()
                raise
            self._link = link
            self._inode = self._path.stat().st_ino
        return self._link

    def _forget_if_gone(self) -> None:
        """Somebody may have moved the file away: then a new one is made."""
        if self._link is not None:
            try:
                same = self._path.stat().st_ino == self._inode
            except OSError:
                same = False
            if not same:
                self.close()

    def _statement(self, text: str) -> str:
        return re.sub(r"\bIDENTITY\b", "INTEGER PRIMARY KEY AUTOINCREMENT", text)

    def _lock_schema(self, tx: Transaction) -> None:
        """BEGIN IMMEDIATE has done it."""

    def clock(self, tx: Transaction) -> float:  # noqa: ARG002 - part of the interface
        """This host's clock."""
        return time.time()

    def size(self) -> int:
        """The pages in use; what was deleted leaves free ones in the file, which are used first."""
        with self.read() as tx:
            pages, free, size = (tx.one(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
        return (pages[0] - free[0]) * size[0] if pages and free and size else 0

    def close(self) -> None:
        """See Store."""
        link, self._link, self._ready = self._link, None, False
        if link is not None:
            with contextlib.suppress(sqlite3.Error):
                link.close()


class _SqliteTransaction(Transaction):
    def __init__(self, link: sqlite3.Connection) -> None:
        self._link = link

    def run(self, sql: str, *values: object) -> int:
        return self._link.execute(sql, values).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        self._link.executemany(sql, rows)

    def all(self, sql: str, *values: object) -> list[Row]:
        return self._link.execute(sql, values).fetchall()

    def stream(self, sql: str, *values: object) -> Generator[Row, None, None]:
        yield from self._link.execute(sql, values)


def _text(fault: Exception) -> str:
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    advice = _ADVICE.get(code)
    return f"{advice} ({fault})" if advice else str(fault)
