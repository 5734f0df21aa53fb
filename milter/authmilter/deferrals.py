"""Remembers what was deferred, so that nothing is deferred for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from cachetools import TTLCache


class Deferrals:
    """When the same mail was first deferred. In memory, one for each worker; bounded in entries and age."""

    def __init__(self, clock: Callable[[], float], entries: int = 10_000, seconds: float = 5 * 86_400) -> None:
        """`clock` gives seconds and never goes back; `seconds` is how long senders keep trying (RFC 5321 §4.5.4.1)."""
        self._clock = clock
        self._first: TTLCache[Hashable, float] = TTLCache(entries, seconds, timer=clock)
        self._lock = threading.Lock()

    def age(self, key: Hashable) -> float:
        """Seconds since `key` was first noted, 0.0 if it was not."""
        with self._lock:
            first = self._first.get(key)
        return 0.0 if first is None else self._clock() - first

    def note(self, key: Hashable) -> None:
        """`key` is deferred now."""
        with self._lock:
            self._first.setdefault(key, self._clock())

    def forget(self, key: Hashable) -> None:
        """`key` was decided this time: what is deferred later is deferred anew."""
        with self._lock:
            self._first.pop(key, None)
