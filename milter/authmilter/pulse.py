"""Whether the daemon is alive: its workers answer the parent, and its socket answers as Postfix begins (negotiation).

The parent calls `beat` once per interval. A worker that has missed three in a row is killed; the parent replaces it as
any that dies. The socket is asked by a child process, so that the parent never waits.

Diagnostics: `sound` after each answer of the socket; log lines about what does not answer. Nothing raises.
Limits: the socket has `_SECONDS` to answer. What counts is rounds, not time: a host that stood still for a while
finds no worker guilty.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Iterable

from authmilter.member import Member

_SECONDS = 20.0  # Postfix waits for 30 (milter_connect_timeout): who is slow only because the host is busy is not dead
_MISSED = 2  # rounds in a row that a worker may miss: the manager's patience is six
_SOON = 0.2  # seconds between two tries until the socket has answered for the first time
_USUAL = 15.0  # seconds between two rounds if the manager asks for none

_OFFER = struct.pack(">IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)  # SMFIC_OPTNEG, as Postfix sends it
_QUIT = struct.pack(">Ic", 1, b"Q")
_UNKNOWN = 255  # exit status of the child for what has no errno

log = logging.getLogger("authmilter")


def why_silent(address: str) -> int:
    """0 if a milter negotiates at `address` ("unix:/path" or "inet:PORT@HOST"), else an errno, 255 if there is none."""
    try:
        with _connect(address) as asking:
            asking.sendall(_OFFER)
            answer = b""
            while len(answer) < 5:
                came = asking.recv(64)
                if not came:
                    return errno.ECONNRESET
                answer += came
            with contextlib.suppress(OSError):
                asking.sendall(_QUIT)
    except TimeoutError:
        return errno.ETIMEDOUT
    except OSError as fault:
        return min(fault.errno or _UNKNOWN, _UNKNOWN)
    return 0 if answer[4:5] == b"O" else errno.EPROTO


def _connect(address: str) -> socket.socket:
    kind, _, rest = address.partition(":")
    if kind == "inet":
        port, _, host = rest.partition("@")
        return socket.create_connection((host.removeprefix("[").removesuffix("]"), int(port)), _SECONDS)
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(_SECONDS)
    try:
        asking.connect(rest)
    except OSError:
        asking.close()
        raise
    return asking


def answer(pulse: socket.socket) -> None:
    """The worker's end: send back what comes, until the parent is gone."""
    with contextlib.suppress(OSError):
        while asked := pulse.recv(64):
            pulse.send(asked)


class Pulse:
    """Asks the workers and the socket at `address` every `interval` seconds (0.0: a usual one)."""

    def __init__(self, address: str, interval: float) -> None:
        self._address = address
        self._interval = interval or _USUAL
        self._next = 0.0  # monotonic
        self._asking = 0  # process id of the child that asks the socket
        self._why = 0  # what the last one found
        self.answered = False  # the socket has, at least once

    def due(self) -> float:
        """Seconds until the next `beat`."""
        return max(0.0, self._next - time.monotonic())

    def beat(self, workers: Iterable[Member]) -> None:
        """Look what came back since the last one, and ask again."""
        self._next = time.monotonic() + (self._interval if self.answered else _SOON)
        if self.answered:
            for worker in workers:
                self._ask_worker(worker)
        if not self._asking:
            self._asking = os.fork()
            if not self._asking:
                status = _UNKNOWN
                try:
                    for worker in workers:
                        os.close(worker.control)  # should the parent die now, they are to notice it at once
                    status = why_silent(self._address)
                finally:
                    os._exit(status)

    def _ask_worker(self, worker: Member) -> None:
        with contextlib.suppress(OSError):  # nothing came, or it has died and SIGCHLD is under way
            if worker.pulse.recv(64):
                worker.missed = -1
        worker.missed += 1
        if worker.missed > _MISSED:
            log.error("worker %d does not answer, killing it", worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            return
        with contextlib.suppress(OSError):
            worker.pulse.send(b".")

    def ended(self, pid: int, status: int) -> bool | None:
        """Take the end of a child: None if it is none of ours, else whether the socket answers."""
        if pid != self._asking:
            return None
        self._asking = 0
        why = os.waitstatus_to_exitcode(status)
        if why and why != self._why:
            reason = os.strerror(why) if 0 < why < _UNKNOWN else "no sense in the answer"
            log.warning("no answer on the own socket %s: %s", self._address, reason)
        self._why = why
        self.answered |= not why
        return not why

    def stop(self) -> None:
        """No more questions."""
        if self._asking:
            os.kill(self._asking, signal.SIGKILL)
            os.waitpid(self._asking, 0)
            self._asking = 0


def all_answer(workers: Iterable[Member]) -> bool:
    """Whether no worker owes more than the answer that may still be under way."""
    return all(worker.missed <= 1 for worker in workers)
