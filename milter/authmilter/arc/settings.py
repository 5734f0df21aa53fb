"""What ARC validation may be told: its limits. What DKIM is told holds for ARC's signatures too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArcSettings:
    """The receiver's choices."""

    max_sets: int = 50
    """A chain of more sets fails; 1 to 50 (RFC 8617 §4.2.1)."""

    max_keys: int = 20
    """A chain that needs more different keys fails: each costs look-ups at somebody's name servers (RFC 8617 §9.2)."""
