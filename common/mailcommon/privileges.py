"""What a daemon does once at its start as root: the place of its socket, a group, another user.

Diagnostics: `StartError`, whose text is for the person who starts the daemon.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import sysconfig
from pathlib import Path

_PYTHON = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]


class StartError(Exception):
    """The daemon cannot start; the text says why and what to do."""


def require_free(path: Path) -> None:
    """Raise StartError unless a Unix socket can be made at `path`: nobody answers there, and nothing else is there.

    A socket that a former process left may stay; whoever binds has to remove it.
    """
    try:
        if not path.parent.is_dir():
            raise StartError(f"{path.parent} does not exist: make the directory that the socket is to be in")
        if not path.exists():
            return
        if not path.is_socket():
            raise StartError(f"{path} exists and is not a socket")
    except OSError as fault:
        raise StartError(f"{path}: {fault.strerror}: may this user look there?") from fault
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as fault:
            raise StartError(f"{path}: {fault.strerror}") from fault
    raise StartError(f"{path}: another process answers there already")


def group_id(name: str) -> int | None:
    """The number of group `name`, None for ""."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise StartError(f"socket_group: there is no group {name} on this host") from None


def require_user(name: str) -> pwd.struct_passwd | None:
    """The entry of user `name`, None for ""."""
    if not name:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise StartError(f"user: there is no user {name} on this host") from None


def give_socket(path: Path, user: pwd.struct_passwd | None, group: int | None) -> None:
    """Let the socket at `path` belong to `user`, who has to reach it to see whether it answers, and to `group`.

    In a directory with the set-group-ID bit it has its group already, and nothing is asked of the kernel that a service
    without rights is not allowed. Raises OSError.
    """
    now = path.stat()
    owner = user.pw_uid if user is not None and user.pw_uid != now.st_uid and os.geteuid() == 0 else -1
    new = group if group is not None and group != now.st_gid else -1
    if (owner, new) != (-1, -1):
        os.chown(path, owner, new)


def become(name: str) -> None:
    """Give up this user's rights for those of user `name`; "" changes nothing.

    That user has to be able to read Python and its packages, since some modules are loaded when they are needed.
    """
    user = require_user(name)
    if user is None or user.pw_uid == os.geteuid():
        return
    places = [place for place in dict.fromkeys((*_PYTHON, str(Path(__file__).parent))) if Path(place).exists()]
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as fault:
        raise StartError(f"user: only root can become {name}: {fault.strerror}") from fault
    for place in places:
        if not os.access(place, os.R_OK | os.X_OK):
            raise StartError(f"user: {name} cannot read {place}: install Python and Gatepost where every user can read")
