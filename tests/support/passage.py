"""One message through a `Gate` and all that can be seen of it afterwards.

    passage = pass_through(gate, BANK.sign(mail(BANK.address)), mail_from=BANK.address, **BANK.client())
    passage.fate                 # "delivered", "held", "refused" (5xx), "deferred" (4xx)
    passage.results["dmarc"]     # ["pass"], read by authres, which is not ours

Diagnostics: `TimedOut` with Postfix's log if an accepted message goes nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import authres

from tests.support.gate import Gate
from tests.support.mailbox import Delivered, split_fields
from tests.support.milter_daemon import MilterDaemon
from tests.support.postfix import PrivatePostfix
from tests.support.smtp_client import Exchange, Reply
from tests.support.waiting import wait_until

RESULTS = "Authentication-Results"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A Postfix and its milter that were started one by one, where `Gate` does not fit."""

    postfix: PrivatePostfix
    milter: MilterDaemon


@dataclass(frozen=True, slots=True)
class Passage:
    """What became of a message."""

    fate: str
    exchange: Exchange
    rcpt: str
    content: bytes  # header and body as delivered or held, LF line ends; b"" if not taken
    line: str  # the milter's line about it, "" if it wrote none

    @property
    def reply(self) -> Reply:
        """The reply that settled it."""
        return self.exchange.final

    @property
    def fields(self) -> list[tuple[str, str]]:
        """(name, value) from the top, as `Delivered.fields`."""
        return split_fields(self.content.partition(b"\n\n")[0] + b"\n")

    def all(self, name: str) -> list[str]:
        """Values of all fields of this name, from the top."""
        return [value for found, value in self.fields if found.lower() == name.lower()]

    @property
    def top(self) -> str:
        """The value of our field, which must be the first of all and above Postfix's Received."""
        (name, value), *others = self.fields
        below = next(other for other, _ in others if not other.startswith("BIMI-"))  # what else we add
        assert (name, below) == (RESULTS, "Received"), self.fields[:3]
        return value

    @property
    def results(self) -> dict[str, list[str]]:
        """Method -> results in the field on top."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            found.setdefault(entry[0], []).append(entry[1])
        return found

    @property
    def entries(self) -> list[tuple[str, str, dict[str, str]]]:
        """(method, result, {"header.from": ...}) of the field on top."""
        return read_results(self.top)

    def properties(self, method: str) -> dict[str, str]:
        """The properties of the only result of a method."""
        (found,) = [properties for name, _, properties in self.entries if name == method]
        return found

    @property
    def judged_as(self) -> list[tuple[str, str]]:
        """(result, header.from) of each dmarc= in the field on top."""
        return [(result, found.get("header.from", "")) for method, result, found in self.entries if method == "dmarc"]

    @property
    def decision(self) -> str:
        """The word behind decision= in the milter's log."""
        found = re.search(r" decision=(\S+)", self.line)
        return found[1] if found else ""


def read_results(value: str) -> list[tuple[str, str, dict[str, str]]]:
    """An Authentication-Results value as (method, result, properties)."""
    field = authres.AuthenticationResultsHeader.parse(f"{RESULTS}:{value}")
    return [(one.method, one.result, {f"{p.type}.{p.name}": p.value for p in one.properties}) for one in field.results]


def pass_through(gate: Gate | Inbound, message: bytes, *, mail_from: str, rcpt: str = "", **options: Any) -> Passage:
    """Send one message on a connection of its own and wait until it is somewhere; options of `PrivatePostfix.send`."""
    rcpt = rcpt or gate.postfix.new_rcpt()
    mark = gate.milter.log.mark()
    exchange = gate.postfix.send(message, mail_from=mail_from, rcpts=[rcpt], **{"raw": True, **options})
    return settle(gate, exchange, rcpt, mark)


def settle(gate: Gate | Inbound, exchange: Exchange, rcpt: str, mark: int) -> Passage:
    """What became of a message that was sent; `mark` is the end of the milter's log before it."""
    line = _line(gate, exchange.queue_id, mark)
    if not exchange.accepted:
        return Passage("refused" if exchange.final.code >= 500 else "deferred", exchange, rcpt, b"", line)

    def arrived() -> tuple[str, bytes] | None:
        queue_id = re.escape(exchange.queue_id)
        if re.search(rf": {queue_id}: milter-hold:", gate.postfix.log.text()):
            return "held", gate.postfix.content(exchange.queue_id)
        found = delivery(gate, exchange.queue_id, rcpt)
        return ("delivered", found.message) if found else None

    fate, content = wait_until(arrived, f"{exchange.queue_id}", context=lambda: gate.postfix.log.text()[-4000:])
    return Passage(fate, exchange, rcpt, content, line)


def delivery(gate: Gate | Inbound, queue_id: str, rcpt: str) -> Delivered | None:
    """The delivered message that bears Postfix's queue id, None as long as it is not there."""
    for found in gate.postfix.mailbox.messages(rcpt):
        received = found.all("Received")
        if received and re.search(rf"\bid {re.escape(queue_id)}\b", received[0]):
            return found
    return None


def _line(gate: Gate | Inbound, queue_id: str, mark: int) -> str:
    text = gate.milter.log.text(mark)
    # a refused message has no queue id in the reply: then the line is the first one
    found = re.search(rf"^.* {queue_id or '[^ ]+'}: decision=.*$", text, re.MULTILINE)
    return found[0] if found else ""
