"""The MTA-STS TXT record (RFC 8461 §3.1): the records found in, the id of the policy out.

No I/O; nothing here raises. A domain that has no usable record does not ask for MTA-STS, which says nothing about a
policy that is cached already (RFC 8461 §3.1).
Limits: time is linear in the size of the records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# RFC 8461 §3.1 (erratum 6285): the grammar allows white space before the semicolon, the prose does not
_BEGIN = re.compile(rb"v=STSv1[ \t]*;")
_FIELD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")  # RFC 8461 §3.1 sts-extension
_ID = re.compile(rb"[A-Za-z0-9]{1,32}")  # RFC 8461 §3.1 sts-id
_BLANK = b" \t"


@dataclass(frozen=True, slots=True)
class Signal:
    """Whether a domain asks for MTA-STS."""

    id: str = ""  # of its policy now, opaque; "": it does not ask
    reason: str = ""  # why not, for people; "" if there is no record at all


def record_name(domain: str) -> str:
    """Where the record of `domain` is; of no other domain: a parent's policy does not count (RFC 8461 §3.4)."""
    return f"_mta-sts.{domain}"


def select(records: Iterable[bytes]) -> Signal:
    """The signal in `records`, each the joined strings of one TXT record."""
    # RFC 8461 §3.1: "records which do not begin with `v=STSv1;` are discarded"
    ours = [record for record in records if _BEGIN.match(record) is not None]
    if not ours:
        return Signal()
    if len(ours) > 1:
        return Signal(reason=f"{len(ours)} TXT records begin with v=STSv1")  # RFC 8461 §3.1: not exactly one
    return _read(ours[0])


def _read(record: bytes) -> Signal:
    fields: dict[bytes, bytes] = {}
    *pieces, last = record.split(b";")[1:]
    if last.strip(_BLANK):
        if last.endswith((b" ", b"\t")):
            return Signal(reason="the TXT record ends in white space")  # RFC 8461 §3.1: only before or after ";"
        pieces.append(last)
    for piece in pieces:
        field = _FIELD.fullmatch(piece.strip(_BLANK))
        if field is None:
            # RFC 8461 §3.1: "if the resulting record is syntactically invalid", there is no policy
            return Signal(reason=f"the TXT record has a field that is not name=value: {ascii(piece[:40])[2:-1]}")
        fields.setdefault(field[1], field[2])  # RFC 8461 §3.2: of a duplicated field the first counts
    value = fields.get(b"id")
    if value is None:
        return Signal(reason="the TXT record has no id")
    if _ID.fullmatch(value) is None:
        return Signal(reason="the id in the TXT record is not 1 to 32 letters and digits")
    return Signal(id=value.decode("ascii"))
