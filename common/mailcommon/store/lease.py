"""The lock by which one of several processes or hosts does a job, for both kinds of store.

    with held(store, "send") as lease:
        if lease is None: ...        # another has it: lease_holder(store, "send") says who
        lease.renew()                # at least every `seconds`; raises LeaseLost if another has taken it
        lease.confirm(tx)            # the same inside a transaction, so that what it writes counts only if still ours

It is a row with an owner and an end. Who dies without giving it back loses it: at once for others on the same host,
who see that the process is gone, and after `seconds` for other hosts. On one host the end is not looked at, so that a
clock that jumps takes it from nobody who lives.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailcommon.store.store import Schema, Store, StoreFault, Transaction

LEASES = Schema(
    "leases",
    (("CREATE TABLE leases (name TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, ends_at REAL NOT NULL)",),),
)


_held: set[str] = set()  # owners of this process that have not given their lease back


class LeaseLost(Exception):
    """Another has the lease: stop what is done under it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was had when this was made."""

    store: Store
    name: str
    owner: str
    seconds: float

    def renew(self) -> None:
        """Hold it for `seconds` from now; raises LeaseLost, StoreFault."""
        with self.store.write() as tx:
            self.confirm(tx)

    def confirm(self, tx: Transaction) -> None:
        """Renew it as part of `tx`; raises LeaseLost, which undoes the transaction."""
        end = self.store.clock(tx) + self.seconds
        if not tx.run("UPDATE leases SET ends_at = ? WHERE name = ? AND owner = ?", end, self.name, self.owner):
            raise LeaseLost(f"{self.store.name}: another process has taken the lease {self.name}")


@contextlib.contextmanager
def held(store: Store, name: str, seconds: float = 600.0) -> Iterator[Lease | None]:
    """Hold the lease `name`; gives None at once if another does. Raises StoreFault."""
    me = _Process.this()
    lease = Lease(store, name, f"{me.text} {secrets.token_hex(8)}", seconds)
    _held.add(lease.owner)
    if not _take(lease):
        _held.discard(lease.owner)
        yield None
        return
    try:
        yield lease
    finally:
        _held.discard(lease.owner)
        with contextlib.suppress(StoreFault), store.write() as tx:
            tx.run("DELETE FROM leases WHERE name = ? AND owner = ?", name, lease.owner)


def lease_holder(store: Store, name: str) -> str:
    """Who has the lease, for people; "" if nobody has."""
    with store.read() as tx:
        row = tx.one("SELECT owner FROM leases WHERE name = ?", name)
    if row is None:
        return ""
    holder = _Process.read(str(row[0]))
    return f"process {holder.pid} on {holder.host}" if holder else str(row[0])


def _take(lease: Lease) -> bool:
    with lease.store.write() as tx:
        now = lease.store.clock(tx)
        tx.run("INSERT INTO leases (name, owner, ends_at) VALUES (?, '', 0) ON CONFLICT (name) DO NOTHING", lease.name)
        # counts as a change of the row, so that PostgreSQL lets one at a time go on from here
        tx.run("UPDATE leases SET ends_at = ends_at WHERE name = ?", lease.name)
        row = tx.one("SELECT owner, ends_at FROM leases WHERE name = ?", lease.name)
        assert row
        holder = _Process.read(str(row[0]))
        if holder and holder == _Process.this():
            free = row[0] not in _held  # the store was away when it was to be given back
        else:
            free = not holder.lives if holder and holder.is_here else float(row[1]) <= now
        if free:
            tx.run(
                "UPDATE leases SET owner = ?, ends_at = ? WHERE name = ?", lease.owner, now + lease.seconds, lease.name
            )
        return free


@dataclass(frozen=True, slots=True)
class _Process:
    """A process of some host, so described that no other is ever taken for it."""

    host: str
    kernel: str  # this boot and this pid namespace
    pid: int
    started: str

    @classmethod
    def this(cls) -> _Process:
        return cls(socket.gethostname(), _kernel(), os.getpid(), _started(os.getpid()))

    @classmethod
    def read(cls, text: str) -> _Process | None:
        words = text.split(" ")
        if len(words) != 5 or not words[2].isdigit():
            return None
        return cls(words[0], words[1], int(words[2]), words[3])

    @property
    def text(self) -> str:
        return f"{self.host} {self.kernel} {self.pid} {self.started}"

    @property
    def is_here(self) -> bool:
        return self.kernel == _kernel()

    @property
    def lives(self) -> bool:
        return _started(self.pid) == self.started


def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - what it says is no path
    except OSError:
        return f"unknown-{secrets.token_hex(8)}"  # nobody's: only the end counts


def _started(pid: int) -> str:
    """When the process was started, in ticks since boot; "-" if there is none, or only a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if fields[0] in ("Z", "X") else fields[19]
