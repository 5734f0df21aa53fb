"""Speaks the milter protocol to a milter as Postfix 3.7 does, without Postfix.

    with MilterClient("unix:/run/m.sock") as milter:
        milter.open(ip="192.0.2.1", name="mx.a.example", helo="mx.a.example")
        outcome = milter.send(message, mail_from="u@a.example", rcpts=["me@home.example"])
        outcome.reply.kind, outcome.smtp, outcome.header

`send` does one whole message and the ABORT that Postfix sends after each; the single steps (`connect`, `mail`,
`header`, ... `end`, `abort`) are there for whoever wants another order. Steps that the milter refused are not sent,
answers that it said it would not give are not waited for.

Diagnostics: `ProtocolError` for what Postfix would log as a milter's fault, with one exception: a connection that the
milter closes is `ConnectionError`. `TimeoutError` after `timeout` seconds without an answer.
Not reproduced: header_size_limit and the splitting of lines beyond line_length_limit.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from tests.support.header_edits import Field, apply, split_message
from tests.support.milter_connection import NONE, Macros, MilterConnection, MilterReply
from tests.support.milter_protocol import Edit, Step, strings
from tests.support.postfix_config import HOSTNAME

BODY_CHUNK = 65535  # octets, as Postfix cuts the body


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message."""

    reply: MilterReply
    step: str  # the step that settled it: mail, rcpt, data, header, eoh, body, end
    edits: tuple[Edit, ...]
    header: tuple[Field, ...]  # the header after the edits, own Received left out
    progress: int = 0  # how often the milter asked for patience

    @property
    def smtp(self) -> str:
        """The SMTP reply that Postfix would give to the message ("" if it takes it)."""
        fixed = {
            "reject": "550 5.7.1 Command rejected",
            "tempfail": "451 4.7.1 Service unavailable - try again later",
            "shutdown": "421 4.7.0 Server closing connection",
        }
        return self.reply.text.decode("utf-8", "backslashreplace") or fixed.get(self.reply.kind, "")

    @property
    def taken(self) -> bool:
        """Whether Postfix takes the message, be it into the hold queue."""
        return self.reply.kind == "accept" or (self.step == "end" and self.reply.goes_on)

    @property
    def quarantine(self) -> bytes | None:
        """The reason for which the message goes to the hold queue (Postfix keeps 100 octets), None if it does not."""
        reasons = [edit.value[:100] for edit in self.edits if edit.kind == "quarantine"]
        return reasons[-1] if reasons and self.taken else None

    def all(self, name: str) -> list[str]:
        """Values of all fields called `name` after the edits, from the top, octets as latin-1."""
        return [value.decode("latin-1") for found, value in self.header if found.lower() == name.lower().encode()]


class MilterClient(MilterConnection):
    """One connection to a milter; several messages may go over it."""

    _local = False  # plays sendmail(1)
    _greeted = False  # HELO was said

    def connect(self, ip: str, name: str = "", port: int = 40000, macros: Macros | None = None) -> MilterReply:
        """The client's address and verified name ("" = unknown, shown as [address], as Postfix does)."""
        family = b"6" if ":" in ip else b"4"
        host = name or f"[{ip}]"
        data = strings(host.encode()) + family + struct.pack(">H", port) + strings(ip.encode())
        defaults = {
            "j": HOSTNAME,
            "daemon_name": HOSTNAME,
            "daemon_addr": "127.0.0.1",
            "v": "Postfix 3.7.11",
            "_": f"{name or 'unknown'} [{ip}]",
        }
        return self._event(b"C", data, Step.NO_CONNECT, Step.NR_CONNECT, {**defaults, **(macros or {})})

    def helo(self, name: str | bytes, macros: Macros | None = None) -> MilterReply:
        """HELO or EHLO; macros carry the state of TLS."""
        self._greeted = True
        return self._event(b"H", strings(_octets(name)), Step.NO_HELO, Step.NR_HELO, macros)

    def mail(self, sender: str | bytes, *params: str, macros: Macros | None = None) -> MilterReply:
        """MAIL FROM; `sender` without angle brackets."""
        address = _octets(sender)
        text = address.decode("utf-8", "surrogateescape")
        defaults = {"mail_addr": text, "mail_host": text.rpartition("@")[2] or HOSTNAME, "mail_mailer": "virtual"}
        data = strings(b"<" + address + b">", *(param.encode() for param in params))
        if self._local:
            defaults, data = {"mail_addr": text}, strings(address)
        return self._event(b"M", data, Step.NO_MAIL, Step.NR_MAIL, {**defaults, **(macros or {})})

    def rcpt(self, rcpt: str | bytes, *params: str, macros: Macros | None = None) -> MilterReply:
        """RCPT TO; `rcpt` without angle brackets."""
        address = _octets(rcpt)
        text = address.decode("utf-8", "surrogateescape")
        defaults = {"rcpt_addr": text, "rcpt_host": text.rpartition("@")[2], "rcpt_mailer": "virtual"}
        data = strings(b"<" + address + b">", *(param.encode() for param in params))
        if self._local:
            defaults, data = {"rcpt_addr": text}, strings(address)
        return self._event(b"R", data, Step.NO_RCPT, Step.NR_RCPT, {**defaults, **(macros or {})})

    def data(self, macros: Macros | None = None) -> MilterReply:
        """The DATA command (BDAT is shown as DATA, too)."""
        return self._event(b"T", b"", Step.NO_DATA, Step.NR_DATA, macros)

    def header(self, name: bytes, value: bytes, macros: Macros | None = None) -> MilterReply:
        """One header field; `value` is all that follows the colon, with LF folds."""
        if Step.LEADING_SPACE not in self.steps:
            value = value.removeprefix(b" ")
        return self._event(b"L", strings(name, value), Step.NO_HEADERS, Step.NR_HEADER, macros)

    def end_of_header(self, macros: Macros | None = None) -> MilterReply:
        """The empty line."""
        return self._event(b"N", b"", Step.NO_EOH, Step.NR_EOH, macros)

    def body(self, chunk: bytes, macros: Macros | None = None) -> MilterReply:
        """A piece of the body, at most `BODY_CHUNK` octets with CRLF line ends."""
        return self._event(b"B", chunk, Step.NO_BODY, Step.NR_BODY, macros)

    def end(self, macros: Macros | None = None) -> tuple[MilterReply, tuple[Edit, ...], int]:
        """End of message: the reply, the edits, and how often the milter asked for patience."""
        self._macros(b"E", macros or {})
        self._queue(b"E")
        return self._reply(end=True)

    def abort(self) -> None:
        """Give up the message; the connection stays."""
        self._queue(b"A")
        self._flush()

    # Whole transactions

    def open(self, *, ip: str = "192.0.2.1", name: str = "", helo: str | bytes = "client.example") -> MilterReply:
        """Connect and HELO; the first reply that does not go on, or the last one."""
        reply = self.connect(ip, name)
        return self.helo(helo) if reply.goes_on else reply

    def open_local(self) -> MilterReply:
        """Begin as for mail from sendmail(1): Postfix makes up a session of "localhost" (non_smtpd_milters).

        Addresses then come without angle brackets, with fewer macros, and the queue id is known from MAIL on.
        """
        reply = self.connect("127.0.0.1", "localhost", 0)
        reply = self.helo("localhost") if reply.goes_on else reply
        self._local = True
        return reply

    def send(
        self,
        message: bytes,
        *,
        mail_from: str | bytes,
        rcpts: Sequence[str | bytes] = ("me@home.example",),
        mail_params: Sequence[str] = (),
        queue_id: str = "4XyZ123abc",
        login: str = "",
        chunk: int = BODY_CHUNK,
        abort_at: str = "",
        keep_cr: bool = False,
    ) -> Outcome:
        """One message, any line ends, from MAIL to the ABORT behind it.

        login: authenticated as. chunk: size of the body's pieces. abort_at: the step ("rcpt", "data", "header",
        "eoh", "body", "end") before which the client goes away; the outcome is then NONE at that step. keep_cr: leave
        a CR without LF as it is.
        """
        fields, body = split_message(message, keep_cr=keep_cr)
        known = {"i": queue_id}
        early = known if self._local else {}  # an SMTP client's message has no id until a recipient was accepted
        auth = {"auth_type": "PLAIN", "auth_authen": login} if login else {}
        steps: list[tuple[str, Callable[[], MilterReply]]] = [
            ("mail", partial(self.mail, mail_from, *mail_params, macros={**early, **auth})),
            *(("rcpt", partial(self.rcpt, rcpt, macros=known if n else early)) for n, rcpt in enumerate(rcpts)),
            ("data", partial(self.data, known)),
            *(("header", partial(self.header, name, value, known)) for name, value in fields),
            ("eoh", partial(self.end_of_header, known)),
            *(("body", partial(self.body, body[at : at + chunk], known)) for at in range(0, len(body), chunk)),
        ]
        skipped, refused = "", 0
        for step, action in steps:
            if step == abort_at:
                self.abort()
                return Outcome(NONE, step, (), tuple(fields))
            if step == skipped:
                continue
            reply = action()
            if reply.kind == "skip":
                skipped = step
            elif not reply.goes_on:
                # A recipient that is refused leaves the others; anything else settles the message.
                refused += step == "rcpt" and reply.kind in ("reject", "tempfail", "replycode")
                if step != "rcpt" or not 0 < refused < len(rcpts):
                    self.abort()
                    return Outcome(reply, step, (), tuple(fields))
        if abort_at == "end":
            self.abort()
            return Outcome(NONE, "end", (), tuple(fields))
        reply, edits, progress = self.end(known)
        if not self._local:
            self.abort()
        outcome = Outcome(reply, "end", edits, tuple(fields), progress)
        if not outcome.taken:
            return outcome
        header = apply(edits, fields, leading_space=Step.LEADING_SPACE in self.steps)
        return replace(outcome, header=tuple(header))

    def quit(self) -> None:
        """Say good-bye and close."""
        with contextlib.suppress(OSError):  # it may be gone already
            if self._greeted and not self._local:
                self._queue(b"A")
            self._queue(b"Q")
            self._flush()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quit()


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
