"""One small SQL store over SQLite (one host) and PostgreSQL (several).

    store = open_store("sqlite:/var/lib/x/reports.db", [SCHEMA, ...])   # or "postgresql://user@host/base"
    with store.write() as tx:                    # all of it or nothing; commits at the end
        tx.run("INSERT INTO seen (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = seen.n + 1", name, 1)
        tx.many("INSERT INTO rows (a) VALUES (?)", [(1,), (2,)])
    with store.read() as tx:
        tx.one("SELECT n FROM seen WHERE name = ?", name)      # a tuple or None
        tx.all("SELECT name FROM seen")                        # a list of tuples
        for row in tx.stream("SELECT a FROM rows"): ...        # without all of them in memory

A `Schema` has a name and its versions, oldest first; each version is a tuple of statements that leads from the one
before it. Several schemas may live in one store. The first transaction brings the store up to date.

SQL is what both understand: `?` for values, `ON CONFLICT`, `RETURNING`. In schemas write INTEGER (64 bits), REAL, TEXT,
BLOB, and `IDENTITY` for a number that the store chooses and that is the primary key; `WITHOUT ROWID` is SQLite's alone.

Opening does no I/O; the first transaction connects, and one after a failure connects anew. A `Store` belongs to one
process (open it after a fork); its threads may share it, and take turns.

`held(store, "send")` is the lock by which one of several processes or hosts does a job: see `lease`.

Diagnostics: `StoreFault` for all that the database, the network or the disk can do; its text is for people and holds no
password. When `write()` raises at its end, the changes may have been made all the same if the connection broke at
that moment (PostgreSQL only): give rows a key of your own, so that a second try does no harm.
Limits: `seconds` of waiting for a lock, a connection, a statement's answer.
"""

from mailcommon.store.lease import Lease, LeaseLost, held, lease_holder
from mailcommon.store.opening import StoreAddress, open_store
from mailcommon.store.store import Row, Schema, Store, StoreFault, Transaction

__all__ = [
    "Lease",
    "LeaseLost",
    "Row",
    "Schema",
    "Store",
    "StoreAddress",
    "StoreFault",
    "Transaction",
    "held",
    "lease_holder",
    "open_store",
]
