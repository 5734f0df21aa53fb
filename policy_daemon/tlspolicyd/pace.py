"""Turns to begin what costs the event loop some milliseconds: a few at once, a crowd one after another.

A TLS handshake takes the loop for about a millisecond, and those that begin together come to it together: hundreds
would keep cached answers waiting for as long. Nobody's turn lasts: who hangs makes room within `hold` seconds, and
whatever the others do one more begins every `gap` seconds.

Diagnostics: nothing raises but cancellation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

AT_ONCE = 8  # handshakes in one pass of the loop, at worst
HOLD = 0.1  # seconds; a host that answers at all is mostly done by then
GAP = 0.004  # seconds; the loop has more than half of its time for everybody else


class Pace:
    """For one event loop."""

    def __init__(self, at_once: int = AT_ONCE, hold: float = HOLD, gap: float = GAP) -> None:
        """`at_once`: turns at a time; `hold`: seconds that one lasts at most; `gap`: seconds to one more regardless."""
        self._at_once = at_once
        self._hold = hold
        self._gap = gap
        self._turns = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def turn(self) -> _Turn:
        """`async with pace.turn():` waits for a turn; it ends with the block at the latest."""
        return _Turn(self, self._hold)

    async def _begin(self) -> None:
        if self._turns < self._at_once and not self._waiting:
            self._turns += 1
            return
        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        self._waiting.append(mine)
        if self._timer is None:
            self._timer = loop.call_later(self._gap, self._tick)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # the turn came in the same moment
                self._end()
            raise

    def _end(self) -> None:
        self._turns -= 1
        if self._turns < self._at_once:
            self._next()

    def _tick(self) -> None:
        self._next()
        self._timer = asyncio.get_running_loop().call_later(self._gap, self._tick) if self._waiting else None

    def _next(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # it was not cancelled
                self._turns += 1
                first.set_result(None)
                return


class _Turn:
    def __init__(self, pace: Pace, hold: float) -> None:
        self._pace = pace
        self._hold = hold
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._pace._begin()
        self._timer = asyncio.get_running_loop().call_later(self._hold, self._end)

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._pace._end()
