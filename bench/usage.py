"""CPU time and peak memory of processes, as the kernel counts them (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    cpu: float  # seconds, user and system, ended children included
    peak: float  # megabytes (10^6): the sum of each process's largest resident size, shared pages counted in each
    now: float  # megabytes: resident now, counted likewise


def machine() -> float:
    """CPU seconds that the whole machine has spent on anything (proc(5), /proc/stat): all but idle and I/O wait."""
    numbers = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS


def reset_peak(processes: Iterable[int]) -> None:
    """Let the peak begin anew at what is resident now: what a start took is not of interest."""
    for pid in processes:
        with contextlib.suppress(OSError):  # without the right the peak of the start stays in
            (Path("/proc") / str(pid) / "clear_refs").write_text("5")


def of(processes: Iterable[int]) -> Usage:
    """The sums over these processes; one that has ended counts nothing."""
    cpu = peak = now = 0.0
    for pid in processes:
        folder = Path("/proc") / str(pid)
        try:
            # the name in parentheses may hold blanks; utime, stime, cutime and cstime are fields 14 to 17
            numbers = (folder / "stat").read_text("latin-1").rpartition(")")[2].split()[11:15]
            status = (folder / "status").read_text("latin-1")
        except OSError:
            continue
        cpu += sum(int(number) for number in numbers) / _TICKS
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak += int(line.split()[1]) * 1024 / 1e6
            elif line.startswith("VmRSS:"):
                now += int(line.split()[1]) * 1024 / 1e6
    return Usage(cpu, peak, now)
