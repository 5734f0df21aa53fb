"""Tell systemd how the service is (sd_notify(3)); nothing happens where no systemd listens."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `state`, such as "READY=1", to $NOTIFY_SOCKET if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.send(state.encode())
