"""The keys that real Postfix sends, as tests/test_tlspolicyd/data/postfix_keys.txt has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).parents[1] / "test_tlspolicyd/data/postfix_keys.txt"


@dataclass(frozen=True, slots=True)
class SentKey:
    """One line of the record."""

    next_hop: str  # the recipient's domain; "by:" and a next hop of transport_maps
    key: str
    domain: str | None  # whose policy is asked for


def sent_keys() -> list[SentKey]:
    """The record, line by line."""
    found = []
    for line in _FILE.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            next_hop, key, domain = line.split()
            found.append(SentKey(next_hop, key, None if domain == "-" else domain))
    return found
