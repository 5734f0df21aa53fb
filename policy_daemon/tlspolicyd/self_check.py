"""Whether our own socket answers: a look-up from outside, through the event loop and all that Postfix's goes through.

Asked is for an address literal, which needs no DNS; metrics count it under `no-domain`.

Diagnostics: `why_silent` says what is wrong; nothing raises but cancellation.
Limits: `_SECONDS` for one look-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

from tlspolicyd import socketmap
from tlspolicyd.query import MAPS

CLOSED = "the connection was closed"
_SECONDS = 20.0  # Postfix waits for 100: who is slow only because the host is busy is not dead
_REQUEST = socketmap.write_request(MAPS[0].encode(), b"[127.0.0.1]")
_REPLY = socketmap.write_reply(socketmap.NOT_FOUND)

Place = tuple[int, Any]  # family and name of a listening socket


async def why_silent(place: Place) -> str:
    """ "" if the right reply comes in time."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await _ask(place)
    except TimeoutError:
        return f"none within {_SECONDS:g} s"
    except OSError as fault:
        return os.strerror(fault.errno) if fault.errno else str(fault)


async def _ask(place: Place) -> str:
    family, name = place
    if family == socket.AF_UNIX:
        reader, writer = await asyncio.open_unix_connection(name)
    else:
        # an address of all interfaces leads to this host too
        reader, writer = await asyncio.open_connection(name[0], name[1])
    try:
        writer.write(_REQUEST)
        reply = await reader.readexactly(len(_REPLY))
    except (asyncio.IncompleteReadError, ConnectionError):
        return CLOSED
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return "" if reply == _REPLY else "another reply than expected"
