"""The settings of BIMI that are meant for tests or weaken what an indicator says. Pure.

Roots and lists in `[bimi]` are read with the settings, which are refused if they are bad.
"""

from __future__ import annotations

from authmilter.settings import Bimi
from mailcommon.doctor.findings import Finding, mend, note, right


def judge_brands(bimi: Bimi) -> tuple[Finding, ...]:
    """The rules; nothing is said where BIMI is off."""
    if not bimi.enabled:
        return ()
    found: list[Finding] = []
    if bimi.https_port != 443:
        found.append(
            mend(
                "bimi-port",
                f"[bimi] https_port is {bimi.https_port}",
                "indicators are fetched from port 443 alone by everybody else",
                "https_port = 443",
            )
        )
    if bimi.evidence != "require":
        found.append(
            note(
                "bimi-evidence",
                f"[bimi] evidence is {bimi.evidence}",
                "anybody with a DMARC policy can have the logo of somebody else shown",
            )
        )
    if bimi.allow_private_addresses:
        found.append(
            note(
                "bimi-private",
                "[bimi] allow_private_addresses is on",
                "whoever owns a domain can make this host connect to services inside your network",
            )
        )
    return tuple(found) or (right("bimi", "indicators need a mark certificate"),)
