"""Rows in the store until they are reported: a number of messages for each day, policy and set of facts.

Several workers and hosts add to the same rows. A batch has a name of its own and counts once, however often it is
written: when a server goes away in the middle of a commit nobody knows what became of it.

Days are UTC days since 1970, so that neither time zones nor leap days matter. Diagnostics: `StoreFault`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from authmilter.reports.observation import PublishedFacts, RowFacts, Signature, Spf
from mailcommon.store import Schema, Store, Transaction

DAY = 86_400
_BATCHES_KEPT = 2 * DAY  # seconds; a batch is tried again within minutes

SCHEMA = Schema(
    "dmarc",
    (
        (
            "CREATE TABLE dmarc_policies (policy BLOB PRIMARY KEY NOT NULL, facts TEXT NOT NULL)",
            """CREATE TABLE dmarc_rows (
                day INTEGER NOT NULL,
                policy BLOB NOT NULL,
                facts_key BLOB NOT NULL,
                facts TEXT NOT NULL,
                count INTEGER NOT NULL,
                PRIMARY KEY (day, policy, facts_key)
            )""",
            "CREATE TABLE dmarc_batches (name TEXT PRIMARY KEY NOT NULL, at REAL NOT NULL)",
        ),
    ),
)


class Key(NamedTuple):
    """What is counted together."""

    day: int
    published: PublishedFacts
    row: RowFacts


class Pending(NamedTuple):
    """One report that is to be made."""

    day: int
    policy: bytes


def day_of(now: float) -> int:
    """The UTC day of a time in seconds since 1970."""
    return int(now // DAY)


def write(store: Store, name: str, counts: Mapping[Key, int], now: float) -> None:
    """Add one batch; nothing happens if one of that name is there already."""
    policies: dict[PublishedFacts, tuple[bytes, str]] = {}
    rows = []
    for (day, published, row), count in counts.items():
        if published not in policies:
            policies[published] = _packed(published)
        key, text = _packed(row)
        rows.append((day, policies[published][0], key, text, count))
    # always in one order: sessions that lock the same rows in different orders would wait for each other
    rows.sort()
    with store.write() as tx:
        if not tx.run("INSERT INTO dmarc_batches (name, at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, now):
            return
        tx.many(
            "INSERT INTO dmarc_policies (policy, facts) VALUES (?, ?) ON CONFLICT (policy) DO NOTHING",
            sorted(policies.values()),
        )
        tx.many(
            "INSERT INTO dmarc_rows (day, policy, facts_key, facts, count) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (day, policy, facts_key) DO UPDATE SET count = dmarc_rows.count + excluded.count",
            rows,
        )


def pending(store: Store, today: int) -> list[Pending]:
    """What is to be reported: everything of days that are over, the oldest first."""
    with store.read() as tx:
        found = tx.all("SELECT DISTINCT day, policy FROM dmarc_rows WHERE day < ? ORDER BY day, policy", today)
    return [Pending(int(day), bytes(policy)) for day, policy in found]


def published(tx: Transaction, policy: bytes) -> PublishedFacts:
    """The policy with that key; raises KeyError."""
    found = tx.one("SELECT facts FROM dmarc_policies WHERE policy = ?", policy)
    if found is None:
        raise KeyError(policy)
    facts = PublishedFacts(*json.loads(found[0]))
    return facts._replace(rua=tuple(facts.rua))


def rows(tx: Transaction, what: Pending) -> Iterator[tuple[RowFacts, int]]:
    """The rows of one report, never all of them in memory."""
    for facts, count in tx.stream(
        "SELECT facts, count FROM dmarc_rows WHERE day = ? AND policy = ? ORDER BY facts_key", what.day, what.policy
    ):
        yield _unpacked(facts), int(count)


def forget(tx: Transaction, what: Pending) -> None:
    """The rows of one report are in a report now."""
    tx.run("DELETE FROM dmarc_rows WHERE day = ? AND policy = ?", what.day, what.policy)


def tidy(store: Store, now: float, keep_days: int) -> int:
    """Delete what is too old to be reported, and what nothing refers to; gives the number of messages lost by it.

    Rows of days that lie ahead come from a clock that was wrong: they count as today's.
    """
    today = day_of(now)
    with store.write() as tx:
        tx.run(
            "INSERT INTO dmarc_rows (day, policy, facts_key, facts, count)"
            " SELECT ?, policy, facts_key, min(facts), sum(count) FROM dmarc_rows WHERE day > ?"
            " GROUP BY policy, facts_key"
            " ON CONFLICT (day, policy, facts_key) DO UPDATE SET count = dmarc_rows.count + excluded.count",
            today,
            today + 1,
        )
        tx.run("DELETE FROM dmarc_rows WHERE day > ?", today + 1)
        lost = tx.one("SELECT coalesce(sum(count), 0) FROM dmarc_rows WHERE day < ?", today - keep_days)
        tx.run("DELETE FROM dmarc_rows WHERE day < ?", today - keep_days)
        tx.run("DELETE FROM dmarc_batches WHERE at < ? OR at > ?", now - _BATCHES_KEPT, now + _BATCHES_KEPT)
        tx.run(
            "DELETE FROM dmarc_policies WHERE NOT EXISTS"
            " (SELECT 1 FROM dmarc_rows r WHERE r.policy = dmarc_policies.policy)"
        )
    return int(lost[0]) if lost else 0


def totals(store: Store) -> Iterable[tuple[int, PublishedFacts, int, int]]:
    """What is kept: day, policy, rows, messages."""
    with store.read() as tx:
        found = tx.all(
            "SELECT day, policy, count(*), sum(count) FROM dmarc_rows GROUP BY day, policy ORDER BY day, policy"
        )
        return [
            (int(day), published(tx, bytes(policy)), int(number), int(count)) for day, policy, number, count in found
        ]


def _packed(facts: PublishedFacts | RowFacts) -> tuple[bytes, str]:
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=12).digest(), text


def _unpacked(text: str) -> RowFacts:
    ip, disposition, dkim, spf, reasons, header_from, envelope_from, signatures, checked = json.loads(text)
    return RowFacts(
        ip,
        disposition,
        dkim,
        spf,
        tuple((kind, comment) for kind, comment in reasons),
        header_from,
        envelope_from,
        tuple(Signature(*each) for each in signatures),
        Spf(*checked) if checked else None,
    )
