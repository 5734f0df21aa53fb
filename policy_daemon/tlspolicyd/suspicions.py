"""Policies that seem not to fit their domain any more: when another fetch for that reason is allowed.

A domain that stays wrong is asked less and less often.
Limits: 10,000 domains are remembered, the oldest go first.
"""

from __future__ import annotations

from collections import OrderedDict

_REMEMBERED = 10_000


class Suspicions:
    """`least`, `most`: seconds between two fetches of one domain, at first and in the end."""

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._until: OrderedDict[str, tuple[float, float]] = OrderedDict()  # until when, and how long that was

    def early(self, domain: str, now: float) -> bool:
        """Whether the last fetch for this reason was a moment ago; `now` is monotonic."""
        return now < self._until.get(domain, (0.0, 0.0))[0]

    def note(self, domain: str, now: float) -> None:
        """Such a fetch begins."""
        until, pause = self._until.get(domain, (0.0, 0.0))
        pause = min(2 * pause, self._most) if now < until + 2 * pause else self._least
        self._until[domain] = (now + pause, pause)
        self._until.move_to_end(domain)
        if len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)
