"""The values of the outbox."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """Where a delivery is."""

    WAITING = "waiting"  # for its first attempt or the next one
    HANDING = "handing"  # an attempt is under way, or was when the sender died
    SENT = "sent"  # Postfix has it
    DELIVERED = "delivered"  # the destination itself has said so
    FAILED = "failed"  # refused, or the time for it is over
    BOUNCED = "bounced"  # sent, and come back
    RESTING = "resting"  # the destination has failed too often: not tried


class Result(enum.StrEnum):
    """What came of one attempt."""

    SENT = "sent"  # taken by Postfix, which does the rest
    DELIVERED = "delivered"  # taken by the destination itself
    LATER = "later"  # refused for the moment, surely not taken
    REFUSED = "refused"  # refused for good, surely not taken
    UNKNOWN = "unknown"  # the connection broke when it may have been taken


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` is for people and may hold what the other side said: it is cleaned when it is kept."""

    result: Result
    text: str = ""
    own: bool = False  # the fault is this host's: it says nothing about the destination


@dataclass(frozen=True, slots=True)
class Report:
    """What is sent. All of it stays the same however often it is tried."""

    id: str  # letters and digits, never used twice
    kind: str  # such as "dmarc": what `report list` shows, and what keeps kinds apart in one store
    domain: str  # A-labels
    begins: int  # seconds since 1970 UTC
    ends: int  # of the last second
    filename: str
    payload: bytes  # as it is attached or posted: compressed
    part: str = ""  # tells several reports of one domain and time apart
    made_at: float = 0.0  # set by `Outbox.add`
    count: int = 0  # messages or sessions in it, for people


@dataclass(frozen=True, slots=True)
class Delivery:
    """One report on its way to one destination."""

    id: int
    report_id: str
    place: int  # of the destination among those of the report, from 0
    destination: str  # a URI
    state: State
    attempts: int = 0
    next_at: float = 0.0  # not tried before
    until: float = 0.0  # given up after
    done_at: float | None = None
    note: str = ""  # what was said last, cleaned


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds."""

    seconds: float = 86_400.0  # from made to given up
    first_pause: float = 300.0  # after the first attempt; doubled after each one
    longest_pause: float = 14_400.0
    failures: int = 5  # in a row, before a destination is rested
    rest: float = 7 * 86_400.0
    keep: float = 30 * 86_400.0  # of a report after it is done; its payload too
    keep_bytes: int = 1 << 30  # of payloads; the oldest that are done go first

    def pause(self, attempts: int) -> float:
        """How long to wait after that many attempts."""
        return min(self.first_pause * 2.0 ** min(attempts - 1, 30), self.longest_pause)
