"""Plain text as mdoc(7): escaped, one sentence on a line, code between backquotes in bold."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENTENCE = re.compile(r"(?<=[A-Za-z0-9)\]\"`'][.?!]) +(?=[A-Z\[\"`(])")
_CODE = re.compile(r"`([^`]+)`")


def escape(text: str) -> str:
    """Text within a line: backslashes stand for themselves."""
    return text.replace("\\", "\\e")


def argument(text: str) -> str:
    """Text as arguments of a macro: quotes stand for themselves, a word that is a macro's name is none."""
    return " ".join(_word(word) for word in text.split(" "))


def _word(word: str) -> str:
    word = escape(word).replace('"', "\\(dq")
    # mdoc(7): a macro's name and a lone delimiter mean something on a macro line
    return f"\\&{word}" if re.fullmatch(r"[A-Z%][A-Za-z0-9]{0,2}|[.,:;()\[\]?!|]", word) else word


def prose(text: str) -> Iterator[str]:
    """A paragraph, one sentence on a line."""
    for sentence in _SENTENCE.split(" ".join(text.split())):
        line = _CODE.sub(r"\\fB\1\\fP", escape(sentence))
        yield f"\\&{line}" if line.startswith((".", "'")) else line


def display(lines: list[str]) -> Iterator[str]:
    """Lines that are shown as they are."""
    yield ".Bd -literal -offset indent"
    for line in lines:
        text = escape(line)
        yield f"\\&{text}" if text.startswith((".", "'")) else text
    yield ".Ed"
