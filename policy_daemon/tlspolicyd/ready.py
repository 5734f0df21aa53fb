"""Replies that are ready to be sent, found by the octets of the request.

Postfix asks the same again and again. A reply stays ready for at most a minute, and never longer than what it was made
of; `forget` takes it away when a policy changes.

Limits: `limit` replies, the oldest goes first; a request of more than 600 octets or a reply of more than 8 KB is not
kept.
"""

from __future__ import annotations

from collections.abc import Callable

LONGEST = 60.0  # seconds that a reply is used without looking at the facts behind it
_MAX_REQUEST = 600  # octets; a domain name and a port fit in twice
_MAX_REPLY = 8192  # octets: with as many replies as `limit` says this bounds the memory

Entry = tuple[float, bytes, list[int]]  # monotonic time of its end, octets of the reply, where its use is counted


class ReadyReplies:
    """`clock` is monotonic, in seconds."""

    __slots__ = ("_clock", "_domains", "_limit", "_of", "entries")

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        # read by the server for each request: a method call there would cost a tenth of the whole
        self.entries: dict[bytes, Entry] = {}
        self._domains: dict[str, set[bytes]] = {}
        self._of: dict[bytes, str] = {}
        self._limit = limit
        self._clock = clock

    def put(self, request: bytes, domain: str, reply: bytes, seconds: float, count: list[int]) -> None:
        """Keep `reply` (octets on the wire) to `request` (the same) for `seconds`; 0 or less keeps nothing."""
        self._drop(request)
        if seconds <= 0 or len(request) > _MAX_REQUEST or len(reply) > _MAX_REPLY:
            return
        while len(self.entries) >= self._limit:
            self._drop(next(iter(self.entries)))
        self.entries[request] = (self._clock() + min(seconds, LONGEST), reply, count)
        self._of[request] = domain
        self._domains.setdefault(domain, set()).add(request)

    def forget(self, domain: str) -> None:
        """Drop every reply about `domain`."""
        for request in tuple(self._domains.get(domain, ())):
            self._drop(request)

    def clear(self) -> None:
        """Drop all."""
        self.entries.clear()
        self._of.clear()
        self._domains.clear()

    def _drop(self, request: bytes) -> None:
        if self.entries.pop(request, None) is None:
            return
        domain = self._of.pop(request)
        requests = self._domains[domain]
        requests.discard(request)
        if not requests:
            del self._domains[domain]
