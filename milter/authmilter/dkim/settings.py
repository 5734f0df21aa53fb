"""What DKIM verification may be told: limits, and what the standard leaves to the receiver."""

from __future__ import annotations

from dataclasses import dataclass

from authmilter.dkim.compromised import CompromisedKeys


@dataclass(frozen=True, slots=True)
class DkimSettings:
    """The receiver's choices. Every default is the strict one."""

    max_signatures: int = 10
    """Signatures verified per message, 1 and up; the others are counted and left alone (RFC 6376 §6.1, §8.4)."""

    clock_skew: float = 300.0
    """Seconds by which a signer's clock may differ from ours in `t=` and `x=` (RFC 6376 §3.5)."""

    min_rsa_bits: int = 1024
    """Shorter RSA keys give `policy`. RFC 8301 §3.2 forbids less than 1024."""

    max_rsa_bits: int = 8192
    """Longer RSA keys give `policy`: they cost time to verify. RFC 8301 §3.2 wants at least 4096."""

    accept_partial_body: bool = False
    """Whether a body that goes on beyond `l=` may still pass (RFC 6376 §8.2)."""

    accept_added_fields: bool = False
    """Whether a second Subject, From, ... that the signature does not cover may stand beside it (RFC 6376 §8.15)."""

    compromised: CompromisedKeys | None = None
    """What is known of keys that others have too; they give `policy`."""

    refused_domains: frozenset[str] = frozenset()
    """`d=` values (A-labels, lower case) that sign for nobody, such as public suffixes (RFC 6376 §6.1.1)."""
