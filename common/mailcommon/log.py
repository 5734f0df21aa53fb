"""Log lines: one place that makes outside text safe, two shapes for all of them.

As text a line is `QUEUEID: key=value key="value with blanks"`: a search for the queue id joins it with Postfix's own
lines. Under systemd the priority goes in front as `<N>` (sd-daemon(3)); elsewhere the time and the level do.
As JSON a line is one object with `time`, `level`, `daemon`, `pid` and, where there is one, `queue_id`; then the same
keys as in the text form. What is said in words stands in `message`, the trace of a fault of ours in `fault`.

Who logs hands in `QueueId` and `pairs()` as arguments of the call; which shape they get is settled here.

Limits: 500 characters of a value, 1,000 of a fault.
Security: whatever is handed in, a record is one line of printable ASCII.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
import traceback

_PLAIN = re.compile(r"[A-Za-z0-9@._:;/+<>=,\[\]~#!*?$%&'^`{|}-]+\Z")
_MAX_VALUE = 500  # characters of one value: a header may be 100 KB long
_MAX_FAULT = 1_000

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEFT_OUT = (None, "", ())


class QueueId(str):
    """Postfix's name of a message, as an argument of a log call; "" where it is not known, "-" in the text form."""

    __slots__ = ()

    def __str__(self) -> str:
        return _printable(self[:_MAX_VALUE]) or "-"


class Fields:
    """Keys and values as an argument of a log call. Keys are ours; values may come from outside."""

    __slots__ = ("_values",)

    def __init__(self, **values: object) -> None:
        self._values = values

    def __str__(self) -> str:
        """`key=value` for each that is not left out; several values are joined by commas."""
        return " ".join(
            f"{key}={safe_value(','.join(map(str, value)) if isinstance(value, tuple) else value)}"
            for key, value in self._values.items()
            if value not in _LEFT_OUT
        )

    def as_data(self) -> dict[str, object]:
        """The same for JSON: numbers stay numbers and several values a list."""
        return {key: _data(value) for key, value in self._values.items() if value not in _LEFT_OUT}


def pairs(**values: object) -> Fields:
    """Keys and values for a log call, as `log.info("%s: %s", QueueId(...), pairs(...))`.

    One that is None, "" or () is left out. A tuple is several values.
    """
    return Fields(**values)


def safe_value(value: object) -> str:
    """`value` as the right side of key=value: one line, printable, quoted where needed, at most 500 characters.

    What is not printable ASCII is written as an escape, so that no message can forge a line or a terminal sequence.
    """
    text = str(value)
    if len(text) > _MAX_VALUE:
        text = text[:_MAX_VALUE] + "..."
    if _PLAIN.match(text):
        return text
    return '"{}"'.format(_printable(text.replace("\\", "\\\\").replace('"', '\\"')))


def one_line(trace: str) -> str:
    """The last call and the message of a traceback."""
    lines = [line.strip() for line in trace.strip().splitlines()]
    # the text of an exception may hold some of the message
    return _printable(" | ".join(lines[-4:])[:_MAX_FAULT])


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _data(value: object) -> object:
    if isinstance(value, tuple):
        return _cut(value)
    if isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)


def _text(value: object) -> str:
    text = str(value)
    if len(text) > _MAX_VALUE:
        text = text[:_MAX_VALUE] + "..."
    # RFC 8259 §8.2: what readers make of half a surrogate pair is not foreseeable
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(values: tuple[object, ...]) -> list[str]:
    """As many of the values as fit into the bound for one, and "..." if that is not all."""
    found: list[str] = []
    left = _MAX_VALUE
    for value in values:
        if left <= 0:
            return [*found, "..."]
        found.append(_text(value))
        left -= len(found[-1])
    return found


class _TextFormatter(logging.Formatter):
    """`front`: as logging.Formatter takes it; `%(message)s` is the line."""

    def format(self, record: logging.LogRecord) -> str:
        line = _printable(record.getMessage())
        if record.exc_info:
            line += f" fault={safe_fault(record)}"
        record.message = line
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        return self.formatMessage(record)


def safe_fault(record: logging.LogRecord) -> str:
    """The trace that the record carries, on one line and in quotes."""
    return '"{}"'.format(_trace(record).replace("\\", "\\\\").replace('"', '\\"'))


def _trace(record: logging.LogRecord) -> str:
    return one_line("".join(traceback.format_exception(*record.exc_info))) if record.exc_info else ""


class _JournalFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITY.get(record.levelno, 6)}>{super().format(record)}"


class _JsonFormatter(logging.Formatter):
    def __init__(self, name: str, journal: bool) -> None:
        super().__init__()
        self._name = name
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "daemon": self._name,
            "pid": record.process or os.getpid(),
        }
        fields: dict[str, object] = {}
        arguments = record.args if isinstance(record.args, tuple) else ()
        for argument in arguments:
            if isinstance(argument, QueueId) and argument:
                data["queue_id"] = _text(str(argument))
            elif isinstance(argument, Fields):
                fields |= argument.as_data()
        rest = tuple("" if isinstance(argument, (QueueId, Fields)) else argument for argument in arguments)
        words = str(record.msg) % rest if rest else record.getMessage()
        if words := words.strip(": "):
            data["area" if fields else "message"] = words.encode("utf-8", "backslashreplace").decode()
        if record.exc_info:
            data["fault"] = _trace(record)
        line = json.dumps({**data, **{key: value for key, value in fields.items() if key not in data}})
        return f"<{_PRIORITY.get(record.levelno, 6)}>{line}" if self._journal else line


def set_up(name: str, level: str = "info", shape: str = "text") -> logging.Logger:
    """The daemon's logger, writing to standard error.

    `level` is debug, info, warning or error, `shape` text or json. To be called again when settings change.
    """
    # libmilter's threads are not Python's: asking for the current thread would leave an object behind for each
    logging.logThreads = False
    logging.logMultiprocessing = False
    # no line says which source line wrote it, and to find that out costs as much as all the rest of logging
    logging._srcfile = None  # documented under "Optimization" in logging's how-to
    logger = logging.getLogger(name)
    journal = bool(os.environ.get("JOURNAL_STREAM"))
    formatter: logging.Formatter
    if shape == "json":
        formatter = _JsonFormatter(name, journal)
    elif journal:
        formatter = _JournalFormatter()
    else:
        formatter = _TextFormatter(f"%(asctime)s {name}[%(process)d] %(levelname)s %(message)s")
    handler = next((one for one in logger.handlers if isinstance(one, logging.StreamHandler)), None)
    if handler is None or handler.stream is not sys.stderr:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger
