"""What the messages of one worker add to the reports, kept in memory for a moment and written by a thread.

`note` costs some microseconds and never waits: not for the store, not for a lock that is held during I/O. What a crash
of the process can lose is what came within the last second. A store that is down, locked or full is tried again
and again; meanwhile rows are kept, up to a limit, and what is beyond it is counted and said in the log.

Made after the fork; `close` writes what is left.
Limits: `MAX_ROWS` different rows and `MAX_BYTES` in memory (about; a row takes some hundred bytes); the size of the
store, looked at once a minute.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence

from authmilter.facts import HeaderField, MessageFacts
from authmilter.reports import failure_ledger
from authmilter.reports.failure import Failure, failures
from authmilter.reports.ledger import Key, day_of, write
from authmilter.reports.observation import RowFacts, observations
from authmilter.verdict import Verdict
from mailcommon.names import is_subdomain
from mailcommon.store import Store, StoreFault

INTERVAL = 0.8  # seconds between two writes: what a crash can lose is at most a second old
MAX_ROWS = 20_000
MAX_BYTES = 32 * 1024 * 1024
MAX_FAILURES = 200  # different ones between two writes, each with its header
_BATCH_ROWS = 5_000  # of one transaction
_RETRY = 2.0  # seconds after a failure
_SIZE_SECONDS = 60.0  # between two looks at the size of the store
_COMPLAIN = 300.0  # seconds between two lines in the log about one failure that lasts
_CLOSE = 5.0  # seconds for the last write
_ROW_COST = 400  # bytes of a row with empty texts

log = logging.getLogger("authmilter")


class Collector:
    """One for each worker process; `note` may be called by any thread."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        max_bytes: int,
        exclude: tuple[str, ...] = (),
        failures: bool = False,
    ) -> None:
        """now: seconds since 1970. max_bytes: of the store. exclude: policy domains that get no reports.

        failures: keep what failure reports are made of, too.
        """
        self._store = store
        self._now = now
        self._monotonic = monotonic
        self._max_bytes = max_bytes
        self._exclude = exclude
        self._lock = threading.Lock()
        self._counts: dict[Key, int] = {}
        self._bytes = 0
        self._keep_failures = failures
        self._failures: dict[tuple[str, ...], tuple[Failure, int]] = {}
        self._unwritten: list[tuple[str, dict[Key, int]]] = []  # batches and their names
        self._lost = 0  # messages that are not counted
        self._full = False
        self._size_seen = float("-inf")
        self._failing_since: float | None = None
        self._complained = float("-inf")
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def note(
        self,
        facts: MessageFacts,
        verdict: Verdict,
        fields: Sequence[HeaderField] = (),
        results: str = "",
        queue_id: str = "",
    ) -> None:
        """A message has been answered. Never raises: the message is not to suffer from it.

        fields: its header as it came. results: the value of our Authentication-Results.
        """
        try:
            self._count(facts, verdict)
            if self._keep_failures:
                self._keep(failures(facts, verdict, fields, results, queue_id))
        except Exception:
            log.exception("reports: a message is not counted")

    def _count(self, facts: MessageFacts, verdict: Verdict) -> None:
        for published, row in observations(facts, verdict):
            if self._is_excluded(published.domain):
                continue
            key = Key(day_of(self._now()), published, row)
            with self._lock:
                if key in self._counts:
                    self._counts[key] += 1
                elif len(self._counts) < MAX_ROWS and self._bytes < MAX_BYTES:
                    self._counts[key] = 1
                    self._bytes += _cost(row)
                else:
                    self._lost += 1

    def _keep(self, found: Iterable[Failure]) -> None:
        for failure in found:
            if self._is_excluded(failure.policy_domain):
                continue
            with self._lock:
                first, incidents = self._failures.get(failure.alike, (failure, 0))
                if incidents or len(self._failures) < MAX_FAILURES:
                    self._failures[failure.alike] = first, incidents + 1

    def _is_excluded(self, policy_domain: str) -> bool:
        return any(is_subdomain(policy_domain, domain) for domain in self._exclude)

    def close(self) -> None:
        """Write what is left; waits for it, but not for long."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE)
        if self._thread.is_alive():
            log.warning("reports: the store does not answer; the messages of the last seconds are not counted")

    # What follows runs in the thread.

    def _run(self) -> None:
        pause = INTERVAL
        while not self._closing:
            self._wake.wait(pause)
            pause = INTERVAL if self._flush() else _RETRY
        self._flush()
        self._store.close()

    def _flush(self) -> bool:
        """Write all there is; False if the store would not."""
        try:
            if self._is_full():
                return self._write_nothing()
            while batch := self._next_batch():
                name, counts = batch
                write(self._store, name, counts, self._now())
                self._unwritten.pop(0)
            self._write_failures()
        except StoreFault as fault:
            self._complain(str(fault))
            return False
        except Exception:  # the thread must go on: what it was is in the log
            log.exception("reports: a batch of rows cannot be written and is left out")
            if self._unwritten:
                self._lost += sum(self._unwritten.pop(0)[1].values())
            return False
        self._recovered()
        return True

    def _next_batch(self) -> tuple[str, dict[Key, int]] | None:
        if not self._unwritten:
            with self._lock:
                counts, self._counts, self._bytes = self._counts, {}, 0
            items = list(counts.items())
            self._unwritten = [
                (secrets.token_hex(12), dict(items[first : first + _BATCH_ROWS]))
                for first in range(0, len(items), _BATCH_ROWS)
            ]
        return self._unwritten[0] if self._unwritten else None

    def _write_failures(self) -> None:
        with self._lock:
            found, self._failures = self._failures, {}
        if found:
            # not tried again if the store fails: they need not all be reported (RFC 9991 §8.1)
            failure_ledger.note(self._store, found.values(), self._now())

    def _is_full(self) -> bool:
        now = self._monotonic()
        if now >= self._size_seen + _SIZE_SECONDS:
            self._full = self._store.size() > self._max_bytes
            self._size_seen = now
        return self._full

    def _write_nothing(self) -> bool:
        with self._lock:
            lost = sum(self._counts.values())
            self._counts, self._bytes, self._failures = {}, 0, {}
        self._lost += lost
        self._complain(
            f"{self._store.name}: takes more than [reports] max_bytes: does `authmilter report send` run every hour?"
        )
        return True

    def _complain(self, text: str) -> None:
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now >= self._complained + _COMPLAIN:
            self._complained = now
            log.warning("reports: %s; mail goes on, %d messages are not counted so far", text, self._lost)

    def _recovered(self) -> None:
        if self._failing_since is None:
            return
        seconds = self._monotonic() - self._failing_since
        log.warning("reports: the store is back after %.0f s; %d messages are not counted", seconds, self._lost)
        self._failing_since, self._complained, self._lost = None, float("-inf"), 0


def _cost(row: RowFacts) -> int:
    """Bytes of memory, about."""
    return _ROW_COST + 300 * len(row.signatures) + sum(len(each.text) for each in row.signatures)
