"""Keeps account of what happens: the log line and the figures come from the same call, so that they cannot disagree.

Diagnostics: nothing raises. Should counting fail, that is logged once and this process counts no more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from authmilter.logline import log_fields
from mailcommon.log import QueueId, one_line, safe_value

if TYPE_CHECKING:
    from authmilter.metrics.figures import Figures
    from authmilter.transaction import Outcome

log = logging.getLogger("authmilter")


class Account:
    """One for each generation of settings."""

    def __init__(self, figures: Figures | None = None, *, addresses: bool = False) -> None:
        """`addresses`: whether full addresses may stand in the log."""
        self._figures = figures
        self._addresses = addresses

    def message(self, outcome: Outcome, queue_id: str) -> None:
        """A message has been decided."""
        if log.isEnabledFor(logging.INFO):
            log.info("%s: %s", QueueId(queue_id), log_fields(outcome, addresses=self._addresses))
        if outcome.made.missing_key:
            log.warning("%s: %s", QueueId(queue_id), safe_value(outcome.made.unsigned))
        self._count(lambda figures: figures.message(outcome))

    def fault(self, queue_id: str, trace: str, *, accepted: bool) -> None:
        """A message could not be handled because of a fault of ours; `trace` as traceback gives it."""
        done = "accepted" if accepted else "deferred"
        log.error("%s: internal fault, message %s: %s", QueueId(queue_id), done, one_line(trace))
        self._count(lambda figures: figures.fault(done))

    def report(self, queue_id: str, done: str, reason: str) -> None:
        """A report that a sender of ours hands over was not let in: it was "deferred" or "discarded"."""
        level = logging.ERROR if done == "deferred" else logging.WARNING
        log.log(level, "%s: report %s: %s", QueueId(queue_id), done, reason)
        self._count(lambda figures: figures.report(done))

    def _count(self, count: Callable[[Figures], None]) -> None:
        if self._figures is None:
            return
        try:
            count(self._figures)
        except Exception:  # mail goes on, whatever becomes of the figures
            self._figures = None
            log.exception("metrics: this worker counts no more")
