"""A password server for Postfix's `smtpd_sasl_type = dovecot`: AUTH PLAIN against a fixed table.

So submission can be tested with neither Dovecot nor Cyrus SASL's plug-ins installed.

Standards: Dovecot authentication protocol 1.x, the few commands that Postfix uses; RFC 4616 (PLAIN).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import socketserver
import threading
from collections.abc import Mapping
from pathlib import Path


def _user_of(response: str, users: Mapping[str, str]) -> str:
    """Name of the user that a base64 PLAIN response proves, "" if it proves none."""
    try:
        parts = base64.b64decode(response, validate=True).decode().split("\0")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    if len(parts) == 3 and users.get(parts[1]) == parts[2]:
        return parts[1]
    return ""


class AuthServer:
    """Listens on a Unix socket in threads of this process until `stop()`."""

    def __init__(self, path: Path, users: Mapping[str, str]) -> None:
        """`users`: name -> password. The socket at `path` may be used by everybody who can reach it."""

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                hello = (
                    f"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t{os.getpid()}\nCUID\t1\nCOOKIE\t{'0' * 32}\nDONE\n"
                )
                self.wfile.write(hello.encode())
                for line in self.rfile:
                    words = line.decode("latin-1").rstrip("\n").split("\t")
                    if words[0] == "AUTH" and len(words) > 2:
                        # resp= is the last word and the only one whose value may hold "="
                        response = next((word[5:] for word in words[3:] if word.startswith("resp=")), "")
                        user = _user_of(response, users)
                        answer = f"OK\t{words[1]}\tuser={user}\n" if user else f"FAIL\t{words[1]}\n"
                        self.wfile.write(answer.encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self._path = path
        self._server = Server(str(path), Handler)
        path.chmod(0o666)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the socket; connections that exist end with their peer."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
