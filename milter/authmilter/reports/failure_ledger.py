"""Failures in the store until they are reported: those that are alike are one row with a number of incidents.

Diagnostics: `StoreFault`. Limits: the newest `MAX_ROWS` different ones.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from authmilter.reports.failure import Failure
from mailcommon.store import Schema, Store, Transaction

MAX_ROWS = 10_000

SCHEMA = Schema(
    "dmarc_failures",
    (
        (
            """CREATE TABLE dmarc_failures (
                id IDENTITY,
                alike BLOB UNIQUE NOT NULL,
                domain TEXT NOT NULL,
                at REAL NOT NULL,               -- of the first one
                incidents INTEGER NOT NULL,
                facts TEXT NOT NULL
            )""",
            "CREATE TABLE dmarc_redaction (place INTEGER PRIMARY KEY NOT NULL, secret BLOB NOT NULL)",
        ),
    ),
)


class Kept(NamedTuple):
    """One row."""

    id: int
    at: float  # seconds since 1970
    incidents: int
    failure: Failure


def note(store: Store, found: Iterable[tuple[Failure, int]], now: float) -> None:
    """Add failures, each with its number of incidents."""
    rows = sorted(
        (
            hashlib.blake2b("\0".join(failure.alike).encode("utf-8", "replace"), digest_size=16).digest(),
            failure.policy_domain,
            now,
            incidents,
            json.dumps(failure),
        )
        for failure, incidents in found
    )
    with store.write() as tx:
        tx.many(
            "INSERT INTO dmarc_failures (alike, domain, at, incidents, facts) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (alike) DO UPDATE SET incidents = dmarc_failures.incidents + excluded.incidents",
            rows,
        )


def kept(store: Store) -> list[Kept]:
    """All of them, the oldest first."""
    with store.read() as tx:
        rows = tx.all("SELECT id, at, incidents, facts FROM dmarc_failures ORDER BY id LIMIT ?", MAX_ROWS)
    return [Kept(int(row), float(at), int(incidents), _failure(facts)) for row, at, incidents, facts in rows]


def forget(tx: Transaction, row: Kept) -> bool:
    """A row is in a report now; False if there were more incidents meanwhile, which stay for another report."""
    if tx.run("DELETE FROM dmarc_failures WHERE id = ? AND incidents = ?", row.id, row.incidents):
        return True
    tx.run("UPDATE dmarc_failures SET incidents = incidents - ? WHERE id = ?", row.incidents, row.id)
    return False


def tidy(store: Store, before: float) -> int:
    """Delete what is older, and what is more than the limit; gives the number of incidents that nobody hears of."""
    with store.write() as tx:
        old = "at < ? OR id <= (SELECT max(id) FROM dmarc_failures) - ?"
        lost = tx.one(f"SELECT coalesce(sum(incidents), 0) FROM dmarc_failures WHERE {old}", before, MAX_ROWS)  # noqa: S608
        tx.run(f"DELETE FROM dmarc_failures WHERE {old}", before, MAX_ROWS)  # noqa: S608 - constants
    return int(lost[0]) if lost else 0


def secret(store: Store) -> bytes:
    """The key of the redaction: one for all hosts of the store, made when it is first needed."""
    with store.write() as tx:
        tx.run(
            "INSERT INTO dmarc_redaction (place, secret) VALUES (1, ?) ON CONFLICT (place) DO NOTHING",
            secrets.token_bytes(32),
        )
        row = tx.one("SELECT secret FROM dmarc_redaction")
    assert row
    return bytes(row[0])


def _failure(text: str) -> Failure:
    failure = Failure(*json.loads(text))
    return failure._replace(ruf=tuple(failure.ruf))
