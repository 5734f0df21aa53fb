"""So many at a time, and a bounded number who wait for a place, first come, first served. For one event loop."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Lane:
    """`async with lane:` waits for one of `places`; whoever finds it `full` has to come again later."""

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._room = places + waiting
        self._inside = 0

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return self._inside >= self._room

    async def __aenter__(self) -> None:
        self._inside += 1
        try:
            await self._places.acquire()
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._places.release()
        self._inside -= 1
