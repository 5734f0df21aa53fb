"""The memory and the store behind it, as one: reading never waits, writing happens in the background.

What could not be written stays noted and is written later; a store that has lost everything gets all of it again. While
the store is away the memory goes on alone, which costs one log line, and one more when it is back.

Limits: twice as many unwritten domains as policies are noted. Beyond that nothing is noted any more, and once the store
is back it is compared with the memory as a whole: what the memory has is written, and of a store that is ours alone
what the memory has not is dropped. One thing can come back: what was forgotten while a store was away that others
share, or that was never read. The next look at its TXT record forgets it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mailcommon.log import pairs
from tlspolicyd.cache.entry import Entry
from tlspolicyd.cache.memory import PolicyMemory
from tlspolicyd.cache.store import Row, Store, StoreFault
from tlspolicyd.clocks import Clocks

LOOK = 2.0  # seconds between two looks at what others have changed
_GATHER = 0.2  # seconds that what is new waits for more of it: a transaction costs as much as fetching a policy
_BATCH = 500  # rows in one transaction
_PURGE = 3600.0  # seconds; also how long an expired policy is kept, in case the clock is wrong
_AGAIN = (2.0, 60.0)  # seconds between tries of a store that is away: the first and the longest

T = TypeVar("T")
_log = logging.getLogger("tlspolicyd")


class Keeper:
    """Domain -> Entry, kept. For one event loop.

    `on_change(domain)` is called when another process changed what is known of a domain.
    """

    def __init__(self, store: Store, limit: int, clocks: Clocks, on_change: Callable[[str], None]) -> None:
        self.store = store
        self._memory = PolicyMemory(limit)
        self._clocks = clocks
        self._on_change = on_change
        self._dirty: dict[str, None] = {}
        self._most_dirty = 2 * limit + _BATCH
        self._overflowed = False  # too many to note: all has to be compared
        self._wake = asyncio.Event()
        self._up = True
        self._loaded = False
        self._away = 0.0  # seconds to the next try
        self._retry_at = 0.0  # monotonic
        self._purge_at = clocks.monotonic() + _PURGE
        self._full_noted = False
        self.get = self._memory.get
        self.use = self._memory.use

    @property
    def up(self) -> bool:
        """Whether the store answered the last time."""
        return self._up

    @property
    def unwritten(self) -> int:
        """How many domains wait to be written."""
        return len(self._memory) if self._overflowed else len(self._dirty)

    def __len__(self) -> int:
        """How many policies are known."""
        return len(self._memory)

    def modes(self) -> dict[str, int]:
        """See PolicyMemory."""
        return self._memory.modes()

    def domains(self) -> list[str]:
        """All that are known, the expired of the last hour included."""
        return self._memory.domains()

    def put(self, domain: str, entry: Entry) -> None:
        """Keep `entry`, in memory at once."""
        self._insert(domain, entry)
        self._mark(domain)

    def adopt(self, domain: str, entry: Entry) -> None:
        """Keep `entry`, which the store has already."""
        if self._memory.get(domain) is not entry:
            self._insert(domain, entry)

    async def put_now(self, domain: str, entry: Entry) -> None:
        """As `put`, and in the store too when this returns, unless that is away."""
        self._insert(domain, entry)
        rows: list[Row] = [(domain, entry)]

        async def write() -> bool:
            await self.store.write(rows, self._clocks.wall())
            return True

        if not await self.ask(write, False):
            self._mark(domain)

    def forget(self, domain: str) -> None:
        """Drop what is known of `domain`, for all who share the store."""
        self._memory.pop(domain)
        self._mark(domain)

    def expire(self, domain: str, entry: Entry) -> None:
        """Note that `entry` has expired."""
        self._memory.expire(domain, entry, self._clocks.monotonic())

    async def load(self) -> None:
        """Read all that is kept. Never raises: without the store the memory begins empty, and `sync` tries again."""
        try:
            await self._load()
        except Exception as fault:  # noqa: BLE001 - see _failed
            self._failed(fault)

    async def sync(self) -> bool:
        """Write what is new, read what others changed; False if the store is away."""
        if self._clocks.monotonic() < self._retry_at:
            return False
        try:
            if not self._loaded:
                await self._load()
            for domain, entry in await self.store.changes():
                self._take(domain, entry)
            self._write_again()
            if self._overflowed:
                await self._compare()
            await self._flush()
            await self._purge()
        except Exception as fault:  # noqa: BLE001 - see _failed
            self._failed(fault)
            return False
        if not self._up:
            _log.warning("cache: %s", pairs(event="store is back", store=self.store.name))
        self._up, self._away, self._retry_at = True, 0.0, 0.0
        return True

    async def run(self) -> None:
        """`sync` for ever: when there is something to write, and every two seconds."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
                    await asyncio.sleep(_GATHER)
            self._wake.clear()
            try:
                await self.sync()
            except Exception:  # noqa: BLE001 - a bug here must not end the writing for ever
                _log.exception("cache: %s", pairs(event="error", store=self.store.name))
            if not self._up:
                await asyncio.sleep(LOOK)

    async def ask(self, question: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """The store's answer, or `otherwise` while it is away."""
        if self._clocks.monotonic() < self._retry_at:
            return otherwise
        try:
            return await question()
        except Exception as fault:  # noqa: BLE001 - see _failed
            self._failed(fault)
            return otherwise

    async def close(self) -> None:
        """Write what is left, and let go of the store."""
        self._retry_at = 0.0
        if self._dirty or self._overflowed:
            await self.sync()
        await self.store.close()

    async def _load(self) -> None:
        count = 0
        async for batch in self.store.load():
            for domain, entry in batch:
                # What the memory has got meanwhile, while the store was away, is newer.
                if entry is not None and self._memory.get(domain) is None and domain not in self._dirty:
                    self._insert(domain, entry)
                    count += 1
        self._loaded = True
        if self.store.lasting:
            _log.info(
                "cache: %s",
                pairs(event="loaded", store=self.store.name, policies=count, damaged=self.store.damaged or None),
            )
        self._write_again()

    def _take(self, domain: str, entry: Entry | None) -> None:
        """What another process wrote."""
        mine = self._memory.get(domain)
        if domain in self._dirty or (self._overflowed and not self._theirs_counts(mine, entry)):
            return  # ours is newer, and about to be written
        if entry is None:
            if mine is None:
                return
            self._memory.pop(domain)
        elif mine is not None and (mine.body, mine.mode) == (entry.body, entry.mode):
            mine.fetched_at, mine.max_age, mine.fact = entry.fetched_at, entry.max_age, None
            return
        else:
            self._insert(domain, entry)
        self._on_change(domain)

    def _theirs_counts(self, mine: Entry | None, theirs: Entry | None) -> bool:
        """While it is not known which domains are to be written."""
        if not self.store.shared:
            return False
        return mine is None or (theirs is not None and theirs.fetched_at > mine.fetched_at)

    def _insert(self, domain: str, entry: Entry) -> None:
        for gone in self._memory.put(domain, entry):
            if not self._full_noted:
                self._full_noted = True
                _log.warning("cache: %s", pairs(event="full", policies=len(self._memory), dropped=gone))
            if not self.store.shared:  # there the other hosts may still want it
                self._mark(gone)

    def _mark(self, domain: str) -> None:
        if not self.store.lasting:
            return
        self._wake.set()
        if self._overflowed:
            return
        self._dirty[domain] = None
        if len(self._dirty) > self._most_dirty:
            self._overflowed = True
            self._dirty.clear()

    def _write_again(self) -> None:
        if self.store.lost:
            self.store.lost = False
            self._dirty.update(dict.fromkeys(self._memory.domains()))

    async def _compare(self) -> None:
        """Bring the store to what the memory has, after more changes than could be noted."""
        self._overflowed = False
        self._dirty.update(dict.fromkeys(self._memory.domains()))
        if self.store.shared:
            return  # what the memory has not is another host's
        try:
            gone = [
                domain async for batch in self.store.load() for domain, _ in batch if self._memory.get(domain) is None
            ]
            for start in range(0, len(gone), _BATCH):
                rows: list[Row] = [
                    (domain, None) for domain in gone[start : start + _BATCH] if self._memory.get(domain) is None
                ]
                await self.store.write(rows, self._clocks.wall())
        except BaseException:
            self._overflowed = True
            self._dirty.clear()
            raise

    async def _flush(self) -> None:
        while self._dirty:
            part = [domain for domain, _ in zip(self._dirty, range(_BATCH), strict=False)]
            rows: list[Row] = [(domain, self._memory.get(domain)) for domain in part]
            for domain in part:
                del self._dirty[domain]
            try:
                await self.store.write(rows, self._clocks.wall())
            except BaseException:
                if not self._overflowed:
                    self._dirty.update(dict.fromkeys(part))
                raise
            self._write_again()

    async def _purge(self) -> None:
        now = self._clocks.monotonic()
        if now < self._purge_at:
            return
        self._purge_at = now + _PURGE
        self._full_noted = False
        for domain in self._memory.expired_before(now - _PURGE):
            entry = self._memory.get(domain)
            if entry is not None and entry.expires_at > self._clocks.wall():
                self._memory.use(domain, entry)  # the clock was wrong
                continue
            self._memory.pop(domain)
            if not self.store.shared:  # there the key goes by itself
                self._mark(domain)
        await self._flush()
        await self.store.purge(self._clocks.wall())

    def _failed(self, fault: Exception) -> None:
        """The store is away. A bug in it, or a server that is no store at all, comes to the same."""
        first, longest = _AGAIN
        self._away = min(max(first, self._away * 2), longest)
        self._retry_at = self._clocks.monotonic() + self._away
        if self._up:
            self._up = False
            bug = None if isinstance(fault, StoreFault) else fault
            error = f"{self.store.name}: {bug!r}" if bug else fault
            _log.error("cache: %s", pairs(event="store is away, going on from memory", error=error), exc_info=bug)
