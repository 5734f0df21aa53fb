"""Server processes that the tests and the demo start, and that never outlive them.

Each process gets a session of its own, so that it and all its children can be found and killed together. Three nets
catch what is left: `stop()` (also at the end of a `with`), a hook at the interpreter's exit, and beside each server a
shell that waits for the end of a pipe held by this process, which comes even if this process is killed. (The kernel's
parent-death signal would not do: it is forgotten when a process changes its user, as Postfix's master does.)

Diagnostics: `Unavailable` says that this machine lacks something (a program, root); the caller skips or does less.
`StartFailed` carries the process's own output.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import LogFile, TimedOut, wait_until


class Unavailable(RuntimeError):
    """This machine lacks something; the text says what and how to get it."""


class StartFailed(RuntimeError):
    """A server did not come up; the text holds what it said."""


_running: set[ServerProcess] = set()


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Put off what SIGINT and SIGTERM do: between a fork and its entry in our books nothing may interrupt us."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    came: list[int] = []
    former = {
        number: signal.signal(number, lambda got, _: came.append(got)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for got in came:
            signal.raise_signal(got)


def find_program(name: str, package: str) -> str:
    """Return the path of a program of the system, sbin included; raises `Unavailable` naming the Debian package."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if path is None:
        raise Unavailable(f"{name} is not installed (Debian: apt-get install {package})")
    return path


def session_members(session: int) -> list[int]:
    """Process ids, zombies left out, that belong to the session or process group `session`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text("latin-1")
        except OSError:  # gone between the listing and the reading
            continue
        state, _, group, sid = stat.rpartition(")")[2].split()[:4]
        if state not in "ZX" and session in (int(group), int(sid)):
            found.append(int(entry.name))
    return found


class ServerProcess:
    """One running program with its output in a file. Use as a context manager or call `stop()`."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        output: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start `argv`; standard output and error are appended to the file `output`, `env` is added to ours."""
        self.argv = [str(part) for part in argv]
        self.output = LogFile(output)
        with output.open("ab") as sink, _signals_later():
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", 'cat >/dev/null; kill -KILL "-$1"', "guard", str(self._popen.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            _running.add(self)

    @property
    def pid(self) -> int:
        """Process id of the program itself, which is also its session's."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def alive(self) -> bool:
        """Whether the program itself still runs."""
        return self._popen.poll() is None

    def members(self) -> list[int]:
        """Process ids of the program and of all it started."""
        return session_members(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself; nothing happens if it has ended."""
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait for the program's end and return its exit status; raises `subprocess.TimeoutExpired`."""
        return self._popen.wait(timeout)

    def require_alive(self) -> None:
        """Raise `StartFailed` with the output if the program has ended."""
        if not self.alive():
            raise StartFailed(f"{self.argv} ended with {self.returncode}:\n{self.output.text()[-4000:]}")

    def stop(self, timeout: float = 8.0) -> None:
        """SIGTERM, then SIGKILL to whatever of the session is left after `timeout` seconds. May be called twice."""
        if self.alive():
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        with contextlib.suppress(TimedOut):
            # Children get the signal from their parent: a short while to follow it.
            wait_until(lambda: not self.members(), "end of the children", timeout=1.0)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the program and all it started, and wait until they are gone."""

        def gone() -> bool:
            members = self.members()
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.poll()
            return not members

        wait_until(gone, f"end of {self.argv}", timeout=5.0)
        self._popen.wait(5.0)
        self._dismiss_guard()
        _running.discard(self)

    def _dismiss_guard(self) -> None:
        # It must be gone before its pipe ends, or it would kill whoever has got the number since.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait(5.0)
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@atexit.register
def _kill_all() -> None:
    for process in list(_running):
        with contextlib.suppress(TimedOut, subprocess.TimeoutExpired):
            process.kill()
