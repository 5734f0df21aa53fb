"""Asks tlspolicyd as Postfix does: one look-up, of an address, about which there never is a policy.

Standards: socketmap_table(5).
"""

from __future__ import annotations

import socket

from tlspolicyd import netstring
from tlspolicyd.query import POLICY
from tlspolicyd.socketmap import NOT_FOUND, write_request

_KEY = b"[127.0.0.1]"  # as Postfix writes a destination that is an address


def ask(connection: socket.socket) -> str:
    """What is wrong with the answer, "" for nothing. Raises OSError."""
    connection.sendall(write_request(POLICY.encode(), _KEY))
    reader = netstring.Reader()
    while (reply := reader.next()) is None:
        data = b"" if reader.fault else connection.recv(4096)
        if not data:
            return "its answer is not one of a socketmap server" if reader.pending else "it closes the connection"
        reader.feed(data)
    return "" if reply == NOT_FOUND else f"its answer is {reply[:100].decode('ascii', 'backslashreplace')}"
