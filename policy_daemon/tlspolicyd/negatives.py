"""Domains without a policy: what is answered for them, and until when nobody has to ask again.

Limits: `limit` domains, the oldest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tlspolicyd.facts import StsFact


@dataclass(slots=True)
class Negative:
    """No policy is known."""

    fact: StsFact
    until: float  # monotonic
    check_at: float  # monotonic: when the TXT record is worth a look although `until` has not come


class Negatives:
    """`monotonic` is the clock, in seconds."""

    def __init__(self, limit: int, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._kept: OrderedDict[str, Negative] = OrderedDict()

    def get(self, domain: str) -> Negative | None:
        """What still holds."""
        negative = self._kept.get(domain)
        if negative is not None and self._monotonic() >= negative.until:
            del self._kept[domain]
            return None
        return negative

    def last(self, domain: str) -> StsFact | None:
        """The newest fact, whether or not its time is over."""
        negative = self._kept.get(domain)
        return negative.fact if negative is not None else None

    def put(self, domain: str, fact: StsFact, seconds: float, check: float) -> None:
        """Keep `fact` for `seconds`; after `check` seconds a look is worth while."""
        now = self._monotonic()
        self._kept.pop(domain, None)
        self._kept[domain] = Negative(fact, now + seconds, now + check)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def drop(self, domain: str) -> None:
        """There is a policy, or nobody knows."""
        self._kept.pop(domain, None)
