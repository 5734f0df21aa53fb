"""What becomes of a message's header when Postfix carries out a milter's edits. Pure.

As in Postfix's cleanup_milter.c, the edits are carried out one after the other on the list as it then stands:
- "insert" counts all fields from 0, Postfix's own Received at the top among them; beyond the end it appends;
- "change" counts fields of one name from 1 (0 is taken as 1) and does not see Postfix's own field, but sees what was
  inserted before. (Postfix before 3.7.10 and 3.8.5 left out whatever stood at the very top. Whoever removes first and
  inserts then gets the same from all.)
- a change without a field to change appends, a deletion without one does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tests.support.milter_protocol import Edit

Field = tuple[bytes, bytes]  # name, and all that follows the colon with LF folds


_STRAY_CR = re.compile(rb"\r(?!\n)")


def split_message(message: bytes, *, keep_cr: bool = False) -> tuple[list[Field], bytes]:
    """Split a message into header fields and body as Postfix does.

    Lines may end in LF or CRLF; values get LF folds, the body CRLF line ends. The header ends at the empty line or at
    the first line that is no field. A blank before the colon does not belong to the name (Postfix's is_header.c). A CR
    without LF becomes a blank unless `keep_cr` (cleanup_replace_stray_cr_lf, on since Postfix 3.7.10).
    """
    if not keep_cr:
        message = _STRAY_CR.sub(b" ", message)
    lines = [line.removesuffix(b"\r") for line in message.split(b"\n")]
    if lines[-1] == b"":
        lines.pop()
    texts: list[list[bytes]] = []
    position = 0
    for position, line in enumerate(lines):  # noqa: B007 - the body starts where the loop ends
        if line[:1] in (b" ", b"\t") and texts:
            texts[-1].append(line)
        elif _is_field(line):
            texts.append([line])
        else:
            break
    else:
        position = len(lines)
    if position < len(lines) and lines[position] == b"":
        position += 1
    fields = []
    for text in texts:
        name, _, value = b"\n".join(text).partition(b":")
        fields.append((name.rstrip(b" \t"), value))
    return fields, b"".join(line + b"\r\n" for line in lines[position:])


def _is_field(line: bytes) -> bool:
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    return bool(colon and name) and all(33 <= octet <= 126 for octet in name)


def apply(
    edits: Iterable[Edit],
    fields: Sequence[Field],
    *,
    own_received: bytes = b" by mx.home.example",
    leading_space: bool = True,
) -> list[Field]:
    """The header after the edits, Postfix's own Received left out again.

    fields: as received. leading_space: whether LEADING_SPACE was negotiated; if not, Postfix puts a blank before
    each new value.
    """
    own = (b"Received", own_received)
    result = [own, *fields]

    def find(name: bytes, occurrence: int) -> int | None:
        """Position of the field that "change" means."""
        for position, field in enumerate(result):
            if field is not own and field[0].lower() == name.lower():
                occurrence -= 1
                if occurrence <= 0:
                    return position
        return None

    for edit in edits:
        new = (edit.name, edit.value if leading_space else b" " + edit.value)
        if edit.kind == "insert":
            result.insert(min(edit.index, len(result)), new)
        elif edit.kind == "add":
            result.append(new)
        elif edit.kind == "change":
            position = find(edit.name, max(edit.index, 1))
            if position is not None:
                result[position : position + 1] = [new] if edit.value else []
            elif edit.value:
                result.append(new)
    return [field for field in result if field is not own]
