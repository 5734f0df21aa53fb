"""One cached policy: small in memory, the same text in every store.

The policy itself stays encoded until somebody asks for it, since most of a large cache is never asked for.

Diagnostics: what cannot be decoded gives None, never an exception.
"""

from __future__ import annotations

import json
import math

from tlspolicyd.facts import Mode, Policy, StsFact

LONGEST_AGE = 31_557_600  # RFC 8461 §3.2: a year
_MODES = {str(mode): mode for mode in Mode}


class Entry:
    """A policy and its times. `used_at`, `check_at` and `fact` change, `fetched_at` and `max_age` to be corrected."""

    __slots__ = ("body", "check_at", "fact", "fetched_at", "max_age", "mode", "used_at")

    def __init__(self, mode: Mode, body: bytes, fetched_at: float, max_age: int, used_at: float) -> None:
        self.mode = mode
        self.body = body  # what `encode` made; b"": there is a policy of this mode and it cannot be read
        self.fetched_at = fetched_at  # unix seconds
        self.max_age = max_age  # seconds, 0..LONGEST_AGE
        self.used_at = used_at  # unix seconds, about when mail last needed it
        self.check_at = 0.0  # monotonic: when the TXT record is worth another look
        self.fact: StsFact | None = None  # ready to be handed out

    @property
    def expires_at(self) -> float:
        """Unix seconds. RFC 8461 §3.2: counted from the fetch."""
        return self.fetched_at + self.max_age


def make_entry(policy: Policy, record_id: str, fetched_at: float, used_at: float) -> Entry:
    """The entry of a policy that was fetched just now; a max_age out of bounds is brought back into them."""
    return Entry(policy.mode, encode(policy, record_id), fetched_at, min(max(policy.max_age, 0), LONGEST_AGE), used_at)


def encode(policy: Policy, record_id: str) -> bytes:
    """The parts of a policy that `Entry` has no field for, as ASCII JSON."""
    return json.dumps([record_id, policy.mx, policy.lines], separators=(",", ":")).encode("ascii")


def decode(entry: Entry) -> tuple[str, Policy] | None:
    """The id and the policy; None if the entry is damaged."""
    try:
        parts = json.loads(entry.body)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(parts, list) and len(parts) == 3 and isinstance(parts[0], str)):
        return None
    mx, lines = _texts(parts[1]), _texts(parts[2])
    if mx is None or lines is None:
        return None
    return parts[0], Policy(entry.mode, mx, entry.max_age, lines)


def restore(mode: object, body: object, fetched_at: object, max_age: object, used_at: object) -> Entry | None:
    """An entry from what a store gave back; None if nothing can be made of it."""
    known = _MODES.get(mode) if isinstance(mode, str) else None
    fetched, used = _seconds(fetched_at), _seconds(used_at)
    if known is None or fetched is None or not isinstance(body, bytes):
        return None
    if not isinstance(max_age, int) or not 0 <= max_age <= LONGEST_AGE:
        return None
    return Entry(known, body, fetched, max_age, fetched if used is None else used)


def _seconds(value: object) -> float | None:
    if isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value < 1e12:
        return float(value)
    return None


def _texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None
