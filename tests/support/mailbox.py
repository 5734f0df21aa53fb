"""What Postfix delivered, read from the Maildir into which virtual(8) writes, byte for byte.

virtual(8) puts `Return-Path`, `X-Original-To` and `Delivered-To` above the message; they are taken off here and kept
as the envelope. Lines end in LF, as Postfix stores them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import DEADLINE, wait_until

_ENVELOPE = (b"return-path", b"x-original-to", b"delivered-to")
_ARRIVAL = re.compile(r"(\d+)\..*?M(\d+)")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivered message."""

    message: bytes  # header and body with LF line ends, without virtual(8)'s three fields
    return_path: str  # envelope sender, "" = null sender
    rcpt: str  # envelope recipient to which it was delivered
    original_rcpt: str  # recipient before any rewriting

    @property
    def header(self) -> bytes:
        """The header with its last LF."""
        return self.message.partition(b"\n\n")[0] + b"\n"

    @property
    def body(self) -> bytes:
        """What follows the empty line."""
        return self.message.partition(b"\n\n")[2]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """(name, value) from the top, folds and leading blank kept, octets as latin-1."""
        return split_fields(self.header)

    def all(self, name: str) -> list[str]:
        """Values of all fields called `name`, in any case, from the top."""
        return [value for found, value in self.fields if found.lower() == name.lower()]


def split_fields(header: bytes) -> list[tuple[str, str]]:
    """Split a header with LF line ends; a line without a colon gives ("", line)."""
    fields = []
    for field in re.split(r"\n(?![ \t])", header.decode("latin-1").rstrip("\n")):
        name, colon, value = field.partition(":")
        fields.append((name.rstrip(" \t"), value) if colon else ("", field))
    return fields


def _read(data: bytes) -> Delivered:
    envelope: dict[bytes, str] = {}
    rest = data
    while True:
        line, _, following = rest.partition(b"\n")
        name, _, value = line.partition(b":")
        if name.lower() not in _ENVELOPE or name.lower() in envelope:
            break
        envelope[name.lower()] = value.strip().decode("utf-8", "backslashreplace").strip("<>")
        rest = following
    return Delivered(rest, *(envelope.get(name, "") for name in (b"return-path", b"delivered-to", b"x-original-to")))


class Mailbox:
    """One Maildir that takes the mail of all recipients."""

    def __init__(self, path: Path) -> None:
        """`path` is the Maildir; virtual(8) makes it with the first message."""
        self.path = path
        self._seen: dict[str, Delivered] = {}

    def messages(self, rcpt: str = "") -> list[Delivered]:
        """Messages for `rcpt` ("" = for anybody) in the order of arrival."""
        new = self.path / "new"
        names = [entry.name for entry in new.iterdir()] if new.is_dir() else []
        for name in names:
            if name not in self._seen:
                self._seen[name] = _read((new / name).read_bytes())

        def arrival(name: str) -> tuple[int, int]:
            found = _ARRIVAL.match(name)
            return (int(found[1]), int(found[2])) if found else (0, 0)

        found = [self._seen[name] for name in sorted(names, key=arrival)]
        return [item for item in found if not rcpt or item.rcpt == rcpt]

    def wait(self, rcpt: str, count: int = 1, timeout: float = DEADLINE) -> list[Delivered]:
        """Wait until at least `count` messages for `rcpt` are there and return all of them; raises `TimedOut`."""

        def enough() -> list[Delivered] | None:
            found = self.messages(rcpt)
            return found if len(found) >= count else None

        return wait_until(enough, f"{count} message(s) for {rcpt or 'anybody'}", timeout=timeout)
