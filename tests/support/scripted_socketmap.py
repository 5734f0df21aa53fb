"""A socketmap server that answers as a test says and notes what was asked: what Postfix really sends is its business.

    with ScriptedSocketmap(path, lambda name, key: b"NOTFOUND ") as server:
        ...
        server.asked   # [("policy", "a.example"), ("policy", ".example")]

Standards: socketmap_table(5).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class ScriptedSocketmap:
    """One server on a Unix socket. Use as a context manager."""

    def __init__(self, path: Path, answer: Callable[[str, str], bytes]) -> None:
        """answer: (map, key) -> the reply without its length; "" closes the connection without one."""
        self._path = path
        self.answer = answer
        self.asked: list[tuple[str, str]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._connections: set[socket.socket] = set()

    def asked_keys(self) -> list[str]:
        """The keys asked for, in order."""
        return [key for _, key in self.asked]

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)
        self._listener.listen()
        threading.Thread(target=self._accept, name="socketmap", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it has gone meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="socketmap", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while request := _read(stream.read):
                    name, _, key = request.partition(b" ")
                    words = name.decode("utf-8", "backslashreplace"), key.decode("utf-8", "backslashreplace")
                    self.asked.append(words)
                    reply = self.answer(*words)
                    if not reply:
                        return
                    connection.sendall(b"%d:%s," % (len(reply), reply))
        except OSError:
            return
        finally:
            self._connections.discard(connection)


def _read(read: Callable[[int], bytes]) -> bytes:
    """One netstring; b"" at the end of the stream."""
    length = b""
    while (octet := read(1)) not in (b":", b""):
        length += octet
    if not length:
        return b""
    text = read(int(length))
    read(1)
    return text
