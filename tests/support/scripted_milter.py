"""A milter that notes what it is sent and answers by a script, to try the side of the MTA.

Both a real Postfix and `MilterClient` talk to it, so that the two can be compared octet by octet.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.milter_protocol import ALL_ACTIONS, Can, Edit, Step, packet

Event = tuple[bytes, bytes]  # command octet, data

_NOTHING = Step(0)

# What is left unanswered under which bit
_SILENT = {
    b"C": Step.NR_CONNECT,
    b"H": Step.NR_HELO,
    b"M": Step.NR_MAIL,
    b"R": Step.NR_RCPT,
    b"T": Step.NR_DATA,
    b"L": Step.NR_HEADER,
    b"N": Step.NR_EOH,
    b"B": Step.NR_BODY,
    b"U": Step.NR_UNKNOWN,
}


def encode_edit(edit: Edit) -> bytes:
    """The packet that asks for a header edit or a quarantine."""
    if edit.kind == "quarantine":
        return packet(b"q", edit.value + b"\0")
    command = {"add": b"h", "insert": b"i", "change": b"m"}[edit.kind]
    index = b"" if edit.kind == "add" else struct.pack(">I", edit.index)
    return packet(command, index + edit.name + b"\0" + edit.value + b"\0")


@dataclass
class Script:
    """What the milter asks for and answers."""

    steps: Step = _NOTHING
    actions: Can = ALL_ACTIONS
    answers: Mapping[bytes, bytes] = field(default_factory=dict)  # command octet -> whole packet, else "continue"
    edits: Sequence[Edit] = ()
    macros: Mapping[int, bytes] = field(default_factory=dict)  # stage -> names, for SETSYMLIST


class ScriptedMilter:
    """Listens on a Unix socket in threads of this process. `events` holds one list per connection, macros included."""

    def __init__(self, path: Path, script: Script) -> None:
        """The socket at `path` may be used by everybody who can reach it. `script` may be exchanged at any time."""
        self.script = script
        self.connections: list[list[Event]] = []
        milter = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                events: list[Event] = []
                milter.connections.append(events)
                while len(head := self.rfile.read(5)) == 5:
                    (length,) = struct.unpack(">I", head[:4])
                    events.append((head[4:], self.rfile.read(length - 1)))
                    if events[-1][0] == b"Q":
                        break
                    # Writing nothing would still fail on a connection whose other end has said its last word.
                    if answer := milter.answer(*events[-1]):
                        self.wfile.write(answer)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self._path = path
        self.address = f"unix:{path}"
        self._server = Server(str(path), Handler)
        path.chmod(0o666)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, command: bytes, data: bytes) -> bytes:
        """The packets that follow one event."""
        script = self.script
        if command == b"O":
            version, actions, steps = struct.unpack(">III", data)
            names = b"".join(struct.pack(">I", stage) + text + b"\0" for stage, text in script.macros.items())
            return packet(b"O", struct.pack(">III", version, actions & script.actions, steps & script.steps) + names)
        if command in (b"D", b"A") or _SILENT.get(command, _NOTHING) & script.steps:
            return b""
        edits = b"".join(encode_edit(edit) for edit in script.edits) if command == b"E" else b""
        return edits + script.answers.get(command, packet(b"c"))

    def stop(self) -> None:
        """Close the socket."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
