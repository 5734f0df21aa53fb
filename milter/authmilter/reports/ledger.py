"""Rows in the store until they are reported: a number of messages for each day, policy and set of facts.

Workers only append: a batch is one row, so that counting costs them next to nothing. `absorb` adds the batches up, when
reports are made or looked at. A batch has a name of its own and counts once, however often it is written: when a server
goes away in the middle of a commit nobody knows what became of it.

Days are UTC days since 1970, so that neither time zones nor leap days matter. Diagnostics: `StoreFault`.
Limits: `absorb` holds some 20,000 rows in memory.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from authmilter.reports.observation import PublishedFacts, RowFacts, Signature, Spf
from mailcommon.store import Schema, Store, Transaction

DAY = 86_400
_NAMES_KEPT = 3600.0  # seconds that the name of a batch is known; one that failed is tried again within seconds
_ABSORBED_ROWS = 20_000  # of one transaction
_ABSORBED_BATCHES = 500

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
            ) WITHOUT ROWID""",
            """CREATE TABLE dmarc_batches (
                id IDENTITY,
                name TEXT UNIQUE NOT NULL,
                at REAL NOT NULL,
                size INTEGER NOT NULL,          -- rows
                absorbed INTEGER NOT NULL,      -- 1: the rows are in dmarc_rows
                content BLOB
            )""",
            "CREATE INDEX dmarc_batches_new ON dmarc_batches (id) WHERE absorbed = 0",
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
    """Append one batch; nothing happens if one of that name is there already."""
    rows = [(day, *_packed_policy(published), _encode(row), count) for (day, published, row), count in counts.items()]
    policies = {policy: facts for _, policy, facts, _, _ in rows}
    content = [list(policies.items()), [(day, policy, row, count) for day, policy, _, row, count in rows]]
    with store.write() as tx:
        tx.run(
            "INSERT INTO dmarc_batches (name, at, size, absorbed, content) VALUES (?, ?, ?, 0, ?)"
            " ON CONFLICT (name) DO NOTHING",
            name,
            now,
            len(rows),
            zlib.compress(_encode(content).encode(), 1),
        )


def absorb(store: Store) -> None:
    """Add up all batches that there are."""
    more = True
    while more:
        with store.write() as tx:
            more = _absorb_some(tx)


def _absorb_some(tx: Transaction) -> bool:
    policies: dict[bytes, str] = {}
    counts: dict[tuple[int, bytes, bytes, str], int] = {}
    wait_turn(tx)
    for batch in _claim(tx):
        _add(batch, policies, counts)
    tx.many(
        "INSERT INTO dmarc_policies (policy, facts) VALUES (?, ?) ON CONFLICT (policy) DO NOTHING",
        policies.items(),
    )
    tx.many(
        "INSERT INTO dmarc_rows (day, policy, facts_key, facts, count) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (day, policy, facts_key) DO UPDATE SET count = dmarc_rows.count + excluded.count",
        ((*key, count) for key, count in counts.items()),
    )
    return bool(counts)


def _claim(tx: Transaction) -> Iterator[bytes]:
    """Batches that are ours from now on, emptied."""
    found = tx.all(
        "SELECT id, size, content FROM dmarc_batches WHERE absorbed = 0 ORDER BY id LIMIT ?",
        _ABSORBED_BATCHES,
    )
    rows = 0
    for batch, size, content in found:
        tx.run("UPDATE dmarc_batches SET absorbed = 1, content = NULL WHERE id = ?", batch)
        yield bytes(content)
        rows += int(size)
        if rows >= _ABSORBED_ROWS:
            return


def _add(batch: bytes, policies: dict[bytes, str], counts: dict[tuple[int, bytes, bytes, str], int]) -> None:
    of_policy, rows = json.loads(zlib.decompress(batch))
    policies.update((bytes.fromhex(policy), facts) for policy, facts in of_policy)
    for day, policy, row, count in rows:
        key = (day, bytes.fromhex(policy), _digest(row), row)
        counts[key] = counts.get(key, 0) + count


def wait_turn(tx: Transaction) -> None:
    """One transaction at a time goes on from here, for whoever adds to the rows, deletes some or tidies up.

    In PostgreSQL a statement sees what others have committed since the one before: rows that are added after they were
    read for a report would be deleted with it, and policies with rows that come at that moment.
    """
    # counts as a change of a row that is always there
    tx.run("UPDATE schema_versions SET version = version WHERE name = ?", SCHEMA.name)


def pending(store: Store, today: int) -> list[Pending]:
    """What is to be reported of what has been absorbed: everything of days that are over, the oldest first."""
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
    """The rows of one report are in a report now. They were read after `wait_turn`, in the same transaction."""
    tx.run("DELETE FROM dmarc_rows WHERE day = ? AND policy = ?", what.day, what.policy)


def tidy(store: Store, now: float, keep_days: int) -> int:
    """Delete what is too old to be reported, and what nothing refers to; gives the number of messages lost by it.

    Rows of days that lie ahead come from a clock that was wrong: they count as today's.
    """
    today = day_of(now)
    with store.write() as tx:
        wait_turn(tx)
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
        tx.run(
            "DELETE FROM dmarc_batches WHERE absorbed = 1 AND NOT at BETWEEN ? AND ?",
            now - _NAMES_KEPT,
            now + _NAMES_KEPT,
        )
        # one pass over the rows: they have no index that begins with the policy
        tx.run("DELETE FROM dmarc_policies WHERE policy NOT IN (SELECT policy FROM dmarc_rows)")
    return int(lost[0]) if lost else 0


def totals(store: Store) -> Iterable[tuple[int, PublishedFacts, int, int]]:
    """What has been absorbed: day, policy, rows, messages."""
    with store.read() as tx:
        found = tx.all(
            "SELECT day, policy, count(*), sum(count) FROM dmarc_rows GROUP BY day, policy ORDER BY day, policy"
        )
        return [
            (int(day), published(tx, bytes(policy)), int(number), int(count)) for day, policy, number, count in found
        ]


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


@functools.lru_cache(maxsize=2048)
def _packed_policy(published: PublishedFacts) -> tuple[str, str]:
    """The key in hexadecimal digits, and the text."""
    text = _encode(published)
    return _digest(text).hex(), text


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


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
