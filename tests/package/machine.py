"""A Debian tree booted under its own systemd (systemd-nspawn), with a network of its own that leads nowhere.

Commands go in by nsenter(1); connections are made from here, within its network.

Diagnostics: `Failed` if it does not come up or a command in it fails; `Unavailable` without systemd-container.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.package.tree import Failed, Tree, run
from tests.support.processes import ServerProcess, find_program
from tests.support.waiting import TimedOut, wait_until

_STOP = signal.SIGRTMIN + 4  # systemd(1): power off


class Machine:
    """One booted tree; a context manager."""

    def __init__(self, tree: Tree, log: Path) -> None:
        self.tree = tree
        self.leader = 0
        program = find_program("systemd-nspawn", "systemd-container")
        options = [
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--private-network",
            "--resolv-conf=off",
            "--timezone=off",
        ]
        self._nspawn = ServerProcess(
            # under cgroups of version 1 a new systemd wants to be asked for
            [program, f"--directory={tree.root}", "--machine=gatepost-try", *options, "--boot"],
            output=log,
            env={"UNIFIED_CGROUP_HIERARCHY": "1"},
        )
        try:
            wait_until(
                self._booted, "the end of its boot", timeout=120.0, interval=0.3, context=self._nspawn.output.text
            )
        except BaseException:
            self.stop()
            raise

    def _booted(self) -> bool:
        self._nspawn.require_alive()
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # at first it is a child that only makes another one
        self.leader = int(children[0]) if children else 0
        if not self.leader:
            return False
        # "degraded": some unit of the tree that is not ours failed
        state = subprocess.run(
            self._inside("systemctl", "is-system-running"), capture_output=True, text=True, check=False
        )
        return state.stdout.strip() in ("running", "degraded")

    def _inside(self, *command: str) -> list[str]:
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        return [*enter, *clean, *command]

    def run(self, *command: str, seconds: float = 200.0) -> str:
        """Run a command in it as root; raises `Failed`."""
        return run(self._inside(*command), seconds)

    def succeeds(self, *command: str) -> bool:
        """Whether it ends with status 0."""
        return subprocess.run(self._inside(*command), capture_output=True, check=False).returncode == 0

    def call(self, function: str, *arguments: str) -> Any:
        """Run a function of `tests.package.client` from here, with the network of the machine."""
        command = [sys.executable, "-m", "tests.package.client", function, *arguments]
        return json.loads(run(["nsenter", f"--target={self.leader}", "--net", *command], 100.0))

    def start_calling(self, function: str, *arguments: str) -> subprocess.Popen[str]:
        """The same without waiting for its end; its standard input is open."""
        command = [
            "nsenter",
            f"--target={self.leader}",
            "--net",
            sys.executable,
            "-m",
            "tests.package.client",
            function,
        ]
        return subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def unit(self, name: str, key: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={key}", name).strip()

    def journal(self, unit: str) -> str:
        """What a unit has logged."""
        return self.run("journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}")

    def wait(self, condition: Any, what: str, seconds: float = 60.0) -> None:
        """Wait for `condition()`; raises `Failed`."""
        try:
            wait_until(condition, what, timeout=seconds, interval=0.2)
        except TimedOut as late:
            raise Failed(str(late)) from None

    def stop(self) -> None:
        """Power off."""
        if self._nspawn.alive() and self.leader:
            os.kill(self.leader, _STOP)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(60.0)
        self._nspawn.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
