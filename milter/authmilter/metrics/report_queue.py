"""How much waits to be reported, and what became of reports: read from the store by the page process.

Diagnostics: nothing raises; a store that does not answer is a figure.
Limits: the store is asked at most every ten seconds, and a reading of the page waits for it for three at most; after
that it shows what was known before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric

from authmilter.reports.ledger import DAY
from authmilter.reports.sending import SCHEMAS
from mailcommon.outbox import State
from mailcommon.store import Store, StoreFault, open_store

_EACH_SECONDS = 10.0
_WAIT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Queue:
    """What the store holds."""

    up: bool
    rows: int = 0
    oldest: float | None = None  # the end of the oldest day that is not reported, seconds since 1970
    deliveries: dict[str, int] = field(default_factory=dict)  # by state


class ReportQueue:
    """For one event loop. `use` names the store, "" for none."""

    def __init__(self) -> None:
        self._address = ""
        self._store: Store | None = None
        self._queue: Queue | None = None
        self._asked = float("-inf")
        self._asking: asyncio.Task[Queue] | None = None

    def use(self, address: str) -> None:
        """The `[reports] store` in force."""
        if address != self._address:
            self._address, self._queue, self._asked = address, None, float("-inf")
            self._store = open_store(address, SCHEMAS, _WAIT_SECONDS, create=False) if address else None

    async def refresh(self) -> None:
        """Ask the store if it is time to."""
        if self._store is None or time.monotonic() - self._asked < _EACH_SECONDS:
            return
        if self._asking is None:
            self._asking = asyncio.create_task(asyncio.to_thread(read, self._store))
        done, _ = await asyncio.wait([self._asking], timeout=_WAIT_SECONDS)
        if done:
            self._queue, self._asking = self._asking.result(), None
            self._asked = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """What is known; nothing without a store."""
        queue = self._queue
        if queue is None:
            return
        yield GaugeMetricFamily(
            "authmilter_report_store_up",
            "1 if the store of the reports answered the last time, else 0.",
            value=float(queue.up),
        )
        if not queue.up:
            return
        yield GaugeMetricFamily("authmilter_report_rows", "Rows that wait to be reported.", value=queue.rows)
        yield GaugeMetricFamily(
            "authmilter_report_overdue_seconds",
            "Since the end of the oldest day (UTC) that is not reported.",
            value=max(0.0, time.time() - queue.oldest) if queue.oldest is not None else 0.0,
        )
        deliveries = GaugeMetricFamily(
            "authmilter_report_deliveries",
            "Reports on their way and those of the last days, by state.",
            labels=["state"],
        )
        for state in State:
            deliveries.add_metric([state], queue.deliveries.get(state, 0))
        yield deliveries


def read(store: Store) -> Queue:
    """What the store holds now."""
    try:
        with store.read() as tx:
            rows = tx.one("SELECT count(*), min(day) FROM dmarc_rows") or (0, None)
            # what workers have written and no sender has added up yet
            new = tx.one("SELECT coalesce(sum(size), 0), min(at) FROM dmarc_batches WHERE absorbed = 0") or (0, None)
            states = tx.all("SELECT state, count(*) FROM outbox_deliveries GROUP BY state")
    except StoreFault:
        return Queue(up=False)
    days = [int(rows[1])] if rows[1] is not None else []
    if new[1] is not None:
        days.append(int(new[1] // DAY))
    oldest = float((min(days) + 1) * DAY) if days else None
    return Queue(True, int(rows[0]) + int(new[0]), oldest, {str(state): int(number) for state, number in states})
