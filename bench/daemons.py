"""What the daemons that are compared have in common, milters and policy daemons: files, processes, their use of CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import usage
from tests.support.processes import ServerProcess, StartFailed, Unavailable
from tests.support.waiting import wait_until

ROOT = Path(__file__).parent.parent
# What can go wrong with one that is then left out, while the rest is measured
LEFT_OUT = (Unavailable, StartFailed, AssertionError, subprocess.SubprocessError)


def write(directory: Path, name: str, text: str) -> Path:
    """Write a file for a daemon."""
    path = directory / name
    path.write_text(text)
    return path


def installed(name: str, hint: str) -> Path:
    """A program of the environment that this runs in; raises Unavailable with `hint`."""
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        raise Unavailable(f"{program} is not there: {hint}")
    return program


def with_resolv_conf(directory: Path, nameserver: str, *command: str | Path) -> Sequence[str | Path]:
    """`command` in a mount namespace with another /etc/resolv.conf; raises Unavailable without root."""
    if os.geteuid() != 0:
        raise Unavailable("it reads /etc/resolv.conf only, and putting another over it takes root")
    resolv = write(directory, "resolv.conf", f"nameserver {nameserver}\n")
    within = f"mount --bind {resolv} /etc/resolv.conf && exec {' '.join(map(str, command))}"
    return ["unshare", "--mount", "sh", "-c", within]


def used(process: ServerProcess) -> usage.Usage:
    """What it has used until now, children included."""
    return usage.of(process.members())


def settle(process: ServerProcess, name: str, seconds: float) -> None:
    """Wait until it uses next to no CPU for a moment."""

    def settled() -> bool:
        before = used(process).cpu
        time.sleep(0.3)
        return used(process).cpu - before <= 0.02

    wait_until(settled, f"{name} at rest", timeout=seconds)
