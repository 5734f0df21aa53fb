"""The DMARC Policy Record (RFC 9989 §4.7, §4.8): one TXT record in, one value out.

Takes the strings of one TXT record joined without a separator (§4.5). Gives None for what is no DMARC record at all,
else a `Record` in which every tag has a value: as published, or its default if it is absent or makes no sense.
Limits: 100 tags; lists of URIs as in `uris`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from authmilter.dmarc.uris import UriList, parse_uris
from authmilter.facts import Policy

# RFC 9989 §4.8: `"v" equals %s"DMARC1"`: the name in any case, the value exactly so; then the end or a semicolon
_VERSION = re.compile(rb"[ \t]*[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")  # RFC 9989 §4.8 dmarc-value; the semicolon is gone already


_NO_URIS = UriList()
_MAX_TAGS = 100  # of one record; what follows is not read


@dataclass(frozen=True, slots=True)
class Record:
    """The tags of one record. A policy is None if the tag is absent or not valid; `invalid` tells which."""

    p: Policy | None = None
    sp: Policy | None = None
    np: Policy | None = None
    adkim: str = "r"
    aspf: str = "r"
    fo: str = "0"
    psd: str = "u"
    t: bool = False
    pct: int = 100  # see PublishedPolicy
    rua: UriList = _NO_URIS
    ruf: UriList = _NO_URIS
    present: frozenset[str] = frozenset()  # known tags that are there, v left out
    invalid: frozenset[str] = frozenset()  # of these, the ones with a value that makes no sense
    fault: str = ""  # why the whole record counts as absent, "" if it does not


def _choice(*words: str) -> Callable[[str], str | None]:
    # RFC 9989 §4.8: the words are literals of RFC 5234, which are alike in any case
    return lambda value: value.lower() if value.lower() in words else None


def _policy(value: str) -> Policy | None:
    word = value.lower()
    return Policy(word) if word in ("none", "quarantine", "reject") else None


def _flag(value: str) -> bool | None:
    return {"y": True, "n": False}.get(value.lower())


def _percentage(value: str) -> int:
    return int(value) if value.isdigit() and len(value) <= 3 and int(value) <= 100 else -1


def _failure_options(value: str) -> str | None:
    options = [option.strip(" \t") for option in value.lower().split(":", 5)]
    # RFC 9989 §4.8 dmarc-fo: each at most once, "0" and "1" exclude each other
    if len(set(options)) != len(options) or not set(options) <= {"0", "1", "d", "s"} or {"0", "1"} <= set(options):
        return None
    return ":".join(options)


def _uris(value: str) -> UriList | None:
    uris = parse_uris(value)
    return uris if uris.valid else None


# RFC 9989 §9.3: the tags to act on; pct, rf and ri are historic
_TAGS: dict[str, Callable[[str], Any]] = {
    "p": _policy,
    "sp": _policy,
    "np": _policy,
    "adkim": _choice("r", "s"),
    "aspf": _choice("r", "s"),
    "fo": _failure_options,
    "psd": _choice("y", "n", "u"),
    "t": _flag,
    "rua": _uris,
    "ruf": _uris,
}


def parse(txt: bytes) -> Record | None:
    """The record in `txt`; None if it does not begin with v=DMARC1, so that it "MUST be ignored" (RFC 9989 §4.7)."""
    if _VERSION.match(txt) is None:
        return None
    values: dict[str, Any] = {}
    present: set[str] = set()
    for piece in txt.decode("latin-1").split(";", _MAX_TAGS)[1:_MAX_TAGS]:
        name, equals, value = piece.partition("=")
        name = name.strip(" \t").lower()
        if name == "pct" and equals:
            # no part of DMARC any more, so that nothing that is wrong with it touches the rest
            values["pct"] = -1 if "pct" in values else _percentage(value.strip(" \t"))
            continue
        if name == "v" or name in present:
            # RFC 6376 §3.2: with a tag twice "the entire tag-list is invalid"
            return Record(fault=f"the tag {name} is there twice")
        read = _TAGS.get(name)
        if read is None or not equals:
            continue  # RFC 9989 §4.8: unknown tags and syntax errors are ignored
        present.add(name)
        value = value.strip(" \t")
        if _PRINTABLE.fullmatch(value) and (known := read(value)) is not None:
            values[name] = known
    invalid = frozenset(present - values.keys())
    if "ruf" not in values:
        values.pop("fo", None)  # RFC 9989 §4.7: fo "MUST be ignored if a "ruf" tag is not also specified"
    return Record(**values, present=frozenset(present), invalid=invalid)
