"""The datagram socket that Postfix 3.10 and newer tells of each session (smtp_tlsrpt_socket_name).

Postfix never waits: what finds no place in the kernel's queue is dropped there, unseen. So the queue is emptied
first, and again every few datagrams; what came waits here, and is handed on for a millisecond at a time, so that
answers to Postfix never wait for longer. The socket is made anew when its file is gone or is another's.

Diagnostics: `StartError` at the start; later a log line, and another try at each look (`check`).
Limits: 64 MB of datagrams that wait here, of `datagram.MAX_OCTETS` each; what is longer counts as malformed. How many
wait in between is up to the kernel: net.unix.max_dgram_qlen, 10 on many systems, which `start` complains of.
Security: the rights of the file say who may write. It is made with none and gets them before anybody can have opened
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mailcommon.log import pairs
from mailcommon.privileges import StartError, give_socket, group_id
from tlspolicyd.tlsrpt import datagram

_AT_ONCE = 4  # datagrams between two looks at the kernel's queue
_MOST_DRAINED = 200  # datagrams taken in one such look: senders may be as quick as we are
_LAST_DRAINED = 100_000  # of the queue of a socket that is let go
_TURN = 0.001  # seconds, between two turns of the daemon's other work
_MOST_WAITING = 64 << 20  # octets
_QUEUE_LENGTH = Path("/proc/sys/net/unix/max_dgram_qlen")
_QUEUE_WANTED = 500  # datagrams

log = logging.getLogger("tlspolicyd")


class Collector:
    """For one event loop. `open` before the process gives up its rights, `start` in the loop, `check` now and then."""

    def __init__(self, path: Path, mode: int, group: str) -> None:
        """`group`: name of the group that the file is given, "" leaves it."""
        self._path = path
        self._mode = mode
        self._group = group_id(group)
        self._socket: socket.socket | None = None
        self._identity = (0, 0)
        self._taken: Callable[[bytes], None] | None = None
        self._room = bytearray(datagram.MAX_OCTETS + 1)
        self._waiting: deque[bytes] = deque()
        self._octets = 0  # of what waits
        self._coming_back = False
        self._complained = ""

    def open(self) -> None:
        """Make the socket; raises StartError."""
        if not self._path.parent.is_dir():
            raise StartError(f"[tlsrpt] socket: {self._path.parent} does not exist: make the directory")
        if self._path.exists() and not self._path.is_socket():
            raise StartError(f"[tlsrpt] socket: {self._path} exists and is not a socket")
        if self._answers():
            raise StartError(f"[tlsrpt] socket: another process reads from {self._path} already")
        try:
            self._make()
        except OSError as fault:
            raise StartError(f"[tlsrpt] socket: {self._path}: {fault.strerror}: may this user write there?") from fault

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(str(self._path))
            except OSError:
                return False
        return True

    def _make(self) -> None:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setblocking(False)
        self._path.unlink(missing_ok=True)
        old = os.umask(0o777)
        try:
            opened.bind(str(self._path))
        except OSError:
            opened.close()
            raise
        finally:
            os.umask(old)
        try:
            give_socket(self._path, None, self._group)
            self._path.chmod(self._mode)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self._identity = self._file()

    def _file(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            found = self._path.stat()
            return (found.st_dev, found.st_ino)
        return (0, 0)

    def start(self, taken: Callable[[bytes], None]) -> None:
        """Hand each datagram to `taken`, which must not wait."""
        self._taken = taken
        assert self._socket is not None, "not open"
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        with contextlib.suppress(OSError, ValueError):
            length = int(_QUEUE_LENGTH.read_text())
            if length < _QUEUE_WANTED:
                log.warning("tlsrpt: %s", pairs(event="short queue", max_dgram_qlen=length, wanted=_QUEUE_WANTED))

    def check(self) -> None:
        """Make the socket anew if its file is not ours any more."""
        if self._socket is not None and self._file() == self._identity:
            return
        self._let_go()
        try:
            self._make()
        except OSError as fault:
            self._complain(fault.strerror or str(fault))
            return
        self._complained = ""
        log.warning("tlsrpt: %s", pairs(event="socket made anew", socket=self._path))
        assert self._socket is not None
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _complain(self, text: str) -> None:
        if text != self._complained:
            self._complained = text
            log.error("tlsrpt: %s", pairs(event="no socket", socket=self._path, error=text))

    def _read(self) -> None:
        """Something has come: empty the kernel's short queue; what waits here has its own turns."""
        self._drain()
        self._come_back()

    def _drain(self, most: int = _MOST_DRAINED) -> None:
        assert self._socket is not None
        for _ in range(most):
            if self._octets >= _MOST_WAITING:
                return
            try:
                size = self._socket.recv_into(self._room)
            except BlockingIOError:
                return
            except OSError as fault:
                self._complain(fault.strerror or str(fault))
                return
            self._waiting.append(bytes(memoryview(self._room)[:size]))
            self._octets += size

    def _come_back(self) -> None:
        if self._waiting and not self._coming_back:
            self._coming_back = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Hand some on, with an eye on the queue, and come back for more after the daemon's other work."""
        self._coming_back = False
        end = time.monotonic() + _TURN
        try:
            while self._waiting and time.monotonic() < end:
                self._hand_on(_AT_ONCE)
                if self._socket is not None:
                    self._drain()
        finally:
            self._come_back()

    def _hand_on(self, most: int) -> None:
        assert self._taken is not None
        for _ in range(min(most, len(self._waiting))):
            octets = self._waiting.popleft()
            self._octets -= len(octets)
            self._taken(octets)

    def _let_go(self) -> None:
        if self._socket is not None:
            if self._taken is not None:
                self._drain(_LAST_DRAINED)
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Read what is there, and remove the socket."""
        if self._file() == self._identity:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._let_go()
        if self._taken is not None:
            self._hand_on(len(self._waiting))
