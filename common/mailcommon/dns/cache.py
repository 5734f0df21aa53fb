"""Answers kept for their TTL, bounded in number and size. Thread safe; no I/O; the clock is handed in.

Limits: `entries` counts answers of up to a kilobyte, a larger one counts once per kilobyte; one of more than 64 KB is
not kept. The longest unused answer goes first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cachetools

from mailcommon.dns.answer import Answer

Key = tuple[str, str]  # record type, name in lower case without trailing dot

_LARGEST = 64  # kilobytes of one answer


def key_of(rdtype: str, name: str) -> Key:
    """The key under which the answer is known: case and one trailing dot of the name do not count (RFC 4343)."""
    return rdtype, (name[:-1] if name.endswith(".") else name).lower()


class _Entry:
    __slots__ = ("answer", "expires", "size")

    def __init__(self, answer: Answer[Any], expires: float, size: int) -> None:
        self.answer = answer
        self.expires = expires
        self.size = size


class AnswerCache:
    """`clock` is monotonic, in seconds."""

    def __init__(self, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: cachetools.TLRUCache[Key, _Entry] = cachetools.TLRUCache(
            entries, _expiry, timer=clock, getsizeof=_size
        )

    def get(self, key: Key) -> Answer[Any] | None:
        """The answer with the seconds that are left of its TTL, rounded down; None if there is none."""
        with self._lock:
            try:
                entry = self._kept[key]
            except KeyError:
                return None
        left = int(entry.expires - self._clock())
        answer = entry.answer
        if answer.ttl != left:
            # the value is shared by all who ask within this second
            answer = entry.answer = replace(answer, ttl=max(0, left))
        return answer

    def put(self, key: Key, answer: Answer[Any]) -> None:
        """Keep `answer` for its TTL; one with TTL 0 is not kept."""
        size = 1 + sum(map(_octets, answer.records)) // 1024
        if answer.ttl <= 0 or size > _LARGEST:
            return
        with self._lock:
            if size <= self._kept.maxsize:
                self._kept[key] = _Entry(answer, self._clock() + answer.ttl, size)

    def __len__(self) -> int:
        """How many answers are kept."""
        with self._lock:
            return len(self._kept)


def _expiry(_key: Key, entry: _Entry, _now: float) -> float:
    return entry.expires


def _size(entry: _Entry) -> int:
    return entry.size


def _octets(record: object) -> int:
    return len(record) + 50 if isinstance(record, (bytes, str)) else 150  # 50: what an object costs beside its content
