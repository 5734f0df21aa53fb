"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do: days pass in seconds.

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(main())    # asyncio.sleep(86_400) returns at once; loop.time() says that a day has gone

Limits: for code without threads and without waiting for the network.
Diagnostics: RuntimeError if everything waits and there is no timer.
"""

from __future__ import annotations

import asyncio
import selectors


class _Jumping(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits, and there is no timer")
        if not ready and timeout:
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The clock begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return self._jumping.now
