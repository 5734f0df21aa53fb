"""The milter protocol's packets (version 6, as Sendmail's mfdef.h and Postfix's milter8.c define it). No I/O.

A packet is a 32-bit length, a command octet and data; the length counts the command octet.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

MAX_PACKET = 16 << 20  # octets; nothing that a milter answers comes near it


class Step(enum.IntFlag):
    """Protocol bits (SMFIP_*): what the milter may refuse (NO_*), leave unanswered (NR_*) or ask for."""

    NO_CONNECT = 0x1
    NO_HELO = 0x2
    NO_MAIL = 0x4
    NO_RCPT = 0x8
    NO_BODY = 0x10
    NO_HEADERS = 0x20
    NO_EOH = 0x40
    NR_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    RCPT_REJECTED = 0x800
    NR_CONNECT = 0x1000
    NR_HELO = 0x2000
    NR_MAIL = 0x4000
    NR_RCPT = 0x8000
    NR_DATA = 0x10000
    NR_UNKNOWN = 0x20000
    NR_EOH = 0x40000
    NR_BODY = 0x80000
    LEADING_SPACE = 0x100000


class Can(enum.IntFlag):
    """Action bits (SMFIF_*): what the milter may do at the end of a message."""

    ADD_HEADERS = 0x1
    CHANGE_BODY = 0x2
    ADD_RCPT = 0x4
    DELETE_RCPT = 0x8
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    CHANGE_FROM = 0x40
    ADD_RCPT_PARAMETERS = 0x80
    SET_MACROS = 0x100


ALL_STEPS = Step(0x1FFFFF)  # all that Postfix offers in version 6
ALL_ACTIONS = Can(0x1FF)

# Stages of SMFIR_SETSYMLIST, by the command octet of the event
MACRO_STAGES = {b"C": 0, b"H": 1, b"M": 2, b"R": 3, b"T": 4, b"E": 5, b"N": 6, b"L": 6, b"B": 5}

# Replies that end an event, by their octet. "y" carries an SMTP reply.
REPLIES = {
    b"c": "continue",
    b"a": "accept",
    b"r": "reject",
    b"t": "tempfail",
    b"d": "discard",
    b"s": "skip",
    b"y": "replycode",
    b"4": "shutdown",
    b"f": "connection failure",
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One request of the milter at the end of a message.

    kind: add, insert, change (an empty value deletes), quarantine, add-rcpt, delete-rcpt, change-from, replace-body.
    """

    kind: str
    name: bytes = b""  # field name; address for recipients and senders
    value: bytes = b""  # field value with LF folds; reason of a quarantine; text of the new body
    index: int = 0


class ProtocolError(AssertionError):
    """The milter sent what the protocol does not allow here."""


def packet(command: bytes, data: bytes = b"") -> bytes:
    """One packet as it goes over the wire."""
    return struct.pack(">I", len(data) + 1) + command + data


def strings(*values: bytes) -> bytes:
    """NUL-terminated strings; as in C, a value ends at its first NUL."""
    return b"".join(value.partition(b"\0")[0] + b"\0" for value in values)


def parse_edit(command: bytes, data: bytes) -> Edit | None:
    """The edit that a packet asks for, None if the packet is none. Raises `ProtocolError` if it is malformed."""
    kinds = {b"h": "add", b"i": "insert", b"m": "change", b"q": "quarantine", b"+": "add-rcpt", b"2": "add-rcpt"}
    kinds |= {b"-": "delete-rcpt", b"e": "change-from", b"b": "replace-body"}
    kind = kinds.get(command)
    if kind is None:
        return None
    if kind == "replace-body":
        return Edit(kind, value=data)
    index = 0
    if kind in ("insert", "change"):
        if len(data) < 4:
            raise ProtocolError(f"{kind} without an index: {data!r}")
        (index,) = struct.unpack(">I", data[:4])
        data = data[4:]
    if not data.endswith(b"\0"):
        raise ProtocolError(f"{kind} without a final NUL: {data!r}")
    parts = data[:-1].split(b"\0")
    if kind == "quarantine":
        return Edit(kind, value=parts[0])
    if kind in ("add", "insert", "change"):
        if len(parts) != 2 or not parts[0]:
            raise ProtocolError(f"{kind} needs a name and a value: {data!r}")
        return Edit(kind, parts[0], parts[1], index)
    return Edit(kind, parts[0], parts[1] if len(parts) > 1 else b"")
