"""Negotiates with a milter as Postfix does, and takes leave: a real answer of libmilter and of a worker behind it.

Standards: the milter protocol, version 6 (Sendmail's mfdef.h).
"""

from __future__ import annotations

import socket
import struct

from mailcommon.doctor.daemon_facts import read_exactly

_VERSION = 6
_ALL_ACTIONS, _ALL_STEPS = 0x1FF, 0x1FFFFF
_MAX_ANSWER = 65_536  # octets


def negotiate(connection: socket.socket) -> str:
    """Say SMFIC_OPTNEG and SMFIC_QUIT; what is wrong with the answer, "" for nothing. Raises OSError."""
    data = struct.pack(">III", _VERSION, _ALL_ACTIONS, _ALL_STEPS)
    connection.sendall(struct.pack(">I", len(data) + 1) + b"O" + data)
    head = read_exactly(connection, 5)
    if len(head) < 5:
        return "it closes the connection without an answer"
    length, command = struct.unpack(">Ic", head)
    if command != b"O" or not 13 <= length <= _MAX_ANSWER:
        return "its answer is not one of a milter"
    answer = read_exactly(connection, length - 1)
    connection.sendall(struct.pack(">I", 1) + b"Q")
    return "" if len(answer) == length - 1 else "its answer is cut off"
