"""What ARC validation and sealing may be told. What DKIM is told holds for ARC's signatures too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArcSettings:
    """The receiver's choices."""

    max_sets: int = 50
    """A chain of more sets fails; 1 to 50 (RFC 8617 §4.2.1)."""

    max_keys: int = 20
    """A chain that needs more different keys fails: each costs look-ups at somebody's name servers (RFC 8617 §9.2)."""


@dataclass(frozen=True, slots=True)
class SealSettings:
    """Who seals, and for whom."""

    domain: str  # d= in A-labels
    selector: str
    file: str  # path of the private key
    recipients: Mapping[str, tuple[str, ...]]
    """Patterns as in `sign.table`: mail for one of these is sealed. What they are mapped to means nothing."""
