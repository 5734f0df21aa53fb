"""DNS answers as text and back: the document that `recorded` writes and plays.

It is one JSON document, one answer per line, in the order of names:

    {"gatepost-dns": 1, "time": 1764000000, "answers": [
    {"name": "a.example", "type": "TXT", "status": "ok", "ttl": 300, "records": ["v=spf1 -all"]}
    ]}

Octets of TXT records are written as ASCII, others as \\xHH, a backslash as \\\\ (before JSON's own escapes).

Diagnostics: `load` raises ValueError with one line that names the place; nothing else raises.
Limits: a recording has at most 100,000 answers of at most 10,000 records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mailcommon.dns.answer import Answer, Mx, Status, Tlsa
from mailcommon.dns.cache import Key, key_of

_FORMAT = "gatepost-dns"
_VERSION = 1
_MAX_ANSWERS = 100_000
_MAX_RECORDS = 10_000
_ESCAPED = re.compile(r"(?:[ -\[\]-~]|\\\\|\\x[0-9a-f]{2})*")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")
_STATUS = {status.value: status for status in Status}

Records = Mapping[Key, Answer[Any]]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a document holds."""

    records: Records
    time: int | None = None  # when the answers were used, seconds since 1970: signatures expire


def dump(records: Records, time: int | None = None) -> str:
    """The document; the same answers and time give the same text."""
    lines = [json.dumps(_line(key, records[key])) for key in sorted(records, key=lambda key: (key[1], key[0]))]
    when = "" if time is None else f' "time": {time},'
    return f'{{"{_FORMAT}": {_VERSION},{when} "answers": [\n' + ",\n".join(lines) + "\n]}\n"


def load(text: str) -> Recording:
    """The content of a document; raises ValueError with one line for people."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("not a DNS recording: nested too deeply") from None
    except ValueError as fault:
        raise ValueError(f"not a DNS recording: {fault}") from None
    if not isinstance(document, dict) or _FORMAT not in document:
        raise ValueError(f'not a DNS recording: no "{_FORMAT}"')
    if document[_FORMAT] != _VERSION or isinstance(document[_FORMAT], bool):
        raise ValueError(f"DNS recording of version {json.dumps(document[_FORMAT])[:40]}: only {_VERSION} is known")
    answers = document.get("answers")
    if not isinstance(answers, list) or len(answers) > _MAX_ANSWERS:
        raise ValueError(f'DNS recording: "answers" is not a list of at most {_MAX_ANSWERS}')
    time = document.get("time")
    if time is not None and (isinstance(time, bool) or not isinstance(time, int) or not 0 <= time < 10**12):
        raise ValueError('DNS recording: "time" is not in seconds since 1970')
    records: dict[Key, Answer[Any]] = {}
    for number, line in enumerate(answers, 1):
        try:
            key, answer = _read_line(line)
            if key in records:
                raise ValueError("is there twice")
        except ValueError as fault:
            raise ValueError(f"DNS recording, answer {number}{_place(line)}: {fault}") from None
        records[key] = answer
    return Recording(records, time)


def _line(key: Key, answer: Answer[Any]) -> dict[str, object]:
    line: dict[str, object] = {"name": key[1], "type": key[0], "status": answer.status.value, "ttl": answer.ttl}
    if answer.secure:
        line["secure"] = True
    if answer.alias:
        line["alias"] = True
    if answer.detail:
        line["detail"] = answer.detail
    if answer.records:
        line["records"] = [_from_record(record) for record in answer.records]
    return line


def _from_record(record: object) -> object:
    match record:
        case bytes():
            return _escape(record)
        case Mx():
            return {"preference": record.preference, "host": record.host}
        case Tlsa():
            return {
                "usage": record.usage,
                "selector": record.selector,
                "mtype": record.mtype,
                "data": record.data.hex(),
            }
        case _:
            return str(record)


def _escape(octets: bytes) -> str:
    return "".join(
        "\\\\" if octet == 0x5C else chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in octets
    )


def _place(line: object) -> str:
    if isinstance(line, dict):
        words = [ascii(line[part])[1:-1] for part in ("type", "name") if isinstance(line.get(part), str)]
        return f" ({' '.join(words)[:300]})" if words else ""
    return ""


_KEYS = {"name", "type", "status", "ttl", "secure", "alias", "detail", "records"}


def _read_line(line: object) -> tuple[Key, Answer[Any]]:
    if not isinstance(line, dict):
        raise ValueError("is not an object")
    if unknown := sorted(line.keys() - _KEYS):
        raise ValueError(f"unknown key {ascii(unknown[0])[:60]}")
    name, rdtype, status = _text(line, "name"), _text(line, "type"), _text(line, "status")
    if rdtype not in _READ and line.get("records"):
        raise ValueError(f'"type" is {ascii(rdtype)[:60]}, not one of {", ".join(_READ)}')
    if status not in _STATUS:
        raise ValueError(f'"status" is {ascii(status)[:60]}, not one of {", ".join(_STATUS)}')
    detail = _text(line, "detail") if "detail" in line else ""
    raw = line.get("records", [])
    if not isinstance(raw, list) or len(raw) > _MAX_RECORDS:
        raise ValueError(f'"records" is not a list of at most {_MAX_RECORDS}')
    if bool(raw) != (_STATUS[status] is Status.OK):
        raise ValueError(f'status "{status}" with {len(raw)} records')
    records = tuple(_READ[rdtype](record) for record in raw)
    answer: Answer[Any] = Answer(
        _STATUS[status], records, _number(line, "ttl", 2**31 - 1), _flag(line, "secure"), detail, _flag(line, "alias")
    )
    return key_of(rdtype, name), answer


def _text(line: dict[str, object], key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str):
        raise ValueError(f'"{key}" is not a string')
    return value


def _number(line: dict[str, object], key: str, most: int) -> int:
    value = line.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f'"{key}" is not a number from 0 to {most}')
    return value


def _flag(line: dict[str, object], key: str) -> bool:
    value = line.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f'"{key}" is neither true nor false')
    return value


def _object(record: object, *keys: str) -> dict[str, object]:
    if not isinstance(record, dict) or set(record) != set(keys):
        raise ValueError(f"a record is not an object of {', '.join(keys)}")
    return record


def _read_octets(record: object) -> bytes:
    if not isinstance(record, str) or _ESCAPED.fullmatch(record) is None:
        raise ValueError(f"a record is not ASCII with \\xHH and \\\\: {ascii(record)[:60]}")
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", record).encode("latin-1")


def _read_string(record: object) -> str:
    if not isinstance(record, str):
        raise ValueError("a record is not a string")
    return record


def _read_mx(record: object) -> Mx:
    parts = _object(record, "preference", "host")
    return Mx(_number(parts, "preference", 65535), _text(parts, "host"))


def _read_tlsa(record: object) -> Tlsa:
    parts = _object(record, "usage", "selector", "mtype", "data")
    try:
        data = bytes.fromhex(_text(parts, "data"))
    except ValueError:
        raise ValueError('"data" is not hexadecimal') from None
    return Tlsa(_number(parts, "usage", 255), _number(parts, "selector", 255), _number(parts, "mtype", 255), data)


_READ: dict[str, Callable[[object], Any]] = {
    "TXT": _read_octets,
    "A": _read_string,
    "AAAA": _read_string,
    "MX": _read_mx,
    "PTR": _read_string,
    "TLSA": _read_tlsa,
    "CNAME": _read_string,
    "NS": _read_string,
}
