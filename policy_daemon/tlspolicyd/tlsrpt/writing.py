"""Counts -> the store, once a second in the background.

A store that is down, locked or full holds nobody up: counts go on in memory, within `counts`' bounds, and are written
when it is back. A crash loses what was counted since the last write: a second, unless the store was away.

Diagnostics: one log line when the store fails, one when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable

from mailcommon.log import pairs
from mailcommon.store import Store, StoreFault
from tlspolicyd.tlsrpt import tables
from tlspolicyd.tlsrpt.counts import Counts
from tlspolicyd.tlsrpt.tables import Batch

SECONDS = 1.0

log = logging.getLogger("tlspolicyd")


class Writer:
    """For one event loop. `positions`: (host, source, position) of each log that is read."""

    def __init__(
        self, store: Store, counts: Counts, positions: Callable[[], tuple[tuple[str, str, str], ...]] = tuple
    ) -> None:
        self._store = store
        self._counts = counts
        self._positions = positions
        self._name = secrets.token_hex(16)
        self._number = 0
        self._batch: Batch | None = None  # not yet known to be written
        self._written: tuple[tuple[str, str, str], ...] = ()
        self._failing = False
        self._turn = asyncio.Lock()

    @property
    def failing(self) -> bool:
        """Whether the last write failed."""
        return self._failing

    async def run(self) -> None:
        """Write until cancelled."""
        # The file is there from the start, and the daemon's: until the first session `report send` would find none.
        with contextlib.suppress(StoreFault):  # the first write says it
            await asyncio.to_thread(self._store.reach)
        while True:
            await asyncio.sleep(SECONDS)
            await self.write()

    async def write(self) -> bool:
        """Write what there is; False if the store cannot."""
        async with self._turn:
            while batch := self._next():
                try:
                    await asyncio.shield(asyncio.to_thread(tables.write, self._store, batch, time.time()))
                except StoreFault as fault:
                    if not self._failing:
                        self._failing = True
                        log.error("tlsrpt: %s", pairs(event="counts cannot be written, they are kept", error=fault))
                    return False
                except Exception:
                    log.exception("tlsrpt: %s", pairs(event="counts are lost", domains=len(batch.rows)))
                self._batch = None
                self._written = batch.positions
                if self._failing:
                    self._failing = False
                    log.warning("tlsrpt: %s", pairs(event="counts are written again", store=self._store.name))
        return True

    def _next(self) -> Batch | None:
        """The batch that could not be written, exactly as it was, or else a new one."""
        if self._batch is None:
            # Both at the same moment: what is counted and how far the log was read belong together.
            rows, positions = tuple(self._counts.take()), self._positions()
            if rows or positions != self._written:
                self._number += 1
                self._batch = Batch(self._name, self._number, rows, positions)
        return self._batch
