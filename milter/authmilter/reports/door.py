"""Where reports that senders hand over are let in or turned away: asks the outboxes, in a thread of its own.

libmilter's threads are not Python's: pymilter gives each session a thread state of its own, with which psycopg's C code
crashes now and then. So a session only waits for the answer of a thread that is ours.

Diagnostics: `StoreFault` if a store cannot be asked, or not in time. Limits: `SECONDS` for an answer.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime

from mailcommon.outbox import Doorkeeper, Entry, admit
from mailcommon.store import StoreFault

SECONDS = 20.0


class Door:
    """One for each worker process, made after the fork."""

    def __init__(self, doorkeepers: Sequence[Doorkeeper]) -> None:
        self._doorkeepers = doorkeepers
        self._asked: queue.SimpleQueue[tuple[str, Future[Entry]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="door", daemon=True).start()

    def admit(self, token: str) -> Entry:
        """See Doorkeeper; may be called by any thread."""
        answer: Future[Entry] = Future()
        self._asked.put((token, answer))
        try:
            return answer.result(SECONDS)
        except NotInTime:
            answer.cancel()
            raise StoreFault("the store of the reports does not answer") from None

    def close(self) -> None:
        """Let the thread end; who asks afterwards gets a StoreFault."""
        self._asked.put(None)

    def _run(self) -> None:
        while item := self._asked.get():
            token, answer = item
            if not answer.set_running_or_notify_cancel():
                continue  # nobody waits any more: the mail is deferred, and must not count as taken
            try:
                answer.set_result(admit(self._doorkeepers, token))
            except Exception as fault:  # noqa: BLE001 - who asked gets it
                answer.set_exception(fault)
        for each in self._doorkeepers:
            with contextlib.suppress(StoreFault):
                each.close()
