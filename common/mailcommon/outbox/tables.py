"""The outbox's tables."""

from __future__ import annotations

from mailcommon.store import Schema

SCHEMA = Schema(
    "outbox",
    (
        (
            """CREATE TABLE outbox_reports (
                id TEXT PRIMARY KEY NOT NULL,
                kind TEXT NOT NULL,
                domain TEXT NOT NULL,
                begins INTEGER NOT NULL,
                ends INTEGER NOT NULL,
                part TEXT NOT NULL,
                filename TEXT NOT NULL,
                count INTEGER NOT NULL,
                made_at REAL NOT NULL,
                bytes INTEGER NOT NULL,
                payload BLOB,                   -- NULL: done, and let go for the sake of space
                UNIQUE (kind, domain, begins, ends, part)
            )""",
            """CREATE TABLE outbox_deliveries (
                id IDENTITY,
                report TEXT NOT NULL REFERENCES outbox_reports (id),
                place INTEGER NOT NULL,
                destination TEXT NOT NULL,
                state TEXT NOT NULL,
                attempts INTEGER NOT NULL,
                next_at REAL NOT NULL,
                until REAL NOT NULL,
                token TEXT UNIQUE,              -- of the attempt under way, or the last one
                taken_at REAL,                  -- when the milter saw that attempt
                done_at REAL,
                note TEXT NOT NULL,
                UNIQUE (report, place)
            )""",
            "CREATE INDEX outbox_due ON outbox_deliveries (next_at) WHERE state IN ('waiting', 'handing')",
            "CREATE TABLE outbox_identity (place INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL)",
            """CREATE TABLE outbox_destinations (
                destination TEXT PRIMARY KEY NOT NULL,
                failures INTEGER NOT NULL,      -- in a row
                failed_at REAL NOT NULL,
                rest_until REAL NOT NULL,
                note TEXT NOT NULL
            )""",
        ),
    ),
)
