"""Stands in for systemd towards one daemon: its notify socket and its watchdog (sd_notify(3)).

    with ServiceManager(tmp_path, monkeypatch, watchdog=2.0) as manager, PolicyDaemon(...) as daemon:
        manager.wait("READY=1")

Diagnostics: `TimedOut` with what came.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.waiting import DEADLINE, TimedOut


class ServiceManager:
    """Started before the daemon, which inherits the environment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, watchdog: float = 0.0) -> None:
        """watchdog: seconds after which a silent daemon would be taken for hung, 0.0 = never."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        if watchdog:
            monkeypatch.setenv("WATCHDOG_USEC", str(int(watchdog * 1e6)))

    def next(self, seconds: float) -> tuple[int, dict[str, str]] | None:
        """What comes next, and from which process; None if nothing comes within `seconds`."""
        self._socket.settimeout(max(seconds, 0.001))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
        except TimeoutError:
            return None
        pid = int.from_bytes(ancillary[0][2][:4], "little")
        return pid, dict(line.split("=", 1) for line in data.decode().splitlines())

    def wait(self, state: str, seconds: float = DEADLINE) -> dict[str, str]:
        """The first message that has `state`, such as "READY=1"; what comes before is passed over."""
        key, _, value = state.partition("=")
        end = time.monotonic() + seconds
        came = []
        while (left := end - time.monotonic()) > 0:
            message = self.next(left)
            if message is None:
                break
            came.append(message[1])
            if message[1].get(key) == value:
                return message[1]
        raise TimedOut(f"no {state} within {seconds:g} s, but {came}")

    def silence(self, seconds: float, patience: float = DEADLINE) -> None:
        """Wait until nothing has come for `seconds`; raises `TimedOut` if it goes on for `patience`."""
        end = time.monotonic() + patience
        while self.next(seconds) is not None:
            if time.monotonic() > end:
                raise TimedOut(f"it goes on for {patience:g} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
