"""A real Valkey or Redis server of our own on a loopback port and a Unix socket.

It keeps nothing on disk: `restart()` gives an empty one at the same place, `freeze()` one that does not answer.

Diagnostics: `Unavailable` if neither is installed; `StartFailed` with its output.
"""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port, release_port
from tests.support.processes import ServerProcess, Unavailable, find_program
from tests.support.waiting import wait_until


def _program() -> str:
    try:
        return find_program("valkey-server", "valkey-server")
    except Unavailable:
        return find_program("redis-server", "redis-server")


def missing() -> str:
    """Why no private server can run on this machine, "" if it can."""
    try:
        _program()
    except Unavailable as problem:
        return str(problem)
    return ""


class PrivateValkey:
    """One server. `start()` and `stop()`, or use it as a context manager."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.port = free_port()
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-valkey-", dir="/tmp"))
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """As the setting [cache] store takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The same server by its Unix socket."""
        return f"unix://{self.base}/socket?db=0"

    def start(self) -> None:
        """Start and wait until it answers."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": f"{self.base}/socket",
            "dir": str(self.base),
            "save": "",
            "appendonly": "no",
        }
        argv = [_program(), *(part for name, value in options.items() for part in (f"--{name}", value))]
        process = self._process = ServerProcess(argv, output=self.base / "output")

        def answers() -> bool:
            process.require_alive()
            return self.command("PING") == b"+PONG\r\n"

        wait_until(answers, "the server's answer", context=process.output.text)

    def command(self, *words: str) -> bytes:
        """One command without redis-py; the first octets of the answer, b"" if nobody answers."""
        text = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as link:
                link.sendall(text.encode())
                return link.recv(65_536)
        except OSError:
            return b""

    def freeze(self) -> None:
        """It goes on listening and says nothing."""
        assert self._process is not None
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """The end of `freeze`."""
        assert self._process is not None
        self._process.send(signal.SIGCONT)

    def halt(self) -> None:
        """Stop the server; `start` brings an empty one."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """An empty server at the same place."""
        self.halt()
        self.start()

    def stop(self) -> None:
        """Stop it and remove its directory. May be called twice."""
        try:
            self.halt()
        finally:
            release_port(self.port)
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
