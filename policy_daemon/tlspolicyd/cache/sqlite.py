"""Policies in an SQLite file: the store of a single host.

All work is done in one thread of its own. Each row carries a revision number, so that a daemon sees what the command
line changed (SQLite's data_version tells for nothing whether to look at all).

Diagnostics: a file that is damaged, or of another make, is set aside under the name `FILE.damaged` and begun anew;
anything else that SQLite or the file system says is a `StoreFault`, and the next call opens the file again.
Limits: five seconds of waiting for a lock that another process holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mailcommon.log import pairs
from tlspolicyd.cache.entry import Entry, restore
from tlspolicyd.cache.store import Row, Store, StoreFault
from tlspolicyd.facts import Mode

_APPLICATION = 0x67706F6C  # "gpol"
_VERSION = 1
_BATCH = 5000  # rows
_TOMBSTONE = 86_400.0  # seconds that a forgotten domain is kept for others to see
_BUSY = 5.0  # seconds

_SCHEMA = """
CREATE TABLE policies (
    domain TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    mode TEXT,              -- enforce, testing, none; NULL: forgotten
    fetched_at REAL NOT NULL,
    max_age INTEGER,
    used_at REAL,
    body BLOB,
    checksum INTEGER        -- CRC-32 of what matters of the row
) WITHOUT ROWID;
CREATE INDEX by_revision ON policies (revision);
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""
_COLUMNS = "domain, mode, fetched_at, max_age, used_at, body, checksum"

T = TypeVar("T")
_log = logging.getLogger("tlspolicyd")


class _Damaged(Exception):
    pass


class SqliteStore(Store):
    """`path` is absolute; its folder must exist. `mend`: see open_store; a command of root's creates no files."""

    lasting = True

    def __init__(self, path: str, *, mend: bool = True) -> None:
        super().__init__()
        self._mend = mend
        self.name = f"sqlite:{path}"
        self._path = Path(path)
        self._thread = ThreadPoolExecutor(1, "policies")
        self._link: sqlite3.Connection | None = None
        self._inode = 0
        self._only_read = False  # the connection is good for one load
        self._seen = 0  # the newest revision that was read or written
        self._data_version = -1

    async def load(self) -> AsyncIterator[list[Row]]:
        """See Store; a file that can be read but not written is read."""
        await self._in_thread(self._begin_load)
        while True:
            batch = await self._in_thread(self._next_batch)
            if batch is None:
                return
            yield batch

    async def write(self, rows: Sequence[Row], now: float) -> None:
        """See Store."""
        await self._in_thread(lambda: self._write(rows, now))

    async def changes(self) -> list[Row]:
        """See Store."""
        return await self._in_thread(self._changes)

    async def purge(self, now: float) -> None:
        """See Store."""
        await self._in_thread(lambda: self._purge(now))

    async def read(self, domain: str) -> Entry | None:
        """See Store."""
        return await self._in_thread(lambda: self._read(domain))

    async def close(self) -> None:
        """See Store."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop_link)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._guarded(work))

    # What follows runs in the thread.

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            try:
                return work()
            except (sqlite3.DatabaseError, _Damaged) as fault:
                if not (_is_damage(fault) and self._mend):
                    raise
                self._set_aside(fault)
                return work()
        except (sqlite3.Error, OSError, _Damaged) as fault:
            self._drop_link()
            raise StoreFault(f"{self.name}: {_text(fault)}{self._hint(fault)}") from fault

    def _hint(self, fault: Exception) -> str:
        """What a person has to mend, where SQLite says only that it cannot open or write the file."""
        if not isinstance(fault, sqlite3.OperationalError):
            return ""
        folder = self._path.parent
        if not folder.is_dir():
            return f": {folder} is not a directory" if folder.exists() else f": there is no directory {folder}"
        if self._path.is_dir():
            return ": it is a directory"
        if not self._path.exists() and not self._mend:
            return ": there is no such file, the daemon makes it when it starts"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f": the directory {folder} cannot be written to by user {os.geteuid()}"
        if self._path.exists() and not os.access(self._path, os.R_OK | os.W_OK):
            return f": the file cannot be written to by user {os.geteuid()}"
        return ""

    def _connection(self) -> sqlite3.Connection:
        if self._link is None:
            self._link = self._open(f"{self._path.as_uri()}?mode={'rwc' if self._mend else 'rw'}")
            self._inode = self._path.stat().st_ino
            self._data_version = -1
        return self._link

    def _open(self, uri: str) -> sqlite3.Connection:
        link = sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(link)
        except BaseException:
            link.close()
            raise
        return link

    def _prepare(self, link: sqlite3.Connection) -> None:
        # One damaged text must not make all rows unreadable: its row's checksum tells.
        link.text_factory = _decode
        application, version = (
            link.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (application, version) != (_APPLICATION, _VERSION):
            link.execute("BEGIN IMMEDIATE")  # another process may be about the same
            try:
                self._create(link)
            finally:
                if link.in_transaction:
                    link.execute("ROLLBACK")
        # A commit survives the death of the process; a power cut may take the last ones, and leaves the file whole.
        link.execute("PRAGMA synchronous = NORMAL")
        link.execute("PRAGMA journal_mode = WAL")
        link.execute("PRAGMA journal_size_limit = 16777216")

    def _create(self, link: sqlite3.Connection) -> None:
        application, version = (
            link.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (application, version) == (_APPLICATION, _VERSION):
            return
        if link.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _Damaged("the file is not a store of policies of this version")
        for statement in _SCHEMA.split(";\n"):
            link.execute(statement)
        link.execute(f"PRAGMA application_id = {_APPLICATION}")
        link.execute(f"PRAGMA user_version = {_VERSION}")
        link.execute("COMMIT")

    def _set_aside(self, fault: Exception) -> None:
        self._drop_link()
        aside = f"{self._path}.damaged"
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self._path}{suffix}", aside + suffix)  # noqa: PTH105 - names, not paths, are put together
        self.lost = True
        self._seen = 0
        _log.error(
            "cache: %s", pairs(event="store damaged, begun anew", store=self.name, aside=aside, error=_text(fault))
        )

    def _drop_link(self) -> None:
        if self._link is not None:
            with contextlib.suppress(sqlite3.Error):
                self._link.close()
            self._link = None
            self._only_read = False

    def _begin_load(self) -> None:
        self.damaged = 0
        try:
            link = self._connection()
        except sqlite3.OperationalError:
            if not self._path.exists():
                raise
            # A read-only file system: SQLite wants to write beside the file even to read it, unless told so.
            self._only_read = True
            link = self._link = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
            )
            link.text_factory = _decode
        # Read before the rows: what is written meanwhile then counts as a change.
        self._seen = int(link.execute("SELECT max(revision) FROM counter").fetchone()[0] or 0)
        self._cursor = link.execute(f"SELECT {_COLUMNS} FROM policies WHERE mode IS NOT NULL")  # noqa: S608 - constants

    def _next_batch(self) -> list[Row] | None:
        try:
            found = self._cursor.fetchmany(_BATCH)
        except sqlite3.DatabaseError as fault:
            if not (_is_damage(fault) and self._mend):
                raise
            self._set_aside(fault)  # what was read up to here is in memory, and is written again
            return None
        if not found:
            if self._only_read:
                self._drop_link()
            return None
        return self._rows(found)

    def _rows(self, found: list[tuple[object, ...]]) -> list[Row]:
        rows: list[Row] = []
        for domain, mode, fetched_at, max_age, used_at, body, checksum in found:
            if not (isinstance(domain, str) and domain.isascii()):
                self.damaged += 1
                continue
            if mode is None:
                rows.append((domain, None))
                continue
            entry = restore(mode, body, fetched_at, max_age, used_at)
            if entry is None or checksum != _checksum(domain, entry):
                self.damaged += 1
                if mode != Mode.ENFORCE:
                    continue
                # There is an enforce policy; what it says is lost.
                entry = restore(mode, b"", fetched_at, max_age, used_at)
                if entry is None:
                    continue
            rows.append((domain, entry))
        return rows

    def _write(self, rows: Sequence[Row], now: float) -> None:
        link = self._connection()
        link.execute("BEGIN IMMEDIATE")
        try:
            revision = link.execute("UPDATE counter SET revision = revision + 1 RETURNING revision").fetchall()[0][0]
            link.executemany(
                f"INSERT OR REPLACE INTO policies ({_COLUMNS}, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                [(*_values(domain, entry, now), revision) for domain, entry in rows],
            )
            link.execute("COMMIT")
        except BaseException:
            if link.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    link.execute("ROLLBACK")
            raise
        if self._seen == revision - 1:  # or somebody else wrote in between, and `changes` has to look
            self._seen = revision

    def _changes(self) -> list[Row]:
        if self._link is not None and not self._still_there():
            self._drop_link()
            self.lost = True
            self._seen = 0
        link = self._connection()
        data_version = link.execute("PRAGMA data_version").fetchone()[0]
        if data_version == self._data_version:
            return []
        found = link.execute(
            f"SELECT {_COLUMNS}, revision FROM policies WHERE revision > ? ORDER BY revision",  # noqa: S608 - constants
            (self._seen,),
        ).fetchall()
        self._data_version = data_version
        if found:
            self._seen = found[-1][-1]
        return self._rows([row[:-1] for row in found])

    def _still_there(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _purge(self, now: float) -> None:
        # The clock may have been wrong when it was forgotten: a time to come counts as old too.
        self._connection().execute(
            "DELETE FROM policies WHERE mode IS NULL AND NOT fetched_at BETWEEN ? AND ?", (now - _TOMBSTONE, now + 1)
        )

    def _read(self, domain: str) -> Entry | None:
        found = self._connection().execute(
            f"SELECT {_COLUMNS} FROM policies WHERE domain = ?",  # noqa: S608 - constants
            (domain,),
        )
        rows = self._rows(found.fetchall())
        return rows[0][1] if rows else None


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _values(domain: str, entry: Entry | None, now: float) -> tuple[object, ...]:
    if entry is None:
        return (domain, None, now, None, None, None, None)
    return (
        domain,
        str(entry.mode),
        entry.fetched_at,
        entry.max_age,
        entry.used_at,
        entry.body,
        _checksum(domain, entry),
    )


def _checksum(domain: str, entry: Entry) -> int:
    head = f"{domain} {entry.mode} {entry.fetched_at!r} {entry.max_age} "
    return zlib.crc32(entry.body, zlib.crc32(head.encode()))


def _is_damage(fault: Exception) -> bool:
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    return isinstance(fault, _Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _text(fault: Exception) -> str:
    name = getattr(fault, "sqlite_errorname", "")
    return f"{fault} ({name})" if name else str(fault)
