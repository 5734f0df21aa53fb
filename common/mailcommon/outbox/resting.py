"""Destinations that always fail, and get nothing for a while."""

from __future__ import annotations

from collections.abc import Iterable

from mailcommon.outbox.values import Limits, State
from mailcommon.store import Transaction

_FORGIVEN = 5 * 86_400.0  # seconds after which a failure is no longer in a row with the next one


def resting(tx: Transaction, destinations: Iterable[str], now: float, limits: Limits) -> set[str]:
    """Which of the destinations rest now."""
    return {
        destination
        for destination in destinations
        if tx.one(
            "SELECT 1 FROM outbox_destinations WHERE destination = ? AND rest_until BETWEEN ? AND ?",
            destination,
            now,
            now + limits.rest,  # later is of a clock that was wrong
        )
    }


def judge(tx: Transaction, destination: str, state: State, note: str, now: float, limits: Limits) -> None:
    """What the end of a delivery says about its destination."""
    if state is State.DELIVERED:
        tx.run("DELETE FROM outbox_destinations WHERE destination = ?", destination)
    elif state is State.SENT:
        # it may bounce yet: a failure counts as one in a row until none has come for some days
        tx.run("DELETE FROM outbox_destinations WHERE destination = ? AND failed_at < ?", destination, now - _FORGIVEN)
    else:
        tx.run(
            "INSERT INTO outbox_destinations (destination, failures, failed_at, rest_until, note)"
            " VALUES (?, 1, ?, 0, ?) ON CONFLICT (destination) DO UPDATE SET"
            " failures = outbox_destinations.failures + 1, failed_at = excluded.failed_at, note = excluded.note",
            destination,
            now,
            note,
        )
        tx.run(
            "UPDATE outbox_destinations SET rest_until = ? WHERE destination = ? AND failures >= ?",
            now + limits.rest,
            destination,
            limits.failures,
        )
