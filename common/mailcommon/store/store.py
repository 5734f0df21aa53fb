"""What both kinds of store are: transactions over statements, and schemas with versions."""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Row = tuple[Any, ...]


class StoreFault(Exception):
    """The store cannot do it; the text says which store, what happened and what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables that belong together. `versions[n]` are the statements that make version n + 1 out of version n."""

    name: str
    versions: tuple[tuple[str, ...], ...]


class Transaction(abc.ABC):
    """Statements of one transaction. `?` stands for a value."""

    @abc.abstractmethod
    def run(self, sql: str, *values: object) -> int:
        """Carry out one statement; gives the number of rows that it changed."""

    @abc.abstractmethod
    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Carry out one statement for each of `rows`."""

    @abc.abstractmethod
    def all(self, sql: str, *values: object) -> list[Row]:
        """All rows that the statement gives."""

    @abc.abstractmethod
    def stream(self, sql: str, *values: object) -> Generator[Row, None, None]:
        """The rows one by one; to be used up before the next statement of a transaction that writes."""

    def one(self, sql: str, *values: object) -> Row | None:
        """The first row, None if there is none."""
        return next(iter(self.all(sql, *values)), None)


_VERSIONS = "CREATE TABLE IF NOT EXISTS schema_versions (name TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL)"


class Store(abc.ABC):
    """See the package for how to use it."""

    name: str  # for people: no password in it

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = schemas
        self._turn = threading.RLock()
        self._ready = False
        self._busy = False

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that may change something; after a StoreFault nothing is changed (but see the package)."""
        with self._alone(), self._transaction(writing=True) as tx:
            yield tx

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that sees one state of the store and changes nothing."""
        with self._alone(), self._transaction(writing=False) as tx:
            yield tx

    def reach(self) -> None:
        """Raise StoreFault if it does not answer. No table is made or changed."""
        with self._turn, self._transaction(writing=False) as tx:
            tx.one("SELECT 1")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._turn:
            assert not self._busy, "a transaction within a transaction of the same store"
            self._busy = True
            try:
                self._prepare()
                yield
            finally:
                self._busy = False

    @abc.abstractmethod
    def _transaction(self, *, writing: bool) -> contextlib.AbstractContextManager[Transaction]: ...

    @abc.abstractmethod
    def _statement(self, text: str) -> str:
        """A schema's statement as this kind of store wants it."""

    @abc.abstractmethod
    def _lock_schema(self, tx: Transaction) -> None:
        """Nobody else changes the schema until the transaction ends."""

    @abc.abstractmethod
    def clock(self, tx: Transaction) -> float:
        """Seconds since 1970, by a clock that all who use the store share."""

    @abc.abstractmethod
    def size(self) -> int:
        """Bytes in use; raises StoreFault."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the connection; the next transaction makes a new one."""

    def _forget_if_gone(self) -> None:  # noqa: B027 - a server does not move away
        """Close the connection if what it leads to is no longer what has the name."""

    def _prepare(self) -> None:
        self._forget_if_gone()
        if self._ready:
            return
        with self._transaction(writing=True) as tx:
            self._lock_schema(tx)
            tx.run(self._statement(_VERSIONS))
            for schema in self._schemas:
                self._bring_up_to_date(tx, schema)
        self._ready = True

    def _bring_up_to_date(self, tx: Transaction, schema: Schema) -> None:
        row = tx.one("SELECT version FROM schema_versions WHERE name = ?", schema.name)
        version, wanted = (int(row[0]) if row else 0), len(schema.versions)
        if version > wanted:
            raise StoreFault(
                f"{self.name}: its tables {schema.name} have version {version}, this program knows {wanted}: "
                "a newer gatepost has used it; install that one here too"
            )
        for statements in schema.versions[version:]:
            for statement in statements:
                tx.run(self._statement(statement))
        if version < wanted:
            tx.run(
                "INSERT INTO schema_versions (name, version) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                schema.name,
                wanted,
            )
