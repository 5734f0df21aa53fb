"""What sending reports needs: a Postfix that takes them, and a timer that runs. Rules are pure; the rest looks."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from mailcommon.doctor.daemon import Word
from mailcommon.doctor.daemon_facts import speak
from mailcommon.doctor.findings import Finding, mend, note
from mailcommon.doctor.postfix import Place

_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_WANTS = "/etc/systemd/system/timers.target.wants"


@dataclass(frozen=True, slots=True)
class SendingFacts:
    smtp: str  # "HOST:PORT"
    fault: str  # why no SMTP server answers there, "" if one does
    timer: str  # the unit that sends
    timer_runs: bool | None  # None: there is no systemd here


def read_sending(smtp: str, timer: str) -> SendingFacts:
    """What is there now."""
    host, _, port = smtp.rpartition(":")
    contact = speak(Place(host=host, port=port), _greeting)
    fault = "" if contact.word is Word.ANSWERS else contact.detail or contact.word.value
    runs = Path(_WANTS, timer).exists() if _SYSTEMD.is_dir() else None
    return SendingFacts(smtp, fault, timer, runs)


def _greeting(connection: socket.socket) -> str:
    head = connection.recv(4)
    if head[:3] != b"220":
        return "no SMTP server answers"
    connection.sendall(b"QUIT\r\n")
    return ""


def judge_sending(facts: SendingFacts, ident: str) -> tuple[Finding, ...]:
    """The rules. `ident`: what the findings' words begin with."""
    found = []
    if facts.fault:
        found.append(
            mend(
                f"{ident}-smtp",
                f"reports are handed over at {facts.smtp}: {facts.fault}",
                "they wait and are given up",
                "set smtp to where Postfix listens",
            )
        )
    if facts.timer_runs is False:
        found.append(
            note(
                f"{ident}-timer",
                f"{facts.timer} is not enabled",
                "unless cron or another host sends them, no report goes out",
                f"systemctl enable --now {facts.timer}",
            )
        )
    return tuple(found)
