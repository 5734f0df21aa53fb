"""The parent's side of the metrics: the shared files, the listening socket, and the process that shows the page.

All of it is made before the workers are forked. Nothing here starts a thread.

Diagnostics: `StartError`, at the start only; a page process that dies is started again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time

from authmilter.metrics.figures import Figures
from authmilter.metrics.shared import Shared, make_shared
from mailcommon.metrics.page import listen
from mailcommon.privileges import StartError

_QUICK_SECONDS = 5.0  # of a page process that failed as soon as it ran
_STOP_SECONDS = 3.0
_MOST_QUICK = 3  # of these in a row are replaced: mail must not wait for a parent that is busy with it

log = logging.getLogger("authmilter")


class Reporting:
    """One for the life of the daemon."""

    def __init__(self, address: str, workers: int) -> None:
        """`address`: `[metrics] listen`; `workers`: how many processes will count."""
        try:
            self._listening = listen(address)
        except OSError as fault:
            raise StartError(f"[metrics] listen: {address}: {fault.strerror or fault}") from fault
        self._workers = workers
        self._shared: Shared | None = None
        self._figures: Figures | None = None
        self._page = 0
        self._control = -1
        self._shown_at = 0.0
        self._quick = 0
        self._store = ""

    def begin(self) -> Figures:
        """Make the files, as the user that the workers run as; raises StartError."""
        try:
            self._shared = make_shared(self._workers)
        except OSError as fault:
            raise StartError(f"[metrics]: no room for the figures: {fault}") from fault
        self._figures = Figures()
        return self._figures

    def be_worker(self, place: int) -> None:
        """In a worker that has just been forked."""
        assert self._shared is not None, "the files come first"
        self._shared.be_worker(place)
        self._listening.close()
        if self._control >= 0:
            os.close(self._control)

    def show(self, level: str, shape: str) -> None:
        """Start the page process; raises StartError."""
        assert self._shared is not None, "the files come first"
        reading, writing = os.pipe()
        listening = self._listening.fileno()
        os.set_inheritable(reading, True)
        os.set_inheritable(listening, True)
        try:
            # -P: nothing is imported from where the daemon was started
            argv = [sys.executable, "-P", "-m", "authmilter.metrics.page", str(self._shared.directory)]
            argv += [str(listening), str(reading), level, shape]
            self._page = os.posix_spawn(sys.executable, argv, os.environ)
        except OSError as fault:
            os.close(writing)
            raise StartError(f"[metrics]: the page cannot be started: {fault}") from fault
        finally:
            os.set_inheritable(listening, False)
            os.close(reading)
        os.set_blocking(writing, False)  # a page that hangs must not hold the parent up
        self._control = writing
        self._shown_at = time.monotonic()
        self.use_store(self._store)

    def use_store(self, address: str) -> None:
        """The `[reports] store` in force, whose queue the page shows. Not in the arguments: it may hold a password."""
        self._store = address
        if self._control >= 0:
            with contextlib.suppress(OSError):  # it has ended a moment ago, or does not read
                os.write(self._control, json.dumps(address).encode() + b"\n")

    def ended(self, pid: int, level: str, shape: str) -> bool:
        """Whether the process that ended was the page, which is started again then."""
        if pid != self._page:
            return False
        os.close(self._control)
        self._page, self._control = 0, -1
        self._quick = self._quick + 1 if time.monotonic() - self._shown_at < _QUICK_SECONDS else 0
        if self._quick > _MOST_QUICK:
            log.error("metrics: the page ends as soon as it runs; there is none until the next start")
        else:
            log.error("metrics: the page has ended, starting it again")
            try:
                self.show(level, shape)
            except StartError as fault:
                log.error("%s; there is none until the next start", fault)
        return True

    def stop(self) -> None:
        """The daemon ends."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
            self._wait()
        self._listening.close()
        if self._shared is not None:
            self._shared.remove()

    def _wait(self) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        while not os.waitpid(self._page, os.WNOHANG)[0]:
            left = deadline - time.monotonic()
            if left <= 0:
                os.kill(self._page, signal.SIGKILL)
                os.waitpid(self._page, 0)
                return
            signal.sigtimedwait({signal.SIGCHLD}, left)
