"""`tlspolicyd serve` as a process of its own, with settings from a dictionary.

    with PolicyDaemon({"dns": {"nameservers": [dns.address]}}) as daemon:
        daemon.ask("a.example")    # "OK secure match=..."
        daemon.log.wait("decision=secure")

Diagnostics: see `DaemonProcess`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any

from tests.support.daemon_process import DaemonProcess, private_folder
from tests.support.socketmap_client import SocketmapClient
from tests.support.waiting import wait_until

COMMAND = (sys.executable, "-m", "tlspolicyd")


class PolicyDaemon(DaemonProcess):
    """One policy daemon."""

    name = "tlspolicyd"

    def __init__(
        self, settings: Mapping[str, Any] | None = None, *, socket: str = "", command: tuple[str, ...] = ()
    ) -> None:
        """settings: as in tlspolicyd.toml. socket: "" = a Unix socket in a directory of its own. command: what is put
        before the daemon's command line.

        Unless the settings say otherwise policies are kept in a file of this directory, the socket may be used by
        everybody who can reach it (Postfix runs as another user), and DANE is off.
        """
        base = private_folder("policy")
        self.store = base / "policies.db"
        usual: dict[str, Any] = {
            "socket": socket or f"unix:{base}/policy.sock",
            "socket_mode": "0666",
            "cache": {"store": f"sqlite:{self.store}"},
            "dane": {"enabled": False},
        }
        super().__init__(base, {**usual, **(settings or {})}, [*command, *COMMAND])

    def answers(self) -> bool:
        """See DaemonProcess."""
        with self.client(5.0) as client:
            return client.ask("policy", "[127.0.0.1]") == "NOTFOUND "

    def client(self, timeout: float = 15.0) -> SocketmapClient:
        """A connection to it."""
        return SocketmapClient(self.address, timeout)

    def wait_kept(self, domain: str) -> None:
        """Wait until the policy of `domain` is in the file: a new one is written some tenths of a second later."""
        with contextlib.closing(sqlite3.connect(self.store)) as link:
            query = "SELECT 1 FROM policies WHERE domain = ? AND mode IS NOT NULL"
            wait_until(lambda: link.execute(query, (domain,)).fetchall(), f"the policy of {domain} in the store")

    def ask(self, key: str, map_name: str = "policy") -> str:
        """The reply to one request, on a connection of its own."""
        with self.client() as client:
            return client.ask(map_name, key)
