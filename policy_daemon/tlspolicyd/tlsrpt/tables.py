"""The counts in the store: written by the daemons of all hosts, read by the one that sends reports.

Diagnostics: `StoreFault`.
Limits: what is read of one domain and day is bounded as `report` bounds it; rows that nobody made a report of are
deleted after `prune`'s time.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mailcommon.store import Schema, Store, Transaction
from tlspolicyd.tlsrpt.counts import Count, Row
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result

SCHEMA = Schema(
    "tlsrpt",
    (
        (
            """CREATE TABLE tls_policies (
                day TEXT NOT NULL,              -- 2026-11-27, UTC
                domain TEXT NOT NULL,
                policy TEXT NOT NULL,           -- digest of body
                body TEXT NOT NULL,
                record TEXT NOT NULL,           -- the TLSRPT record as a sender saw it last
                successes INTEGER NOT NULL,
                failures INTEGER NOT NULL,
                PRIMARY KEY (day, domain, policy)
            )""",
            """CREATE TABLE tls_failures (
                day TEXT NOT NULL,
                domain TEXT NOT NULL,
                policy TEXT NOT NULL,
                failure TEXT NOT NULL,          -- digest of body
                body TEXT NOT NULL,
                sessions INTEGER NOT NULL,
                PRIMARY KEY (day, domain, policy, failure)
            )""",
            """CREATE TABLE tls_writers (
                writer TEXT PRIMARY KEY NOT NULL,
                batch INTEGER NOT NULL,         -- the last one of this writer
                written_at REAL NOT NULL
            )""",
            """CREATE TABLE tls_positions (
                host TEXT NOT NULL,
                source TEXT NOT NULL,
                position TEXT NOT NULL,         -- how far this host has read its log
                PRIMARY KEY (host, source)
            )""",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one writer writes at a time; written again after a doubtful failure, it counts once."""

    writer: str
    number: int  # grows
    rows: tuple[Row, ...]
    positions: tuple[tuple[str, str, str], ...] = ()  # host, source, position


def write(store: Store, batch: Batch, now: float) -> None:
    """Add the counts of a batch to the store's; raises StoreFault."""
    with store.write() as tx:
        # The answer to a commit may be lost with the connection: then the batch is there, and comes again.
        if not tx.run(
            "INSERT INTO tls_writers (writer, batch, written_at) VALUES (?, ?, ?) ON CONFLICT (writer) DO UPDATE"
            " SET batch = excluded.batch, written_at = excluded.written_at WHERE tls_writers.batch < excluded.batch",
            batch.writer,
            batch.number,
            now,
        ):
            return
        policies, failures = _values(batch.rows)
        tx.many(
            "INSERT INTO tls_policies (day, domain, policy, body, record, successes, failures)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, domain, policy) DO UPDATE SET"
            " record = CASE WHEN excluded.record = '' THEN tls_policies.record ELSE excluded.record END,"
            " successes = tls_policies.successes + excluded.successes,"
            " failures = tls_policies.failures + excluded.failures",
            policies,
        )
        tx.many(
            "INSERT INTO tls_failures (day, domain, policy, failure, body, sessions) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (day, domain, policy, failure) DO UPDATE"
            " SET sessions = tls_failures.sessions + excluded.sessions",
            failures,
        )
        tx.many(
            "INSERT INTO tls_positions (host, source, position) VALUES (?, ?, ?)"
            " ON CONFLICT (host, source) DO UPDATE SET position = excluded.position",
            batch.positions,
        )


def _values(rows: Iterable[Row]) -> tuple[list[Sequence[object]], list[Sequence[object]]]:
    """The rows of both tables, each in the order of its key: two writers never wait for each other in a circle."""
    policies: list[Sequence[object]] = []
    failures: list[Sequence[object]] = []
    for row in rows:
        body = _policy_text(row.policy)
        digest = _digest(body)
        key = (row.day.isoformat(), row.domain, digest)
        policies.append((*key, body, row.record, row.count.successes, row.count.failures))
        for failure, sessions in row.count.details.items():
            text = _failure_text(failure)
            failures.append((*key, _digest(text), text, sessions))
    return sorted(policies), sorted(failures)  # type: ignore[type-var] # the keys are texts and settle the order


def position(store: Store, host: str, source: str) -> str:
    """How far `host` had read `source`, "" if it never did."""
    with store.read() as tx:
        row = tx.one("SELECT position FROM tls_positions WHERE host = ? AND source = ?", host, source)
    return str(row[0]) if row else ""


@dataclass(frozen=True, slots=True)
class Pending:
    """What is counted of a domain and day, and not yet reported."""

    day: datetime.date
    domain: str
    sessions: int
    failures: int
    record: str  # as a sender saw it last, "" if none did


def pending(store: Store, before: datetime.date) -> list[Pending]:
    """All of the days before `before`, the oldest first."""
    with store.read() as tx:
        rows = tx.all(
            "SELECT day, domain, sum(successes) + sum(failures), sum(failures), max(record) FROM tls_policies"
            " WHERE day < ? GROUP BY day, domain ORDER BY day, domain",
            before.isoformat(),
        )
    return [
        Pending(datetime.date.fromisoformat(day), domain, int(sessions), int(failures), record)
        for day, domain, sessions, failures, record in rows
    ]


def rows_of(tx: Transaction, day: datetime.date, domain: str) -> list[Row]:
    """The counts of one domain and day."""
    key = (day.isoformat(), domain)
    details: dict[str, dict[Failure, int]] = {}
    for policy, body, sessions in tx.all(
        "SELECT policy, body, sessions FROM tls_failures WHERE day = ? AND domain = ?", *key
    ):
        told = details.setdefault(policy, {})
        failure = _failure(body)
        told[failure] = told.get(failure, 0) + int(sessions)
    found = tx.all(
        "SELECT policy, body, record, successes, failures FROM tls_policies WHERE day = ? AND domain = ?"
        " ORDER BY policy",
        *key,
    )
    return [
        Row(day, domain, _policy(body), Count(int(successes), int(failures), details.get(policy, {})), record)
        for policy, body, record, successes, failures in found
    ]


def forget(tx: Transaction, day: datetime.date, domain: str) -> None:
    """Delete the counts of one domain and day: they are in a report now, or nobody wants one."""
    for table in ("tls_failures", "tls_policies"):
        tx.run(f"DELETE FROM {table} WHERE day = ? AND domain = ?", day.isoformat(), domain)  # noqa: S608 - constants


def prune(store: Store, before: datetime.date, writers_before: float) -> int:
    """Delete the counts of days before `before`, of which nobody made reports; gives how many policies there were."""
    with store.write() as tx:
        tx.run("DELETE FROM tls_failures WHERE day < ?", before.isoformat())
        gone = tx.run("DELETE FROM tls_policies WHERE day < ?", before.isoformat())
        tx.run("DELETE FROM tls_writers WHERE written_at < ?", writers_before)
    return gone


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _policy_text(policy: AppliedPolicy) -> str:
    return json.dumps([str(policy.type), policy.domain, policy.strings, policy.mx])


def _policy(text: str) -> AppliedPolicy:
    kind, domain, strings, mx = json.loads(text)
    return AppliedPolicy(PolicyType(kind), domain, tuple(strings), tuple(mx))


def _failure_text(failure: Failure) -> str:
    return json.dumps(
        [str(failure.result), failure.sending_ip, failure.mx, failure.helo, failure.ip, failure.info, failure.reason]
    )


def _failure(text: str) -> Failure:
    result, *rest = json.loads(text)
    texts: list[Any] = rest
    return Failure(Result(result), *texts)
