"""The milter's side of exactly-once: each attempt that comes is noted, and what was given up is turned away.

Used by whoever sees every mail that Postfix takes. See the package for why.

Diagnostics: `StoreFault` if the store cannot be asked: then the mail has to be deferred, and the sender tries again.
Limits: `seconds` of waiting, as the store was opened with.
Security: to be asked only about mail of one's own host; a token is 128 random bits.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable

from mailcommon.outbox.outbox import identity
from mailcommon.store import Store

_TOKEN = re.compile(r"([0-9a-f]{16})\.[0-9a-f]{32}").fullmatch


class Entry(enum.Enum):
    """What to do with a mail that says it is a report."""

    TAKE = "take"  # let it in, without the field
    DISCARD = "discard"  # another attempt has been or will be let in
    STRANGER = "stranger"  # no attempt of ours: the field says nothing


class Doorkeeper:
    """`store` is one with an outbox in it."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._store = store
        self._clock = clock

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def admit(self, token: str) -> Entry:
        """`token` is the value of the field `mail.HANDOVER`. To be asked last: what is taken must be let in."""
        match = _TOKEN(token.strip())
        if match is None:
            return Entry.STRANGER
        with self._store.write() as tx:
            if match[1] != identity(tx):
                return Entry.STRANGER  # of another outbox, perhaps on another host
            taken = tx.run(
                "UPDATE outbox_deliveries SET taken_at = ? WHERE token = ? AND taken_at IS NULL",
                self._clock(),
                match[0],
            )
        # an attempt that was given up has lost its token, and one that has come before is taken
        return Entry.TAKE if taken else Entry.DISCARD


def admit(doors: Iterable[Doorkeeper], token: str) -> Entry:
    """The word of the first of several that knows the attempt; raises StoreFault."""
    found = (door.admit(token) for door in doors)
    return next((entry for entry in found if entry is not Entry.STRANGER), Entry.STRANGER)
