"""Fetches that failed: when another try is allowed.

RFC 8461 §3.3: after a failure further tries are limited "to a period of five minutes or longer per version ID".
A domain whose policy is held and could not be refreshed twice within two days is `unsteady` for two days, even if the
next try works: whoever lets every other fetch hang must not get his turn among the others. The first failure is
forgiven, since every host is restarted now and then.
Limits: 50,000 failures and 100,000 unsteady domains are remembered, the oldest go first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED = 50_000
_UNSTEADY = 100_000
_UNSTEADY_SECONDS = 2 * 86_400.0
_NEVER = (float("-inf"), float("-inf"))


@dataclass(frozen=True, slots=True)
class Failed:
    """The newest failed try for a domain."""

    id: str
    count: int  # one after the other, for the same id
    again_at: float  # monotonic


class Tries:
    """`least` and `most`: seconds from a failure to the next try; the pause doubles while a policy is still held."""

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._failed: OrderedDict[str, Failed] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()  # domain -> its last two failures

    def unsteady(self, domain: str, now: float) -> bool:
        """Whether a refresh of `domain` has failed twice in the last two days."""
        last_but_one, _ = self._failures.get(domain, _NEVER)
        return now - last_but_one < _UNSTEADY_SECONDS

    def wait(self, domain: str, record_id: str, now: float) -> float:
        """Seconds until `record_id` may be tried (again), 0 if it may be now."""
        failed = self._failed.get(domain)
        if failed is None or failed.id != record_id:
            return 0.0  # a new id may be tried at once
        return max(0.0, failed.again_at - now)

    def failed(self, domain: str, record_id: str, now: float, *, held: bool) -> float:
        """Note a failure at `now`; `held`: there is a policy, so nothing is lost by waiting. Returns the pause."""
        former = self._failed.pop(domain, None)
        count = former.count + 1 if former is not None and former.id == record_id else 1
        pause = min(self._most, self._least * 2 ** min(count - 1, 20)) if held else self._least
        self._failed[domain] = Failed(record_id, count, now + pause)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
        if held:
            _, last = self._failures.get(domain, _NEVER)
            self._failures[domain] = (last, now)
            self._failures.move_to_end(domain)
            if len(self._failures) > _UNSTEADY:
                self._failures.popitem(last=False)
        return pause

    def clear(self, domain: str) -> None:
        """Forget about failures: it worked, or a person wants it tried."""
        self._failed.pop(domain, None)
