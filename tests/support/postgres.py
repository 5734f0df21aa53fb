"""A real PostgreSQL of our own: a fresh cluster on a loopback port, run by the user postgres (or by us, if not root).

    with PrivatePostgres() as server:
        server.url("alpha")     # a database of that name, made if it is not there
        server.restart()        # sessions end, data stay

Diagnostics: `Unavailable` if it is not installed; `StartFailed` with its output.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from tests.support.ports import free_port, release_port
from tests.support.processes import ServerProcess, Unavailable
from tests.support.waiting import wait_until

_USER = "postgres"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent


def missing() -> str:
    """Why no private server can run on this machine, "" if it can."""
    try:
        _programs()
    except Unavailable as problem:
        return str(problem)
    return ""


class PrivatePostgres:
    """One server. `start()` and `stop()`, or use it as a context manager."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.port = free_port()
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-postgres-", dir="/tmp"))
        self._as_user: list[str | Path] = []
        if os.geteuid() == 0:  # the server refuses to be run by root
            owner = pwd.getpwnam(_USER)
            os.chown(self.base, owner.pw_uid, owner.pw_gid)
            self._as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
        self._process: ServerProcess | None = None

    def url(self, database: str = _USER) -> str:
        """As a setting takes it; makes the database."""
        if database != _USER:
            with (
                contextlib.suppress(psycopg.errors.DuplicateDatabase),
                psycopg.connect(self.url(), autocommit=True) as link,
            ):
                link.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster if there is none, start, and wait until it answers."""
        data = self.base / "data"
        if not data.exists():
            made = subprocess.run(
                [*self._as_user, _programs() / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
                cwd="/",
                capture_output=True,
                check=False,
            )
            assert made.returncode == 0, made.stderr.decode()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "autovacuum": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = [*self._as_user, _programs() / "postgres", "-D", data, *options]
        process = self._process = ServerProcess(argv, output=self.base / "output", cwd=Path("/"))

        def answers() -> bool:
            process.require_alive()
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url()):
                return True
            return False

        wait_until(answers, "the server's answer", context=process.output.text)

    def halt(self) -> None:
        """End all sessions and stop; `start` brings it back with its data."""
        if self._process is not None:
            self._process.send(signal.SIGQUIT)  # immediate shutdown: as after a crash
            self._process.stop()
            self._process = None

    def restart(self) -> None:
        """The server goes away in the middle of whatever it does, and comes back."""
        self.halt()
        self.start()

    def freeze(self) -> None:
        """All of it stops answering; connections stay."""
        assert self._process is not None
        for pid in self._process.members():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """The end of `freeze`."""
        assert self._process is not None
        for pid in self._process.members():
            os.kill(pid, signal.SIGCONT)

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
