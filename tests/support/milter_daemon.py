"""`authmilter serve` as a process of its own, with settings from a dictionary.

    with MilterDaemon({"authserv_id": "mx.home.example", "dns": {"nameservers": [dns.address]}}) as daemon:
        daemon.address    # "unix:/tmp/.../milter.sock", ready to be spoken to
        daemon.log.wait("dmarc=fail")

Diagnostics: see `DaemonProcess`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.daemon_process import DaemonProcess, private_folder
from tests.support.milter_client import MilterClient


def program() -> Path:
    """The command that stands beside the Python that runs this."""
    return Path(sys.executable).parent / "authmilter"


class MilterDaemon(DaemonProcess):
    """One milter, ready when it has negotiated on a connection."""

    name = "authmilter"
    stop_seconds = 25.0
    leave_at_once = True  # libmilter takes seconds to stop

    def __init__(self, settings: Mapping[str, Any] | None = None, *, socket: str = "") -> None:
        """settings: as in authmilter.toml. socket: "" = a Unix socket in a directory of its own.

        The socket may be used by everybody who can reach it unless the settings say otherwise: Postfix runs as another
        user.
        """
        base = private_folder("milter")
        usual = {"socket": socket or f"unix:{base}/milter.sock", "socket_mode": "0666", "workers": 2}
        super().__init__(base, {**usual, **(settings or {})}, ["env", f"RUNTIME_DIRECTORY={base}", program()])

    def answers(self) -> bool:
        """See DaemonProcess."""
        MilterClient(self.address, timeout=5.0).quit()
        return True

    def children(self) -> list[int]:
        """Process ids of all but the parent: workers, the page of metrics, and now and then who asks the socket."""
        return [pid for pid in self.process.members() if pid != self.process.pid]

    def workers(self) -> list[int]:
        """Process ids of the workers that have begun: unlike the child that asks the socket they have threads."""
        return [pid for pid in self.children() if _threads(pid) > 1]


def _threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:  # it has ended
        return 0
