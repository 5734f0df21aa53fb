"""Log lines cannot be forged by what is in them, in either shape."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailcommon import log as logging_setup
from mailcommon.log import QueueId, pairs, safe_value

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # half surrogate pairs too, as surrogateescape makes them
HOSTILE = (
    "line\nbreak\r",
    "\x1b[31mred",
    "\u202egnp.exe",
    "\udcff",
    '"}\n{"decision": "accept"}',
    "%s %d",
    "\0",
    "\u2028",
)


def written(shape: str, call: Callable[[logging.Logger], None], level: str = "debug") -> str:
    """What one call leaves on standard error."""
    stream, before = io.StringIO(), sys.stderr
    sys.stderr = stream
    try:
        call(logging_setup.set_up("gatepost-test", level, shape))
    finally:
        sys.stderr = before
        logging.getLogger("gatepost-test").handlers.clear()
    return stream.getvalue()


def as_json(call: Callable[[logging.Logger], None]) -> dict[str, Any]:
    (line,) = written("json", call).splitlines()
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain.example", "plain.example"),
        ("<a@b.example>", "<a@b.example>"),
        ("two words", '"two words"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("line\nbreak\r", r'"line\nbreak\r"'),
        ("\x1b[31mred", r'"\x1b[31mred"'),
        ("müller", r'"m\xfcller"'),
        ("\u202egnp.exe", r'"\u202egnp.exe"'),
        ("\udcff", r'"\udcff"'),
        ("", '""'),
        (12, "12"),
    ],
)
def test_safe_value(value: object, expected: str) -> None:
    assert safe_value(value) == expected


@given(st.text())
def test_one_printable_ascii_line_whatever_comes(text: str) -> None:
    line = safe_value(text)
    assert line.isascii()
    assert line.isprintable()
    assert not line.startswith('"') or line.endswith('"')
    assert " " not in line or line.startswith('"')


def test_long_values_are_cut() -> None:
    assert len(safe_value("x" * 100_000)) < 600


def test_empty_values_are_left_out() -> None:
    assert str(pairs(a="", b=None, c=0, d="x", e=())) == "c=0 d=x"
    assert pairs(a="", b=None, c=0, d="x", e=()).as_data() == {"c": 0, "d": "x"}


# Both shapes


def test_the_queue_id_comes_first() -> None:
    def call(log: logging.Logger) -> None:
        log.info("%s: %s", QueueId("4bXyZ1"), pairs(decision="reject", ms=1.5, spf=("mfrom:a:pass", "helo:b:none")))

    line = written("text", call)
    assert re.search(
        r"gatepost-test\[\d+\] INFO 4bXyZ1: decision=reject ms=1\.5 spf=mfrom:a:pass,helo:b:none\n\Z", line
    )
    found = as_json(call)
    assert (found["queue_id"], found["decision"], found["ms"]) == ("4bXyZ1", "reject", 1.5)
    assert found["spf"] == ["mfrom:a:pass", "helo:b:none"]
    assert (found["level"], found["daemon"]) == ("info", "gatepost-test")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
    assert "message" not in found


def test_a_message_without_queue_id() -> None:
    def call(log: logging.Logger) -> None:
        log.info("%s: %s", QueueId(""), pairs(decision="accept"))

    assert "INFO -: decision=accept" in written("text", call)
    assert "queue_id" not in as_json(call)


def test_words_and_areas() -> None:
    assert as_json(lambda log: log.warning("worker %d ended (%s)", 7, "exit status 1"))["message"] == (
        "worker 7 ended (exit status 1)"
    )
    found = as_json(lambda log: log.info("sts: %s", pairs(domain="a.example", event="error")))
    assert (found["area"], found["domain"], found["event"]) == ("sts", "a.example", "error")
    found = as_json(lambda log: log.error("%s: internal fault, message %s: %s", QueueId("Q"), "deferred", "boom"))
    assert (found["queue_id"], found["message"]) == ("Q", "internal fault, message deferred: boom")


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("shape", ["text", "json"])
def test_outside_text_makes_no_second_line(hostile: str, shape: str) -> None:
    """Wherever it is handed in, escaped by the caller or not."""

    def call(log: logging.Logger) -> None:
        log.info("%s: %s", QueueId(hostile), pairs(value=hostile, several=(hostile, hostile)))

    def raw(log: logging.Logger) -> None:
        log.info("settings not taken: %s", hostile)

    for each in (call, raw):
        (line,) = written(shape, each).split("\n")[:-1]
        assert line.isascii()
        assert line.isprintable()
        if shape == "json":
            assert json.loads(line)["level"] == "info"


@pytest.mark.parametrize("shape", ["text", "json"])
def test_the_trace_of_a_fault_is_on_the_same_line(shape: str) -> None:
    def call(log: logging.Logger) -> None:
        try:
            raise ValueError("half\nof \x1b a message")
        except ValueError:
            log.exception("mx: %s", pairs(domain="a.example"))

    (line,) = written(shape, call).split("\n")[:-1]
    assert "ValueError: half" in line
    assert line.isprintable()


def test_json_keys_of_ours_cannot_be_replaced() -> None:
    assert as_json(lambda log: log.info("%s", pairs(level="x", time="y", pid="z", other="w")))["level"] == "info"


def test_numbers_that_json_does_not_know() -> None:
    assert as_json(lambda log: log.info("%s", pairs(a=float("nan"), b=float("inf"), c=True)))["a"] == "nan"


def test_the_level_and_the_shape_can_change(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging_setup.set_up("gatepost-test", "warning", "text")
    log.info("not written")
    logging_setup.set_up("gatepost-test", "info", "json").info("written")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["message"] == "written"


@given(ANY_TEXT, ANY_TEXT, st.lists(ANY_TEXT, max_size=5))
def test_json_reads_back_as_it_was(queue_id: str, value: str, several: list[str]) -> None:
    def call(log: logging.Logger) -> None:
        log.info("%s: %s", QueueId(queue_id), pairs(value=value, several=tuple(several), number=3))

    def read(text: str) -> str:
        text = text if len(text) <= 500 else text[:500] + "..."
        return text.encode("utf-8", "backslashreplace").decode()

    found = as_json(call)
    assert found.get("value", "") == read(value)
    assert found.get("several", []) == [read(each) for each in several]
    assert found["number"] == 3
    assert ("queue_id" in found) == bool(queue_id)


@given(ANY_TEXT, ANY_TEXT)
def test_text_reads_back_as_it_was(value: str, words: str) -> None:
    line = written("text", lambda log: log.info("%s: %s %s", QueueId("Q"), pairs(a="1", value=value, z="2"), words))
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    match = re.search(r' INFO Q: a=1 (?:value=("(?:[^"\\]|\\.)*"|\S+) )?z=2 ', line)
    assert match, line
    if len(value) <= 500 and "\\" not in value:
        assert _unquoted(match[1] or "") == value


def _unquoted(text: str) -> str:
    return text[1:-1].replace('\\"', '"').encode("ascii").decode("unicode_escape") if text.startswith('"') else text
