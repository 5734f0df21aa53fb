"""Tell systemd how the service is (sd_notify(3), sd_watchdog_enabled(3)); nothing happens where no systemd listens.

Diagnostics: nothing raises. A manager that does not hear of us says so itself, when its time is up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

# In the time after which the manager takes a silent daemon for hung. A worker of the milter that hangs is gone after
# four, which leaves two in which the daemon can show that it is alive again.
_BEATS = 6


def notify(*states: str) -> None:
    """Send `states`, such as "READY=1", to $NOTIFY_SOCKET if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.connect(address)
        sender.send("\n".join(states).encode())


def notify_reloading() -> None:
    """New settings are about to be taken; "READY=1" says that this is over."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float:
    """Seconds between two "WATCHDOG=1", 0.0 if the manager does not wait for any from this process."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6 / _BEATS
