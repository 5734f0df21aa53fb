"""Looks at the daemon: files, users, and a real conversation that the caller brings.

Limits: three seconds for the conversation.
"""

from __future__ import annotations

import grp
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mailcommon.doctor.daemon import Contact, DaemonFacts, Word
from mailcommon.doctor.listeners import listener_uid
from mailcommon.doctor.paths import identity, look, user_name
from mailcommon.doctor.postfix import Place, place_of_server

_SECONDS = 3.0
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_WANTS = Path("/etc/systemd/system/sockets.target.wants")

# says with the connected socket what the daemon would be asked; returns what is wrong, "" for nothing
Talk = Callable[[socket.socket], str]


class DaemonSettings(Protocol):
    """What the settings of both daemons have."""

    @property
    def socket(self) -> str:
        """ "unix:/path" or "inet:PORT@HOST"."""
        ...

    @property
    def socket_group(self) -> str:
        """A group, or ""."""
        ...

    @property
    def user(self) -> str:
        """A user, or ""."""
        ...


def read_daemon(program: str, settings: DaemonSettings, file: Path | None, talk: Talk) -> DaemonFacts:
    """What can be known; `file`: the settings file, None if there is none."""
    place = place_of_server(settings.socket)
    contact = speak(place, talk)
    user = settings.user
    if not user and contact.uid is not None:
        user = user_name(contact.uid)  # systemd may have started it as somebody
    return DaemonFacts(
        program=program,
        place=place,
        contact=contact,
        route=look(place.path) if place.path else None,
        user=settings.user,
        runs_as=identity(user) if user else None,
        group_is_there=not settings.socket_group or _is_group(settings.socket_group),
        group=settings.socket_group,
        settings=look(file.absolute()) if file else None,
        socket_unit=_socket_unit(program),
    )


def _socket_unit(program: str) -> str:
    """The unit that is enabled to hold the daemon's socket, "" without one."""
    unit = f"{program}.socket"
    return unit if _SYSTEMD.is_dir() and (_WANTS / unit).is_symlink() else ""


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def speak(place: Place, talk: Talk) -> Contact:
    """Connect and talk."""
    began = time.monotonic()
    try:
        with _connect(place) as connection:
            wrong = talk(connection)
            taken = time.monotonic() - began
            uid = listener_uid(place.path) if place.path else None
    except (FileNotFoundError, NotADirectoryError):
        return Contact(Word.MISSING)
    except PermissionError:
        return Contact(Word.DENIED)
    except TimeoutError:
        return Contact(Word.SILENT)
    except OSError as fault:
        return Contact(Word.REFUSED, str(fault.strerror or fault))
    return Contact(Word.STRANGE, wrong, taken, uid) if wrong else Contact(Word.ANSWERS, "", taken, uid)


def _connect(place: Place) -> socket.socket:
    if place.path is None:
        return socket.create_connection((place.host.strip("[]"), int(place.port)), _SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_SECONDS)
        connection.connect(str(place.path))
    except BaseException:
        connection.close()
        raise
    return connection


def read_exactly(connection: socket.socket, length: int) -> bytes:
    """The next octets; fewer if the other side closes."""
    data = b""
    while len(data) < length and (more := connection.recv(length - len(data))):
        data += more
    return data
