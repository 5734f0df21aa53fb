"""Who can reach a file: the directories on the way to it, with owners and rights, and a rule over them.

Limits: a directory or file with an access list (acl(5)) counts as open: its rights say too little.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, PASS = 4, 2, 1


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and all groups that the user is in."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Node:
    """One directory or file; symbolic links are followed."""

    path: Path
    mode: int  # st_mode
    uid: int
    gid: int
    acl: bool = False

    def allows(self, who: Identity, want: int) -> bool:
        """Whether the rights give `who` what is wanted: READ, WRITE, PASS or their sum."""
        if who.uid == 0 or self.acl:
            return True
        shift = 6 if who.uid == self.uid else 3 if self.gid in who.gids else 0
        return (self.mode >> shift) & want == want

    @property
    def rights(self) -> str:
        """For people: "0750 root:postfix"."""
        return f"{stat.S_IMODE(self.mode):04o} {user_name(self.uid)}:{group_name(self.gid)}"


@dataclass(frozen=True, slots=True)
class Route:
    """A path from the root to its end, as far as it is there."""

    path: Path
    nodes: tuple[Node, ...]
    missing: Path | None = None  # the first part that is not there
    hidden: Path | None = None  # the first part that this user may not look at

    @property
    def end(self) -> Node | None:
        """The file itself, if it is there."""
        return self.nodes[-1] if self.nodes and self.nodes[-1].path == self.path else None

    def obstacle(self, who: Identity, want: int, below: Path = Path("/")) -> Node | None:
        """The first part, of those at or below `below`, that keeps `who` from what is wanted of the end."""
        for node in self.nodes:
            if not node.path.is_relative_to(below):
                continue
            if not node.allows(who, want if node.path == self.path else PASS):
                return node
        return None


def look(path: Path) -> Route:
    """What is on the way to `path`, an absolute one; never raises."""
    nodes: list[Node] = []
    for part in (*reversed(path.parents), path):
        try:
            found = part.stat()
        except OSError as fault:
            gone = fault.errno in (errno.ENOENT, errno.ENOTDIR)
            return Route(path, tuple(nodes), part if gone else None, None if gone else part)
        nodes.append(Node(part, found.st_mode, found.st_uid, found.st_gid, _has_acl(part)))
    return Route(path, tuple(nodes))


def _has_acl(path: Path) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def identity(name: str) -> Identity | None:
    """A user of this host, None if there is no such; "" is the one that runs this."""
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError:
        return None
    return Identity(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def user_name(uid: int) -> str:
    """The name, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name, or the number if there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
