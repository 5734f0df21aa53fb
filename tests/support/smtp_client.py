"""A plain SMTP client that keeps every reply and sends exactly the bytes it is given.

It exists beside smtplib because the tests need XCLIENT, BDAT, pipelined and broken input, and the text of every reply.

Diagnostics: a reply is a value, also 4xx and 5xx; a connection that the server closed gives `Reply(0, ...)`.
Limits: each wait for the server ends after `timeout` seconds with `TimeoutError`.
Standards: RFC 5321, RFC 3030 (BDAT), RFC 6531 (SMTPUTF8), RFC 4954 (AUTH); XCLIENT as in Postfix's XCLIENT_README.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_QUEUED = re.compile(r"queued as ([0-9A-Za-z]+)")
_ENHANCED = re.compile(r"\d\.\d{1,3}\.\d{1,3}(?= |$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply. `code` 0: the connection was closed instead."""

    code: int
    lines: tuple[bytes, ...]  # texts behind code and separator

    @property
    def text(self) -> str:
        """All lines, one blank between them."""
        return b" ".join(self.lines).decode("utf-8", "backslashreplace")

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), "" if the reply has none."""
        found = _ENHANCED.match(self.lines[0].decode("latin-1")) if self.lines else None
        return found[0] if found else ""

    @property
    def positive(self) -> bool:
        """2xx or 3xx."""
        return 200 <= self.code < 400

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


LOST = Reply(0, (b"connection closed by the server",))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One mail transaction: each command with its reply."""

    steps: tuple[tuple[str, Reply], ...]

    @property
    def final(self) -> Reply:
        """The reply that settled the transaction: to the end of data, or to the command that failed."""
        return self.steps[-1][1]

    @property
    def accepted(self) -> bool:
        """Whether the message was taken."""
        return self.final.code == 250 and self.steps[-1][0] in ("message", "BDAT")

    @property
    def queue_id(self) -> str:
        """Postfix's queue id, "" if the message was not taken."""
        found = _QUEUED.search(self.final.text)
        return found[1] if found else ""

    def reply(self, command: str) -> Reply:
        """The first reply to a command ("MAIL", "RCPT", "DATA", "BDAT", "message"); raises `KeyError`."""
        for name, reply in self.steps:
            if name == command:
                return reply
        raise KeyError(command)


def crlf(message: bytes) -> bytes:
    """Bring a message written with LF (or a mix) to CRLF line ends, with one at the end."""
    text = re.sub(rb"\r\n|\n", b"\r\n", message)
    return text if text.endswith(b"\r\n") else text + b"\r\n"


def xtext(value: str) -> str:
    """Encode an XCLIENT attribute value (RFC 3461 §4)."""
    return "".join(chr(c) if 33 <= c <= 126 and c not in b"+=" else f"+{c:02X}" for c in value.encode())


class SmtpSession:
    """One connection. The greeting is read at once."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 30.0) -> None:
        """Connect; raises `OSError`."""
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb")
        try:
            self.greeting = self.read_reply()
        except OSError:
            self.close()
            raise
        self.features: tuple[str, ...] = ()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def read_reply(self) -> Reply:
        """Read one reply, however many lines it has."""
        lines = []
        while True:
            try:
                line = self._input.readline(4096)
            except ConnectionError:
                return LOST
            if len(line) < 4:
                return LOST
            lines.append(line[4:].rstrip(b"\r\n"))
            if line[3:4] != b"-":
                return Reply(int(line[:3]), tuple(lines))

    def command(self, line: str | bytes) -> Reply:
        """Send one command line (without line end; text goes as UTF-8) and read the reply."""
        # If the server has closed, what it said before is still there to read.
        with contextlib.suppress(ConnectionError):
            self.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.read_reply()

    def ehlo(self, name: str) -> Reply:
        """EHLO; keeps what the server offers in `features`."""
        reply = self.command(f"EHLO {name}")
        self.features = tuple(line.decode("latin-1") for line in reply.lines[1:])
        return reply

    def xclient(self, ip: str, name: str = "", *, reverse_name: str = "", port: int = 0, login: str = "") -> Reply:
        """Become the client `ip` with the verified `name` ("" = it has none), authenticated as `login` if given.

        The server starts the session anew: EHLO comes next.
        """
        parts = [f"ADDR={'IPV6:' + ip if ':' in ip else ip}", f"NAME={xtext(name) if name else '[UNAVAILABLE]'}"]
        parts.append(f"REVERSE_NAME={xtext(reverse_name or name) or '[UNAVAILABLE]'}")
        if port:
            parts.append(f"PORT={port}")
        if login:
            parts.append(f"LOGIN={xtext(login)}")
        return self.command("XCLIENT " + " ".join(parts))

    def auth_plain(self, user: str, password: str) -> Reply:
        """AUTH PLAIN (RFC 4616)."""
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.command(f"AUTH PLAIN {token}")

    def data(self, message: bytes) -> tuple[Reply, Reply | None]:
        """DATA with the bytes of `message` as they are, save for the doubled dots (RFC 5321 §4.5.2).

        Returns the reply to DATA and, if that was positive, the reply to the message. A message that does not end in
        CRLF gets one before the final dot.
        """
        first = self.command("DATA")
        if not first.positive:
            return first, None
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        end = b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n"
        with contextlib.suppress(ConnectionError):
            self.write(stuffed + end)
        return first, self.read_reply()

    def bdat(self, message: bytes, chunk: int) -> list[Reply]:
        """Send `message` in BDAT chunks of `chunk` bytes (RFC 3030); stops at the first reply that is not 250."""
        replies = []
        for start in range(0, max(len(message), 1), chunk):
            part = message[start : start + chunk]
            last = " LAST" if start + chunk >= len(message) else ""
            self.write(f"BDAT {len(part)}{last}\r\n".encode() + part)
            replies.append(self.read_reply())
            if replies[-1].code != 250:
                break
        return replies

    def send(
        self,
        mail_from: str,
        rcpts: Sequence[str],
        message: bytes,
        *,
        raw: bool = False,
        bdat: int = 0,
        mail_params: Sequence[str] = (),
    ) -> Exchange:
        """One whole transaction; addresses without angle brackets, "" is the null sender.

        raw: `message` goes as it is, otherwise line ends become CRLF. bdat: chunk size, 0 = DATA. Stops at the first
        refusal (with several recipients: when all are refused) and sends RSET then, so that another message can follow.
        """
        body = message if raw else crlf(message)
        steps = [("MAIL", self.command(" ".join([f"MAIL FROM:<{mail_from}>", *mail_params])))]
        if steps[-1][1].positive:
            steps += [("RCPT", self.command(f"RCPT TO:<{rcpt}>")) for rcpt in rcpts]
            taken = any(reply.positive for _, reply in steps[1:])
            if taken and bdat:
                steps += [("BDAT", reply) for reply in self.bdat(body, bdat)]
            elif taken:
                first, second = self.data(body)
                steps.append(("DATA", first))
                if second is not None:
                    steps.append(("message", second))
        exchange = Exchange(tuple(steps))
        if exchange.final.code and not exchange.accepted:
            self.command("RSET")
        return exchange

    def quit(self) -> None:
        """QUIT and close; the reply does not matter any more."""
        self.command("QUIT")
        self.close()

    def close(self) -> None:
        """Drop the connection without a word."""
        self._input.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
