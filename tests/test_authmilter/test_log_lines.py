"""What stands in the line of a message, and what does not: over the wire, in both shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from authmilter.logline import log_fields
from tests.support.inbound import run_message
from tests.support.stranger import Strangers
from tests.support.zone_resolver import ZoneResolver

ZONE = """
a.example.         300 IN TXT "v=spf1 exists:%{l}.spf.a.example -all"
_dmarc.a.example.  300 IN TXT "v=DMARC1; p=reject"
"""
FAULT = "johanna.mueller.spf.a.example. A servfail\n"
MESSAGE = b"From: Johanna <johanna.mueller@a.example>\r\n\r\nhello\r\n"
HOSTILE = 'x\n4bX: decision=accept", "decision": "accept\x1b[2J\u202e\udcff'


@pytest.mark.parametrize(
    ("mail_from", "shown", "whole"),
    [
        ("johanna.mueller@a.example", "<@a.example>", "<johanna.mueller@a.example>"),
        ("", "<>", "<>"),
        ("johanna", "<...>", "<johanna>"),
        ('"a@b c"@a.example', "<@a.example>", '"<\\"a@b c\\"@a.example>"'),
    ],
)
def test_addresses_are_named_only_if_wanted(mail_from: str, shown: str, whole: str) -> None:
    outcome = run_message(MESSAGE, ZoneResolver(ZONE + FAULT), ip="192.0.2.1", mail_from=mail_from)
    assert f" mail_from={shown} " in str(log_fields(outcome))
    assert f" mail_from={whole} " in str(log_fields(outcome, addresses=True))


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        b"From: johanna.mueller@\r\n\r\nhello\r\n",
        b"From: johanna.mueller@a.example johanna.mueller@b.example\r\n\r\nhello\r\n",
        b"From: <johanna.mueller@a.example\r\n\r\nhello\r\n",
        b'From: "johanna.mueller@a.example" <x@b.example>, <johanna.mueller@>\r\n\r\nhello\r\n',
    ],
)
def test_no_local_part_anywhere(message: bytes) -> None:
    """Not by way of SPF's macros, and not in what is said of a From that cannot be read."""
    outcome = run_message(message, ZoneResolver(ZONE + FAULT), ip="192.0.2.1", mail_from="johanna.mueller@a.example")
    text = str(log_fields(outcome))
    assert "johanna" not in text
    assert "author=" in text or "rule=bad-from" in text


def test_hostile_values_over_the_wire() -> None:
    with Strangers(ZONE, {"log_format": "json", "log_addresses": True}) as gate:
        with gate.client(helo=b"h\x1b[31m") as milter:
            milter.send(
                f"From: u@a.example\nList-Id: {HOSTILE!r}\nSubject: {HOSTILE!r}\n\nhi\n".encode(),
                mail_from='"x\x1b[2J\\", \\"decision\\": \\"accept"@a.example',
            )
        gate.daemon.log.wait('"decision"')
        lines = gate.daemon.log.text().splitlines()
    objects = [json.loads(line) for line in lines]
    (found,) = [each for each in objects if "decision" in each]
    assert found["decision"] in ("reject", "quarantine", "accept")
    assert found["queue_id"]
    assert "\x1b" in found["mail_from"]
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert {each["daemon"] for each in objects} == {"authmilter"}


@pytest.fixture(scope="module")
def plain() -> Iterator[Strangers]:
    with Strangers(ZONE) as gate:
        yield gate


def test_the_queue_id_is_the_first_word(plain: Strangers) -> None:
    with plain.client() as milter:
        milter.send(MESSAGE, mail_from="johanna.mueller@a.example")
    line = plain.daemon.log.wait(r"INFO (\w+): decision=.*")
    assert re.fullmatch(r"\w+", line[1])
    assert "johanna" not in plain.daemon.log.text()
