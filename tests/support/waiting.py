"""Waiting for something to become true, and reading a log that another process writes.

`wait_until` looks at a condition at short intervals until it holds: nothing in the tests sleeps for a fixed time.

Diagnostics: a condition that does not come true in time raises `TimedOut` with what was waited for.
Limits: every wait has a deadline, 15 seconds if the caller names none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DEADLINE = 15.0  # seconds; an order of magnitude above what a loaded two-core machine needs
INTERVAL = 0.01  # seconds between two looks

T = TypeVar("T")


class TimedOut(AssertionError):
    """What was waited for did not happen before the deadline."""


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    timeout: float = DEADLINE,
    interval: float = INTERVAL,
    context: Callable[[], str] = str,
) -> T:
    """Return the first true value of `condition()`.

    `timeout` and `interval` are seconds. `context()` is added to the error text (a log, a queue listing).
    Raises `TimedOut` when the deadline passes; whatever `condition` raises goes through.
    """
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise TimedOut(f"not within {timeout:g} s: {what}\n{context()}".rstrip())
        time.sleep(interval)


class LogFile:
    """A log that grows while it is read."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist yet."""
        self.path = path

    def text(self, after: int = 0) -> str:
        """What stands in the log behind position `after` (in characters); "" as long as there is no file."""
        try:
            return self.path.read_text("utf-8", "backslashreplace")[after:]
        except FileNotFoundError:
            return ""

    def mark(self) -> int:
        """The position of the log's present end, for `after`."""
        return len(self.text())

    def wait(self, pattern: str, *, after: int = 0, timeout: float = DEADLINE) -> re.Match[str]:
        """Wait for a line in which the regular expression `pattern` is found; raises `TimedOut` with the log's end."""
        compiled = re.compile(pattern, re.MULTILINE)
        return wait_until(
            lambda: compiled.search(self.text(after)),
            f"/{pattern}/ in {self.path.name}",
            timeout=timeout,
            context=lambda: self.text(after)[-4000:],
        )
