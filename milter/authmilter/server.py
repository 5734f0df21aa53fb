"""`authmilter serve`: a small parent that listens, forks the workers and keeps them alive.

The parent opens the socket, gives up privileges, reads the private keys and forks; it starts no threads. A worker that
dies is replaced at once, and so is one that hangs (`pulse`); SIGTERM and SIGINT stop all; SIGHUP reads settings and
keys again and, if they are good, hands the settings to the workers, which read the keys themselves: nothing of a key is
in the pipe.

Diagnostics: `StartError` before anything is started; afterwards only log lines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from authmilter import session, worker
from authmilter.member import Member
from authmilter.pulse import Pulse, all_answer
from authmilter.settings import Settings
from authmilter.setup import preload, read_files
from authmilter.sign.keyring import Keyring
from mailcommon import log as logging_setup
from mailcommon.log import safe_value
from mailcommon.notify import notify, notify_reloading, watchdog_interval
from mailcommon.privileges import StartError, become, give_socket, group_id, require_free, require_user
from mailcommon.settings import SettingsError

if TYPE_CHECKING:
    from authmilter.metrics.reporting import Reporting

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
# messages under way are finished, and libmilter looks for a stop request every five seconds only
_STOP_SECONDS = worker.DRAIN_SECONDS + 10.0
_HAND_OVER_SECONDS = 0.1  # between two tries to hand a worker settings for which its pipe has no room
_CRASH_LOOP_SECONDS = 1.0  # a worker that lived shorter is restarted after a pause of this length

log = logging.getLogger("authmilter")


def workers_for(settings: Settings) -> int:
    """How many processes to run: the setting, or two for each CPU and two more, at most 16.

    More than the CPUs, because the kernel does not hand out connections evenly: with few processes some would be idle
    while others have several threads behind one interpreter lock.
    """
    return settings.workers or min(16, 2 * (os.cpu_count() or 1) + 2)


class Server:
    """The parent process."""

    def __init__(self, settings: Settings, reload: Callable[[], Settings]) -> None:
        """`reload` reads the settings again and raises SettingsError."""
        self._settings = settings
        self._started_with = settings
        self._reload = reload
        self._current = worker.Current()
        self._keys = Keyring()  # of the settings in force: a worker that is replaced needs no file
        self._workers: dict[int, Member] = {}
        self._pulse = Pulse(settings.socket, watchdog_interval())
        self._stopping = False
        self._reporting: Reporting | None = None  # None: no metrics

    def run(self) -> None:
        """Serve until told to stop; raises StartError before anything runs."""
        number = workers_for(self._settings)
        self._reporting = _reporting(self._settings, number)
        preload(self._settings)
        self._listen()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if self._reporting:
            try:
                self._begin_reporting(self._reporting, number)
            except StartError:
                self._close_socket()
                raise
        for place in range(number):
            self._start_worker(place)
        while not self._stopping:
            came = signal.sigtimedwait(_SIGNALS, self._patience())
            if came:
                self._handle(came.si_signo)
            if not self._pulse.due():
                self._pulse.beat(self._workers.values())
            for each in self._workers.values():
                each.hand_over()
        notify("STOPPING=1")
        self._pulse.stop()
        self._stop_workers()

    def _patience(self) -> float:
        unsaid = any(each.unsaid for each in self._workers.values())
        return min(self._pulse.due(), _HAND_OVER_SECONDS) if unsaid else self._pulse.due()

    def _listen(self) -> None:
        settings = self._settings
        path = Path(settings.socket.removeprefix("unix:")) if settings.socket.startswith("unix:") else None
        if path:
            require_free(path)
        group = group_id(settings.socket_group)
        user = require_user(settings.user)
        old = os.umask(0o777 & ~int(settings.socket_mode, 8))
        try:
            session.open_socket(settings.socket, self._current)
        except OSError as fault:
            raise StartError(f"{fault}: is the address free and may this user bind it?") from fault
        finally:
            os.umask(old)
        if path:
            try:
                path.chmod(int(settings.socket_mode, 8))
                give_socket(path, user, group)
            except OSError as fault:
                raise StartError(
                    f"{path}: cannot be given to {settings.socket_group or settings.user}: {fault.strerror}"
                ) from fault
        become(settings.user)
        try:
            self._keys = read_files(settings)
        except SettingsError as fault:
            if path:
                with contextlib.suppress(OSError):  # a directory that this user may not change
                    path.unlink()
            raise StartError(str(fault)) from fault

    def _begin_reporting(self, reporting: Reporting, workers: int) -> None:
        self._current.figures = reporting.begin()
        self._current.figures.started(workers)
        reporting.use_store(self._settings.reports.store)
        reporting.show(*self._log_settings())

    def _log_settings(self) -> tuple[str, str]:
        return self._settings.log_level, self._settings.log_format

    def _start_worker(self, place: int) -> None:
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(writing)
                ours.close()
                for other in self._workers.values():
                    os.close(other.control)
                    other.pulse.close()
                if self._reporting:
                    self._reporting.be_worker(place)
                # SIGTERM, SIGINT and SIGHUP stay blocked in all threads: libmilter takes them with sigwait(3); one that
                # is not blocked somewhere ends the process in the middle of a message
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
                worker.run(self._current, self._settings, self._keys, reading, theirs)
                status = 0
            except BaseException:
                log.exception("worker failed")
            finally:
                logging.shutdown()
                os._exit(status)
        os.close(reading)
        theirs.close()
        ours.setblocking(False)
        os.set_blocking(writing, False)
        self._workers[pid] = Member(pid, writing, ours, time.monotonic(), place)

    def _handle(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._take_new_settings()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        # after SIGSTOP and SIGCONT Python's sigtimedwait may give a number that is no signal's

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._is_answer(pid, status):
                continue
            if self._reporting and self._reporting.ended(pid, *self._log_settings()):
                continue
            gone = self._workers.pop(pid, None)
            if gone is None:
                continue
            os.close(gone.control)
            gone.pulse.close()
            log.error("worker %d ended (%s), starting another", pid, _how(status))
            if figures := self._current.figures:
                figures.worker_ended(_how(status).removeprefix("signal ").partition(" ")[0])
            if time.monotonic() - gone.started < _CRASH_LOOP_SECONDS:
                time.sleep(_CRASH_LOOP_SECONDS)
            self._start_worker(gone.place)

    def _is_answer(self, pid: int, status: int) -> bool:
        """Whether the child that ended is the one that asks our socket; the manager hears what it found."""
        first = not self._pulse.answered
        answers = self._pulse.ended(pid, status)
        if answers and first:
            log.info("listening on %s with %d workers", self._started_with.socket, len(self._workers))
            notify("READY=1")
        if answers and all_answer(self._workers.values()):
            notify("WATCHDOG=1")
        return answers is not None

    def _take_new_settings(self) -> None:
        notify_reloading()
        notify("READY=1", f"STATUS={self._try_new_settings()}")

    def _try_new_settings(self) -> str:
        try:
            new = self._reload()
            keys = read_files(new)
        except SettingsError as fault:
            log.error("settings not taken, the old ones stay: %s", fault)
            if figures := self._current.figures:
                figures.settings(taken=False)
            return f"Settings not taken, the old ones stay: {safe_value(fault)}"
        fixed = ("socket", "socket_mode", "socket_group", "user", "workers", "metrics")
        changed = [key for key in fixed if getattr(new, key) != getattr(self._started_with, key)]
        if changed:
            log.warning("a restart is needed before these take effect: %s", ", ".join(changed))
        self._settings, self._keys = new, keys
        if self._reporting:
            self._reporting.use_store(new.reports.store)
        logging_setup.set_up("authmilter", *self._log_settings())
        line = new.model_dump_json().encode() + b"\n"
        for each in self._workers.values():
            each.unsaid += line
            each.hand_over()
        log.info("new settings taken")
        if figures := self._current.figures:
            figures.settings(taken=True)
        return "New settings taken"

    def _stop_workers(self) -> None:
        self._close_socket()  # nobody new comes in
        for each in self._workers.values():
            os.close(each.control)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._workers and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            self._forget_ended()
        for pid in list(self._workers):
            log.warning("worker %d does not stop, killing it", pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if self._reporting:
            self._reporting.stop()
        log.info("stopped")

    def _close_socket(self) -> None:
        address = self._started_with.socket
        if address.startswith("unix:"):
            with contextlib.suppress(OSError):
                Path(address.removeprefix("unix:")).unlink()

    def _forget_ended(self) -> None:
        for pid in list(self._workers):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._workers[pid]


def _reporting(settings: Settings, workers: int) -> Reporting | None:
    """What shows the metrics; its libraries are loaded only if they are wanted."""
    if not settings.metrics.listen:
        return None
    from authmilter.metrics.reporting import Reporting

    return Reporting(settings.metrics.listen, workers)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
