"""Is the clock right? Signatures, certificates and policies all have dates."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

from mailcommon.doctor.findings import Finding, mend, right, unseen

_UNSYNC = 0x40  # STA_UNSYNC of adjtimex(2)
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ClockFacts:
    now: float  # unix seconds
    installed: float  # when these programs were put here, by the same clock
    synchronised: bool | None  # by the kernel's word, None if that cannot be had


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )


def read_clock() -> ClockFacts:
    """What the kernel says; chrony, ntpd and systemd-timesyncd all tell it."""
    state = _Timex()  # modes 0: nothing is set
    try:
        answer = ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        answer = -1
    return ClockFacts(time.time(), Path(__file__).stat().st_mtime, None if answer < 0 else not state.status & _UNSYNC)


def judge_clock(facts: ClockFacts) -> tuple[Finding, ...]:
    """The rules."""
    if facts.now < facts.installed - _DAY:
        return (
            mend(
                "clock-behind",
                f"it is {time.strftime('%Y-%m-%d %H:%M', time.gmtime(facts.now))} UTC by this host's clock",
                "that is before this program was installed: signatures and certificates look invalid",
                "set the clock and let chrony or systemd-timesyncd keep it",
            ),
        )
    if facts.synchronised is None:
        return (unseen("clock-unsynchronised", "the kernel does not say whether the clock is synchronised"),)
    if not facts.synchronised:
        return (
            mend(
                "clock-unsynchronised",
                "the kernel says that nothing keeps the clock right",
                "it drifts until signatures and certificates look invalid",
                "apt-get install chrony, or: timedatectl set-ntp true",
            ),
        )
    return (right("clock", "the clock is synchronised"),)
