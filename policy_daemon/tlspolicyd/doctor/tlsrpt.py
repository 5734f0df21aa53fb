"""TLS reports: does Postfix tell what came of TLS, and can it be counted and sent? Pure.

Standards: RFC 8460, TLSRPT_README, postconf(5).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from mailcommon.doctor.findings import Finding, main_cf, mend, mend_by, note, right
from mailcommon.doctor.paths import READ
from mailcommon.doctor.postfix import Postfix
from mailcommon.doctor.reporting import judge_sending
from mailcommon.doctor.stores import judge_store
from tlspolicyd.doctor.facts import ReportFacts

_QUEUE_LENGTH = 512  # datagrams that a socket should hold
_ENABLE, _SOCKET = "smtp_tlsrpt_enable", "smtp_tlsrpt_socket_name"


def judge_tlsrpt(postfix: Postfix, facts: ReportFacts) -> tuple[Finding, ...]:
    """The rules."""
    if not facts.socket and not facts.log:
        return tuple(_off(postfix))
    found = [*_source(postfix, facts), *_sending(facts)]
    if facts.store is not None:
        found.extend(judge_store(facts.store, "tlsrpt-store", "TLS reports are lost"))
    if facts.sending is not None:
        found.extend(judge_sending(facts.sending, "tlsrpt"))
    return tuple(found)


def _off(postfix: Postfix) -> Iterator[Finding]:
    if postfix.yes(_ENABLE):
        yield mend(
            "tlsrpt-nobody",
            f"{_ENABLE} is yes, and [tlsrpt] socket is empty",
            "Postfix tells of its sessions and nobody listens",
            'socket = "unix:/var/spool/postfix/tlspolicyd/tlsrpt.sock" in [tlsrpt]',
        )
    else:
        yield right("tlsrpt", "no TLS reports are made: [tlsrpt] has neither socket nor log")


def _source(postfix: Postfix, facts: ReportFacts) -> Iterator[Finding]:
    if facts.log:
        yield from _from_log(postfix, facts)
        return
    path = facts.socket.removeprefix("unix:")
    if not postfix.knows(_ENABLE):
        yield mend(
            "tlsrpt-version",
            f"Postfix {postfix.version_text} cannot tell of its sessions",
            "nothing is counted",
            'log = "/var/log/mail.log" or "journal:" in place of socket in [tlsrpt]',
        )
        return
    queue = str(postfix.queue_directory)
    name = path.removeprefix(f"{queue}/")
    if not postfix.yes(_ENABLE):
        yield mend_by("tlsrpt-enable", f"{_ENABLE} is no", "nothing is counted", main_cf(_ENABLE, "yes"))
    there = postfix.get(_SOCKET)
    if there != name:
        if name == path and any(service.chroot for service in postfix.running("smtp")):
            yield mend(
                "tlsrpt-outside-chroot",
                f"smtp(8) runs chrooted in {queue} and cannot see {path}",
                "nothing is counted",
                f'socket = "unix:{queue}/tlspolicyd/tlsrpt.sock" in [tlsrpt]',
            )
        else:
            text = f"{_SOCKET} is {there or 'empty'}, [tlsrpt] socket is {facts.socket}"
            yield mend_by("tlsrpt-socket", text, "nothing is counted", main_cf(_SOCKET, name))
    if facts.queue_length is not None and facts.queue_length < _QUEUE_LENGTH:
        yield note(
            "tlsrpt-queue",
            f"net.unix.max_dgram_qlen is {facts.queue_length}",
            "in bursts sessions are not counted",
            f"sysctl -w net.unix.max_dgram_qlen={_QUEUE_LENGTH}, and in /etc/sysctl.d",
        )


def _from_log(postfix: Postfix, facts: ReportFacts) -> Iterator[Finding]:
    level = postfix.number("smtp_tls_loglevel")
    if level is not None and level < 1:
        yield mend_by(
            "tlsrpt-loglevel",
            f"smtp_tls_loglevel is {level}",
            "the log does not say what came of TLS",
            main_cf("smtp_tls_loglevel", "1"),
        )
    if postfix.knows(_ENABLE):
        text = f"[tlsrpt] log is {facts.log}, and Postfix {postfix.version_text} can tell of its sessions itself"
        yield note("tlsrpt-log", text, "a log tells less", "socket in [tlsrpt]; see tlspolicyd(8)")
    if facts.log_route is None:
        return
    if facts.log_route.missing:
        yield mend(
            "tlsrpt-log-missing",
            f"[tlsrpt] log: {facts.log_route.missing} does not exist",
            "nothing is counted",
            'log = "journal:" where Postfix logs to the journal alone',
        )
    elif facts.runs_as and (node := facts.log_route.obstacle(facts.runs_as, READ)):
        yield mend(
            "tlsrpt-log-rights",
            f"[tlsrpt] log: {facts.runs_as.name} may not read {node.path}: it is {node.rights}",
            "nothing is counted",
            f"adduser {shlex.quote(facts.runs_as.name)} adm, and restart tlspolicyd",
        )


def _sending(facts: ReportFacts) -> Iterator[Finding]:
    if not facts.contact:
        yield mend(
            "tlsrpt-contact",
            "[tlsrpt] contact is empty",
            "what is counted is sent to nobody",
            'contact = "tls-reports@example.org" in [tlsrpt]',
        )
