"""The listening sockets.

systemd may hand the sockets over (sd_listen_fds(3)); then the settings about them do not count.

Diagnostics: `StartError`, whose text is for the person who starts the daemon.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from mailcommon.privileges import StartError, give_socket, group_id, require_free, require_user
from tlspolicyd.settings import Settings

log = logging.getLogger("tlspolicyd")

_FIRST = 3  # SD_LISTEN_FDS_START
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Listening:
    """Open sockets, not blocking."""

    sockets: tuple[socket.socket, ...]
    path: Path | None  # of a Unix socket that is ours to remove
    where: str  # for the log


def listen(settings: Settings) -> Listening:
    """The sockets that systemd handed over, or those that the settings name."""
    handed = _from_systemd()
    if handed:
        places = {opened.getsockname() for opened in handed}
        if settings.socket.removeprefix("unix:") not in places:
            log.warning("systemd has handed over other sockets: socket = %s does not count", settings.socket)
        return Listening(handed, None, f"{len(handed)} sockets of systemd")
    if settings.socket.startswith("unix:"):
        path = Path(settings.socket.removeprefix("unix:"))
        return Listening((_open_unix(path, settings),), path, settings.socket)
    return Listening(_open_inet(settings.socket), None, settings.socket)


def _from_systemd() -> tuple[socket.socket, ...]:
    pid, number = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not number.isdigit():
        return ()
    sockets = []
    for descriptor in range(_FIRST, _FIRST + int(number)):
        try:
            handed = socket.socket(fileno=descriptor)
            listens = handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as fault:
            raise StartError(f"descriptor {descriptor} of LISTEN_FDS: {fault.strerror}") from fault
        if handed.type != socket.SOCK_STREAM or not listens:
            raise StartError(f"descriptor {descriptor} of LISTEN_FDS is not a listening stream socket")
        handed.setblocking(False)
        handed.set_inheritable(False)
        sockets.append(handed)
    return tuple(sockets)


def _open_unix(path: Path, settings: Settings) -> socket.socket:
    require_free(path)
    group = group_id(settings.socket_group)
    user = require_user(settings.user)
    opened = socket.socket(socket.AF_UNIX)
    opened.setblocking(False)
    old = os.umask(0o777)  # nobody may connect before the rights are right
    try:
        path.unlink(missing_ok=True)
        opened.bind(str(path))
    except OSError as fault:
        raise StartError(f"{path}: {fault.strerror or fault}: may this user write there?") from fault
    finally:
        os.umask(old)
    try:
        give_socket(path, user, group)
        path.chmod(int(settings.socket_mode, 8))
    except OSError as fault:
        raise StartError(
            f"{path}: cannot be given to {settings.socket_group or 'its users'}: {fault.strerror}"
        ) from fault
    opened.listen(BACKLOG)
    return opened


def _open_inet(address: str) -> tuple[socket.socket, ...]:
    port, _, host = address.removeprefix("inet:").partition("@")
    sockets = []
    try:
        found = socket.getaddrinfo(
            host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, place in found:
            opened = socket.socket(family, kind, protocol)
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                opened.bind(place)
            except OSError as fault:
                opened.close()
                # a name such as localhost has an address of a family that this host may not have
                if fault.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                    continue
                raise
            opened.listen(BACKLOG)
            sockets.append(opened)
    except OSError as fault:
        raise StartError(f"{address}: {fault.strerror}: is the address free and one of this host's?") from fault
    if not sockets:
        raise StartError(f"{address}: is no address of this host")
    return tuple(sockets)
