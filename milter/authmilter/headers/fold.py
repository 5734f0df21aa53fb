"""Folding of header fields (RFC 5322 §2.2.3): LF and a TAB, as the milter protocol wants it.

Limits: 78 characters a line where the words allow it; words of up to 900 octets keep every line below 998
(RFC 5322 §2.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

WIDTH = 78  # RFC 5322 §2.1.1, without CRLF
FOLD = "\n\t"

# one blank between two other characters; not after a backslash, which would make the blank a quoted pair
_BREAK = re.compile(r"(?<=[^\s\\]) (?=\S)")


def fold(lines: Iterable[Sequence[str]], name: str) -> str:
    """The value of the field `name`: each of `lines` begins on a line of its own, its words are put behind each other.

    Words are joined by a blank or a fold. A word that is longer than a line is broken before a blank that it has, so
    that taking the LFs out of the result gives each word back unchanged.
    """
    folded: list[str] = []
    column = len(name) + 2
    for line in lines:
        for place, word in enumerate(line):
            length = len(word)
            if folded and (place == 0 or column + 1 + length > WIDTH):
                separator, column = FOLD, 1
            elif place:
                separator, column = " ", column + 1
            else:
                separator = ""
            folded.append(separator)
            if column + length > WIDTH:
                pieces = _pieces(word, WIDTH - column)
                folded.append("\n".join(pieces))
                column = len(pieces[-1]) + (column if len(pieces) == 1 else 0)
            else:
                folded.append(word)
                column += length
    return "".join(folded)


def _pieces(word: str, room: int) -> list[str]:
    """`word` cut before blanks: the first piece to `room` characters, the others to `WIDTH`, where that can be had."""
    pieces = []
    start = 0
    last = 0  # the latest place to cut that was passed
    for match in _BREAK.finditer(word):
        place = match.start()
        if place - start > room and last > start:
            pieces.append(word[start:last])
            start, room = last, WIDTH
        last = place
    if len(word) - start > room and last > start:
        pieces.append(word[start:last])
        start = last
    pieces.append(word[start:])
    return pieces
