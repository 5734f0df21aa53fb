"""A daemon of ours as a process of its own, with settings from a dictionary.

`MilterDaemon` and `PolicyDaemon` say what is special to each.

Diagnostics: `StartFailed` with what the daemon wrote, if it ends or does not answer within ten seconds.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.processes import ServerProcess, StartFailed
from tests.support.waiting import LogFile, TimedOut, wait_until

_BARE = re.compile(r"[A-Za-z0-9_-]+").fullmatch  # TOML: what a key is without quotes


def toml(settings: Mapping[str, Any]) -> str:
    """Write nested dictionaries as TOML; values are strings, numbers, truth values and lists of them."""
    lines: list[str] = []

    def table(values: Mapping[str, Any], name: str) -> None:
        if name:
            lines.append(f"[{name}]")
        # JSON's strings, numbers, truth values and lists read the same in TOML.
        lines.extend(
            f"{key if _BARE(key) else json.dumps(key)} = {json.dumps(value)}"
            for key, value in values.items()
            if not isinstance(value, Mapping)
        )
        for key, value in values.items():
            if isinstance(value, Mapping):
                table(value, f"{name}.{json.dumps(key)}" if name else key)

    table(settings, "")
    return "\n".join(lines) + "\n"


def private_folder(name: str) -> Path:
    """A new directory that Postfix, which runs as another user, can reach."""
    folder = Path(tempfile.mkdtemp(prefix=f"gatepost-{name}-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


class DaemonProcess:
    """One daemon. `start()` and `stop()`, or use it as a context manager."""

    name = ""  # of the command, and of its settings file
    stop_seconds = 15.0
    # how a context ends it
    leave_at_once = False

    def __init__(self, base: Path, settings: Mapping[str, Any], command: Sequence[str | Path]) -> None:
        """base: a directory of its own, removed at the end. command: what `serve --config FILE` is put behind."""
        self.base = base
        self.settings = dict(settings)
        self.address: str = self.settings["socket"]
        self.config = base / f"{self.name}.toml"
        self.log = LogFile(base / "log")
        self._command = command
        self._process: ServerProcess | None = None

    def answers(self) -> bool:
        """Whether it answers on its socket; raises OSError if not."""
        raise NotImplementedError

    @property
    def process(self) -> ServerProcess:
        """The running daemon."""
        assert self._process is not None, "not started"
        return self._process

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write other settings into the file; top-level keys that are not named stay. Nothing is told to the daemon."""
        self.settings |= settings
        self.config.write_text(toml(self.settings))

    def start(self) -> None:
        """Start and wait until it has answered."""
        try:
            self.configure({})
            argv = [*self._command, "serve", "--config", self.config]
            self._process = ServerProcess(argv, output=self.log.path)
            wait_until(self._ready, "the daemon's answer", timeout=10.0, context=self.log.text)
        except TimedOut as problem:
            self.stop(at_once=True)
            raise StartFailed(str(problem)) from None
        except BaseException:  # an interrupt too must leave nothing behind
            self.stop(at_once=True)
            raise

    def _ready(self) -> bool:
        self.process.require_alive()
        try:
            return self.answers()
        except OSError:
            return False

    def reload(self, settings: Mapping[str, Any]) -> None:
        """Write other settings and send SIGHUP; `log.wait` tells when they are taken."""
        self.configure(settings)
        self.process.send(signal.SIGHUP)

    def restart(self) -> None:
        """Stop by SIGKILL and start again with the same socket and the same files."""
        self.process.kill()
        self.start()

    def stop(self, *, at_once: bool = False) -> None:
        """Stop by SIGTERM, or by SIGKILL if `at_once`, and remove the directory."""
        try:
            if self._process is not None:
                if at_once:
                    self._process.kill()
                self._process.stop(timeout=self.stop_seconds)
                self._process = None
        finally:
            # A daemon that was killed leaves its socket, which nobody would answer.
            if self.address.startswith("unix:"):
                Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(at_once=self.leave_at_once)
