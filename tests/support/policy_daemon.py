"""`tlspolicyd serve` as a process of its own, with settings from a dictionary.

    with PolicyDaemon({"dns": {"nameservers": [dns.address]}}) as daemon:
        daemon.ask("a.example")    # "OK secure match=..."
        daemon.log.wait("decision=secure")

Diagnostics: `StartFailed` with what the daemon wrote, if it ends or does not answer within ten seconds.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.milter_daemon import toml
from tests.support.processes import ServerProcess, StartFailed
from tests.support.socketmap_client import SocketmapClient
from tests.support.waiting import LogFile, TimedOut, wait_until

COMMAND = (sys.executable, "-m", "tlspolicyd")


class PolicyDaemon:
    """One daemon. `start()` and `stop()`, or use it as a context manager."""

    def __init__(
        self, settings: Mapping[str, Any] | None = None, *, socket: str = "", command: tuple[str, ...] = ()
    ) -> None:
        """settings: as in tlspolicyd.toml. socket: "" = a Unix socket in a directory of its own. command: what is put
        before the daemon's command line.

        Unless the settings say otherwise policies are kept in a file of this directory, the socket may be used by
        everybody who can reach it (Postfix runs as another user), and DANE is off.
        """
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-policy-", dir="/tmp"))
        self.base.chmod(0o755)
        self.store = self.base / "policies.db"
        self.settings: dict[str, Any] = {
            "socket": socket or f"unix:{self.base}/policy.sock",
            "socket_mode": "0666",
            "cache": {"store": f"sqlite:{self.store}"},
            "dane": {"enabled": False},
            **(settings or {}),
        }
        self.address: str = self.settings["socket"]
        self.config = self.base / "tlspolicyd.toml"
        self.log = LogFile(self.base / "log")
        self._command = command
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
        """Start and wait until it has answered."""
        try:
            self.configure({})
            argv = [*self._command, *COMMAND, "serve", "--config", str(self.config)]
            self._process = ServerProcess(argv, output=self.log.path)
            wait_until(self._answers, "the daemon's answer", timeout=10.0, context=self.log.text)
        except TimedOut as problem:
            self.stop(at_once=True)
            raise StartFailed(str(problem)) from None
        except BaseException:  # an interrupt too must leave nothing behind
            self.stop(at_once=True)
            raise

    def _answers(self) -> bool:
        self.process.require_alive()
        try:
            with self.client(5.0) as client:
                return client.ask("policy", "[127.0.0.1]") == "NOTFOUND "
        except OSError:
            return False

    def client(self, timeout: float = 15.0) -> SocketmapClient:
        """A connection to it."""
        return SocketmapClient(self.address, timeout)

    def ask(self, key: str, map_name: str = "policy") -> str:
        """The reply to one request, on a connection of its own."""
        with self.client() as client:
            return client.ask(map_name, key)

    def reload(self, settings: Mapping[str, Any]) -> None:
        """Write other settings and send SIGHUP; `log.wait` tells when they are taken."""
        self.configure(settings)
        self.process.send(signal.SIGHUP)

    def restart(self) -> None:
        """Stop by SIGKILL and start again with the same socket and store."""
        self.process.kill()
        self.start()

    def stop(self, *, at_once: bool = False) -> None:
        """Stop by SIGTERM, or by SIGKILL if `at_once`, and remove the directory."""
        try:
            if self._process is not None:
                if at_once:
                    self._process.kill()
                self._process.stop(timeout=15.0)
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
        self.stop()
