"""An enforce policy whose text nobody can read: how long mail waits for it, and what is said of it. Pure.

A damaged row of a store says that there is a policy, and not which. Mail must not go out as if there were none, nor
wait for ever: a day at most, an hour at most once the domain does not announce the policy any more.
"""

from __future__ import annotations

from dataclasses import replace

from tlspolicyd.cache.entry import Entry
from tlspolicyd.facts import StsFact
from tlspolicyd.timing import DAY

_GIVE_UP = 3600.0  # seconds; a mail that waits so long is not yet returned to its sender


def unreadable(domain: str, entry: Entry, wall: float) -> Entry:
    """What takes the place of the damaged `entry`, with its fact; `wall` is unix time."""
    rest = int(min(entry.expires_at - entry.fetched_at, wall + DAY - entry.fetched_at))
    placeholder = Entry(entry.mode, b"", entry.fetched_at, max(rest, 0), entry.used_at)
    placeholder.fact = StsFact(
        domain,
        fetched_at=placeholder.fetched_at,
        expires_at=placeholder.expires_at,
        cached=True,
        signalled=True,
        unreadable=True,
        reason="an enforce policy is known and its text is damaged in the store",
    )
    return placeholder


def give_up(entry: Entry, wall: float) -> bool:
    """Let `entry`, which is unreadable, end within the hour; False if that was so before."""
    rest = max(int(wall + _GIVE_UP - entry.fetched_at), 0)
    if rest >= entry.max_age:
        return False
    entry.max_age = rest
    if entry.fact is not None:
        entry.fact = replace(entry.fact, expires_at=entry.expires_at)
    return True
