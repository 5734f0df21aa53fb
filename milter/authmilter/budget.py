"""One deadline for all look-ups of a message: the MTA does not wait for ever, and a thread waits with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.resolver import Resolver


class Budget(Resolver):
    """Asks `inner` until the seconds are over; after that every answer is TIMEOUT.

    A look-up that has begun is finished, so the wait is longer by one query's timeout at most.
    """

    def __init__(self, inner: Resolver, clock: Callable[[], float], seconds: float) -> None:
        """`clock` gives seconds and never goes back."""
        self._inner = inner
        self._clock = clock
        self._seconds = seconds
        self._until = 0.0
        self.waited = 0.0  # seconds spent in `query`

    def begin(self) -> None:
        """The time runs from now; before that there is no limit."""
        self._until = self._clock() + self._seconds

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """See Resolver."""
        begun = self._clock()
        if self._until and begun > self._until:
            return Answer(Status.TIMEOUT, detail=f"no look-up begins {self._seconds:g} s after the end of the message")
        answer = self._inner.query(rdtype, name)
        self.waited += self._clock() - begun
        return answer

    def start(self, rdtype: str, name: str) -> None:
        """See Resolver."""
        self._inner.start(rdtype, name)
