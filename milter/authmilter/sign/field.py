"""A signature field as text: tags, folds, and b= made by a key (RFC 6376 §3.5, §3.7; RFC 8617 §4.1 has the same form).

    value = signed_value(b"DKIM-Signature", tags, key, lambda field: header.digest_of(names, True, field))

The value has LF and TAB for folds, as the milter protocol wants it; what is hashed has CRLF and TAB and a blank after
the colon, as it stands in the message once the MTA has put it there.

Limits: lines of 78 characters where h= and d= have a place to break.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from authmilter.facts import HeaderField
from authmilter.headers.fold import FOLD, WIDTH
from authmilter.sign.key import PrivateKey


def signed_value(
    name: bytes, tags: Sequence[tuple[str, str]], key: PrivateKey, digest: Callable[[HeaderField], bytes]
) -> str:
    """Give the value of the signature field `name`, without the blank after the colon.

    `tags`: all but b=, in order; values in ASCII without white space, in which a line may be broken after a colon.
    `digest`: gives the SHA-256 that is signed for the field with an empty b=.
    """
    unsigned, column = _folded(len(name) + 2, [*tags, ("b", "")])
    octets = key.sign(digest(as_received(name, unsigned)))
    return unsigned + _cut(base64.b64encode(octets).decode(), column)


def as_received(name: bytes, value: str) -> HeaderField:
    """A field that is added, as the next hop sees it."""
    return HeaderField(name, b" " + value.replace("\n", "\r\n").encode())


def _folded(column: int, tags: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The tags, folded; and the column in which the text ends. `column`: where it begins."""
    text: list[str] = []
    for place, (tag, value) in enumerate(tags):
        last = place == len(tags) - 1
        pieces = [f"{piece}:" for piece in value.split(":")]
        pieces[-1] = pieces[-1][:-1] + ("" if last else ";")
        pieces[0] = f"{tag}={pieces[0]}"
        for number, piece in enumerate(pieces):
            blank = " " if number == 0 and place else ""
            if column + len(blank) + len(piece) > WIDTH and text:
                text.append(FOLD)
                column = 1
            else:
                text.append(blank)
                column += len(blank)
            text.append(piece)
            column += len(piece)
    return "".join(text), column


def _cut(digits: str, column: int) -> str:
    """base64 in lines; `column`: where it begins."""
    first = max(WIDTH - column, 0)
    room = WIDTH - 1
    rest = [digits[start : start + room] for start in range(first, len(digits), room)]
    return FOLD.join([digits[:first], *rest])
