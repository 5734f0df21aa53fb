"""A connection to a milter: negotiation, packets, macros, and the milter's answers judged as Postfix judges them.

Diagnostics: `ProtocolError` for what Postfix would log as a milter's fault; a connection that the milter closes is
`ConnectionError`; `TimeoutError` after `timeout` seconds without an answer.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.milter_protocol import (
    ALL_ACTIONS,
    ALL_STEPS,
    MACRO_STAGES,
    MAX_PACKET,
    REPLIES,
    Can,
    Edit,
    ProtocolError,
    Step,
    packet,
    parse_edit,
    strings,
)

_BUFFER = 65536  # octets that wait for being sent

# RFC 3463 §2: the class must equal the reply's first digit, or Postfix takes the reply for a milter's error.
_REPLY_TEXT = re.compile(rb"([45])\d\d(?: |-)\1\.\d{1,3}\.\d{1,3} [^\r\n]*")

Macros = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MilterReply:
    """How the milter answered one event.

    kind: a word of `milter_protocol.REPLIES`; "none" if the step was not asked for or needs no answer.
    """

    kind: str
    text: bytes = b""  # of "replycode": the SMTP reply with % undoubled, as a client would see it

    @property
    def goes_on(self) -> bool:
        """Whether the next step follows."""
        return self.kind in ("continue", "skip", "none")


NONE = MilterReply("none")


class MilterConnection:
    """A connection over which events go to the milter and its answers come back."""

    def __init__(
        self,
        address: str,
        *,
        steps: Step = ALL_STEPS,
        actions: Can = ALL_ACTIONS,
        version: int = 6,
        timeout: float = 30.0,
    ) -> None:
        """Connect to "unix:/path" or "inet:PORT@HOST" and negotiate, offering `steps`, `actions` and `version`."""
        self._socket = _connect(address, timeout)
        self._input = self._socket.makefile("rb")
        self._output = bytearray()
        self._wanted: dict[int, frozenset[bytes]] = {}
        self._offered = (steps, actions, version)
        try:
            self.version, self.actions, self.steps = self._negotiate()
        except BaseException:
            self.close()
            raise

    def _negotiate(self) -> tuple[int, Can, Step]:
        offered_steps, offered_actions, offered_version = self._offered
        self._queue(b"O", struct.pack(">III", offered_version, offered_actions, offered_steps))
        command, data = self._receive()
        if command != b"O" or len(data) < 12:
            raise ProtocolError(f"answer to negotiation: {command!r} {data!r}")
        version, actions, steps = struct.unpack(">III", data[:12])
        if version > offered_version or actions & ~int(offered_actions) or steps & ~int(offered_steps):
            raise ProtocolError(f"asks for more than offered: version {version}, {actions:#x}, {steps:#x}")
        rest = data[12:]
        while len(rest) > 4:
            (stage,) = struct.unpack(">I", rest[:4])
            names, _, rest = rest[4:].partition(b"\0")
            self._wanted[stage] = frozenset(name.strip(b"{}") for name in re.split(rb"[ ,]+", names) if name)
        return version, Can(actions), Step(steps)

    # Packets

    def _queue(self, command: bytes, data: bytes = b"") -> None:
        self._output += packet(command, data)
        if len(self._output) > _BUFFER:
            self._flush()

    def _flush(self) -> None:
        if self._output:
            self._socket.sendall(self._output)
            self._output.clear()

    def _receive(self) -> tuple[bytes, bytes]:
        self._flush()
        head = self._input.read(5)
        if len(head) < 5:
            raise ConnectionError("the milter closed the connection")
        (length,) = struct.unpack(">I", head[:4])
        if not 1 <= length <= MAX_PACKET:
            raise ProtocolError(f"packet of {length} octets")
        data = self._input.read(length - 1)
        if len(data) < length - 1:
            raise ConnectionError("the milter closed the connection inside a packet")
        return head[4:], data

    def _macros(self, event: bytes, macros: Macros) -> None:
        wanted = self._wanted.get(MACRO_STAGES[event])
        pairs: list[bytes] = []
        for name, value in macros.items():
            if wanted is None or name.encode() in wanted:
                # The protocol writes names of one letter bare, others in braces.
                pairs += [
                    (name if len(name) == 1 else f"{{{name}}}").encode(),
                    value.encode("utf-8", "surrogateescape"),
                ]
        self._queue(b"D", event + strings(*pairs))

    def _event(
        self, event: bytes, data: bytes, refused: Step, silent: Step, macros: Macros | None = None
    ) -> MilterReply:
        """Send macros and event, if they are wanted, and read the reply, if there will be one."""
        # Postfix sends the macros of a step that was refused all the same, save for those of the content.
        if event not in (b"L", b"N", b"B") or not refused & self.steps:
            self._macros(event, macros or {})
        if refused & self.steps:
            return NONE
        self._queue(event, data)
        if silent & self.steps:
            return NONE
        return self._reply()[0]

    def _reply(self, *, end: bool = False) -> tuple[MilterReply, tuple[Edit, ...], int]:
        edits: list[Edit] = []
        progress = 0
        while True:
            command, data = self._receive()
            if command == b"p":
                progress += 1
                continue
            if command in REPLIES:
                return self._judge(command, data), tuple(edits), progress
            edit = parse_edit(command, data)
            if edit is None or not end:
                raise ProtocolError(f"unexpected {command!r} {data[:200]!r}")
            self._allow(edit)
            edits.append(edit)

    def _judge(self, command: bytes, data: bytes) -> MilterReply:
        kind = REPLIES[command]
        if kind != "replycode":
            if data:
                raise ProtocolError(f"{kind} followed by {data!r}")
            if kind == "skip" and Step.SKIP not in self.steps:
                raise ProtocolError("skip was not negotiated")
            return MilterReply(kind)
        text = data.partition(b"\0")[0]
        # Postfix: text with another shape is a milter error; in the text, "%%" stands for "%".
        if not data.endswith(b"\0") or not all(_REPLY_TEXT.fullmatch(line) for line in text.split(b"\r\n")):
            raise ProtocolError(f"malformed SMTP reply {data!r}")
        return MilterReply(kind, re.sub(rb"%(.?)", rb"\1", text, flags=re.DOTALL))

    def _allow(self, edit: Edit) -> None:
        needed = {
            "add": Can.ADD_HEADERS,
            "insert": Can.ADD_HEADERS,
            "change": Can.CHANGE_HEADERS,
            "quarantine": Can.QUARANTINE,
            "add-rcpt": Can.ADD_RCPT,
            "delete-rcpt": Can.DELETE_RCPT,
            "change-from": Can.CHANGE_FROM,
            "replace-body": Can.CHANGE_BODY,
        }[edit.kind]
        if needed not in self.actions:
            raise ProtocolError(f"{edit} was not negotiated")
        if edit.kind in ("add", "insert", "change") and b"\r" in edit.value:
            raise ProtocolError(f"CR in a header value: {edit}")

    def close(self) -> None:
        """Drop the connection without a word."""
        self._input.close()
        self._socket.close()


def _connect(address: str, timeout: float) -> socket.socket:
    kind, _, rest = address.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(rest)
        except OSError:
            connection.close()
            raise
        return connection
    port, _, host = rest.partition("@")
    connection = socket.create_connection((host, int(port)), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
