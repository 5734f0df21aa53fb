"""How often names were looked up, and with what outcome. Thread safe; handed to a resolver, which counts."""

from __future__ import annotations

import threading

from mailcommon.dns.answer import Status


class DnsCounts:
    """Numbers that only grow. One may serve several resolvers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits = 0
        self._asked = dict.fromkeys(Status, 0)

    def hit(self) -> None:
        """An answer was at hand."""
        with self._lock:
            self._hits += 1

    def asked(self, status: Status) -> None:
        """A name server was asked, and that came of it."""
        with self._lock:
            self._asked[status] += 1

    def now(self) -> tuple[int, dict[Status, int]]:
        """Answers that were at hand, and questions to name servers by what came of them."""
        with self._lock:
            return self._hits, dict(self._asked)
