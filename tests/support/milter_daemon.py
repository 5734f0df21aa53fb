"""`authmilter serve` as a process of its own, with settings from a dictionary.

    with MilterDaemon({"authserv_id": "mx.home.example", "dns": {"nameservers": [dns.address]}}) as daemon:
        daemon.address    # "unix:/tmp/.../milter.sock", ready to be spoken to
        daemon.log.wait("dmarc=fail")

Diagnostics: `StartFailed` with what the daemon wrote, if it ends or does not answer within ten seconds.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.milter_client import MilterClient
from tests.support.processes import ServerProcess, StartFailed
from tests.support.waiting import LogFile, TimedOut, wait_until


def program() -> Path:
    """The command that stands beside the Python that runs this."""
    return Path(sys.executable).parent / "authmilter"


def toml(settings: Mapping[str, Any]) -> str:
    """Write nested dictionaries as TOML; values are strings, numbers, truth values and lists of them."""
    lines: list[str] = []

    def table(values: Mapping[str, Any], name: str) -> None:
        if name:
            lines.append(f"[{name}]")
        # JSON's strings, numbers, truth values and lists read the same in TOML.
        lines.extend(
            f"{json.dumps(key)} = {json.dumps(value)}"
            for key, value in values.items()
            if not isinstance(value, Mapping)
        )
        for key, value in values.items():
            if isinstance(value, Mapping):
                table(value, f"{name}.{json.dumps(key)}" if name else key)

    table(settings, "")
    return "\n".join(lines) + "\n"


class MilterDaemon:
    """One daemon. `start()` and `stop()`, or use it as a context manager."""

    def __init__(self, settings: Mapping[str, Any] | None = None, *, socket: str = "") -> None:
        """settings: as in authmilter.toml. socket: "" = a Unix socket in a directory of its own.

        The socket may be used by everybody who can reach it unless the settings say otherwise: Postfix runs as another
        user.
        """
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-milter-", dir="/tmp"))
        self.base.chmod(0o755)
        self.settings: dict[str, Any] = {
            "socket": socket or f"unix:{self.base}/milter.sock",
            "socket_mode": "0666",
            "workers": 2,
            **(settings or {}),
        }
        self.address: str = self.settings["socket"]
        self.config = self.base / "authmilter.toml"
        self.log = LogFile(self.base / "log")
        self._process: ServerProcess | None = None

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
        """Start and wait until it has negotiated on a connection."""
        try:
            self.configure({})
            self._process = ServerProcess([program(), "serve", "--config", self.config], output=self.log.path)
            wait_until(self._answers, "the milter's answer", timeout=10.0, context=self.log.text)
        except TimedOut as problem:
            self.stop(at_once=True)
            raise StartFailed(str(problem)) from None
        except BaseException:  # an interrupt too must leave nothing behind
            self.stop(at_once=True)
            raise

    def _answers(self) -> bool:
        self.process.require_alive()
        try:
            MilterClient(self.address, timeout=5.0).quit()
        except OSError:
            return False
        return True

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [pid for pid in self.process.members() if pid != self.process.pid]

    def reload(self, settings: Mapping[str, Any]) -> None:
        """Write other settings and send SIGHUP; `log.wait` tells when they are taken."""
        self.configure(settings)
        self.process.send(signal.SIGHUP)

    def restart(self) -> None:
        """Stop at once and start again with the same socket."""
        self.process.kill()
        self.start()

    def stop(self, *, at_once: bool = False) -> None:
        """Stop by SIGTERM, or by SIGKILL if `at_once` (libmilter takes seconds to stop), and remove the directory."""
        try:
            if self._process is not None:
                if at_once:
                    self._process.kill()
                self._process.stop(timeout=25.0)
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
        self.stop(at_once=True)
