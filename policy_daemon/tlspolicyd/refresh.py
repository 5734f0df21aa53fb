"""Looking after the policies that nobody asks for at the moment: each about once a day, ahead of its end.

The cache is gone through slice by slice, so that no look takes long, and no more look-ups are started than can be
carried out soon: thousands of policies that are due at once are worked off one after the other.
Limits: a look every second at 300 policies or, of a large cache, at a six-hundredth; 64 look-ups under
way at a time, and beside them 32 of domains whose refresh failed twice lately.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tlspolicyd.policies import Policies

EVERY = 1.0  # seconds
_SLICE = 300  # a look must not take a millisecond from the answers
_PARTS = 600
_UNDER_WAY = 64

_log = logging.getLogger("tlspolicyd")


class Refresher:
    """Takes care of `policies`; `under_way`: how many of its look-ups may be under way at a time."""

    def __init__(self, policies: Policies, under_way: int = _UNDER_WAY) -> None:
        self._policies = policies
        self._under_way = under_way
        self._round: list[str] = []
        self._oldest = float("inf")
        self.oldest_fetch = 0.0  # unix seconds, of the policies seen in the last whole round; 0.0: none

    def step(self) -> int:
        """One look; returns how many look-ups it started."""
        if not self._round:
            self.oldest_fetch = 0.0 if self._oldest == float("inf") else self._oldest
            self._oldest = float("inf")
            self._round = self._policies.keeper.domains()
        started = 0
        for _ in range(max(_SLICE, len(self._policies) // _PARTS)):
            if not self._round or self._policies.refreshing >= self._under_way:
                break
            domain = self._round.pop()
            started += self._policies.tend(domain)
            entry = self._policies.keeper.get(domain)
            if entry is not None:
                self._oldest = min(self._oldest, entry.fetched_at)
        return started

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """`step` for ever."""
        while True:
            await sleep(EVERY)
            try:
                self.step()
            except Exception:  # noqa: BLE001 - a bug here must not end the refreshing for ever
                _log.exception("refresh: error")
