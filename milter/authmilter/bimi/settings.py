"""What the operator says about BIMI, as the checks take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography import x509

from authmilter.bimi.evidence.logs import Logs

Evidence = Literal["require", "optional", "off"]
Revocation = Literal["off", "soft", "hard"]


@dataclass(frozen=True, slots=True)
class MarkSettings:
    """Which mark certificates are accepted."""

    roots: tuple[x509.Certificate, ...] = ()
    common_marks: bool = True  # CMC too, not VMC alone
    revocation: Revocation = "soft"  # "hard": a list that cannot be had counts against the certificate
    logs: Logs | None = None  # None: an SCT must be there, and is not verified


@dataclass(frozen=True, slots=True)
class BimiSettings:
    evidence: Evidence = "require"  # "off": nothing is fetched
    compare: bool = False  # fetch l= beside the evidence, and compare
    seconds: float = 2.0  # that one message waits for fetches, in all
    marks: MarkSettings = MarkSettings()

    @property
    def checks_evidence(self) -> bool:
        """BIMI core §7.3 step 3: who does not check evidence goes on as if there were none."""
        return self.evidence == "require" or bool(self.marks.roots)
