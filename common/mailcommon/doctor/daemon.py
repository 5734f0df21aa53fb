"""The daemon itself: does it answer, as whom does it run, can it read its files. Pure; `daemon_facts` looks.

Both daemons have the settings `socket`, `socket_mode`, `socket_group` and `user`, which this is about.
"""

from __future__ import annotations

import enum
import shlex
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mailcommon.doctor.findings import Finding, mend, right, unseen
from mailcommon.doctor.paths import READ, WRITE, Identity, Route
from mailcommon.doctor.postfix import Place, Service


class Word(enum.StrEnum):
    """What came of speaking to the daemon."""

    ANSWERS = "answers"
    MISSING = "there is no such socket"
    REFUSED = "nobody listens"
    DENIED = "this user may not connect"
    SILENT = "no answer in time"
    STRANGE = "something else answers"


@dataclass(frozen=True, slots=True)
class Contact:
    word: Word
    detail: str = ""  # for people
    seconds: float = 0.0
    uid: int | None = None  # of who listens on a Unix socket, if it can be told


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    program: str
    place: Place
    contact: Contact
    route: Route | None  # to a Unix socket
    user: str  # as the settings have it
    runs_as: Identity | None  # None: there is no such user, or it cannot be told
    group_is_there: bool  # of socket_group
    group: str
    settings: Route | None  # to the settings file, None if the defaults are in force
    socket_unit: str = ""  # of systemd, if one that holds the socket is enabled: then it counts, not the settings


def judge_daemon(facts: DaemonFacts) -> tuple[Finding, ...]:
    """Whether it runs and answers, and what it needs for it."""
    return (*_contact(facts), *_user(facts), *_settings(facts))


def _contact(facts: DaemonFacts) -> tuple[Finding, ...]:
    program, contact = facts.program, facts.contact
    where = f"{program} at {facts.place}"
    if contact.word is Word.ANSWERS:
        return (right("daemon", f"{where} answers ({contact.seconds * 1000:.0f} ms)"),)
    if contact.word is Word.DENIED:
        return (unseen("daemon", f"{where}: {contact.word}", "run this as root"),)
    detail = f" ({contact.detail})" if contact.detail else ""
    if contact.word is Word.STRANGE:
        return (
            mend(
                "daemon-other",
                f"{where}: {contact.word}{detail}",
                "Postfix asks the wrong program",
                "give socket in the settings a place of its own",
            ),
        )
    cure = f"systemctl restart {program}; journalctl -u {program} says why it does not start"
    if unit := facts.socket_unit:
        # the socket must be there first, or the daemon makes its own
        cure = (
            f"systemctl restart {unit} {program}.service; journalctl -u {program} says why it does not start; "
            f"ListenStream of {unit} counts, and must be what socket in the settings is"
        )
    return (mend("daemon-down", f"{where} does not answer: {contact.word}{detail}", "Postfix defers mail", cure),)


def _user(facts: DaemonFacts) -> tuple[Finding, ...]:
    program = facts.program
    found = []
    if facts.user and facts.runs_as is None:
        found.append(
            mend(
                "user-missing",
                f"there is no user {facts.user}, as which the settings let {program} run",
                "it cannot start",
                f"adduser --system --group --no-create-home {shlex.quote(facts.user)}",
            )
        )
    if not facts.user and facts.contact.uid == 0:
        found.append(
            mend(
                "runs-as-root",
                f"{program} runs as root",
                "a fault in it would be a fault in everything",
                f'adduser --system --group --no-create-home {program}, and user = "{program}" in the settings',
            )
        )
    if not facts.group_is_there:
        found.append(
            mend(
                "group-missing",
                f"there is no group {facts.group}, to which the settings give the socket",
                "it cannot start",
                'socket_group = "postfix" in the settings',
            )
        )
    return tuple(found)


def _settings(facts: DaemonFacts) -> tuple[Finding, ...]:
    if facts.settings is None or facts.runs_as is None:
        return ()
    if blocked := facts.settings.obstacle(facts.runs_as, READ):
        return (
            mend(
                "settings-unreadable",
                f"{facts.settings.path} cannot be read as {facts.runs_as.name}: {blocked.path} is {blocked.rights}",
                f"{facts.program} has given up root's rights when SIGHUP makes it read them again",
                f"chgrp {facts.runs_as.name} {shlex.quote(str(blocked.path))} and chmod g+r (a directory: g+x) it",
            ),
        )
    return ()


def judge_reach(
    facts: DaemonFacts, clients: Iterable[Service], postfix: Identity | None, queue_directory: Path
) -> tuple[Finding, ...]:
    """Whether Postfix's user can walk to the Unix socket and write to it, chrooted or not, as each client is."""
    route = facts.route
    found: dict[str, Finding] = {}  # one for each obstacle, whoever meets it
    if route is None or postfix is None:
        return ()
    for client in clients:
        blocked = route.obstacle(postfix, WRITE, queue_directory if client.chroot else Path("/"))
        if blocked is None:
            continue
        ident = "socket-rights" if blocked.path == route.path else "socket-directory"
        where = shlex.quote(str(blocked.path))
        if ident == "socket-rights" and (unit := facts.socket_unit):
            cure = f"SocketGroup={postfix.name} and SocketMode=0660 by systemctl edit {unit}, and restart it"
        elif ident == "socket-rights":
            cure = (
                f'socket_group = "{postfix.name}" and socket_mode = "0660" in the settings, and restart {facts.program}'
            )
        else:
            cure = f"chgrp {postfix.name} {where} && chmod g+x {where}"
        found.setdefault(
            str(blocked.path),
            mend(
                ident,
                f"{client.command}(8) runs as {postfix.name} and may not use {blocked.path}: it is {blocked.rights}",
                "Postfix cannot connect",
                cure,
            ),
        )
    if route.hidden and not found:
        return (unseen("socket-rights", f"{route.hidden} may not be looked at by this user", "run this as root"),)
    if not found and route.end and not stat.S_ISSOCK(route.end.mode):
        return (
            mend("socket-not", f"{route.path} is there and is no socket", "nobody can listen there", "move it away"),
        )
    if not found and route.end:
        return (right("socket", f"Postfix's user {postfix.name} can connect to {route.path}"),)
    return tuple(found.values())
