"""Log lines: one place that makes outside text safe, one shape for all of them.

A line is `QUEUEID: key=value key="value with blanks"`: a search for the queue id joins it with Postfix's own lines.
Under systemd the priority goes in front as `<N>` (sd-daemon(3)); elsewhere the time and the level do.
"""

from __future__ import annotations

import logging
import os
import re
import sys

_PLAIN = re.compile(r"[A-Za-z0-9@._:;/+<>=,\[\]~#!*?$%&'^`{|}-]+\Z")
_MAX_VALUE = 500  # characters of one value: a header may be 100 KB long

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def safe_value(value: object) -> str:
    """`value` as the right side of key=value: one line, printable, quoted where needed, at most 500 characters.

    What is not printable ASCII is written as an escape, so that no message can forge a line or a terminal sequence.
    """
    text = str(value)
    if len(text) > _MAX_VALUE:
        text = text[:_MAX_VALUE] + "..."
    if _PLAIN.match(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    if not (quoted.isascii() and quoted.isprintable()):
        quoted = "".join(c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode() for c in quoted)
    return f'"{quoted}"'


def pairs(**values: object) -> str:
    """`key=value` for each argument that is neither None nor ""."""
    return " ".join(f"{key}={safe_value(value)}" for key, value in values.items() if value not in (None, ""))


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITY.get(record.levelno, 6)}>{record.getMessage()}"


def set_up(name: str, level: str = "info") -> logging.Logger:
    """The daemon's logger, writing to standard error; `level` is debug, info, warning or error."""
    # libmilter's threads are not Python's: asking for the current thread would leave an object behind for each
    logging.logThreads = False
    logging.logMultiprocessing = False
    # no line says which source line wrote it, and to find that out costs as much as all the rest of logging
    logging._srcfile = None  # documented under "Optimization" in logging's how-to
    logger = logging.getLogger(name)
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(_JournalFormatter())
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {name}[%(process)d] %(levelname)s %(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger
