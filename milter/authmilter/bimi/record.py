"""The BIMI Assertion Record (BIMI core §4.3): one TXT record in, one value out.

Gives None for what is no BIMI record at all; a record that is broken has a `fault`, for people, and counts as one all
the same. Nothing is repaired: names and values are taken as they are written.
Limits: 100 tags, 100 prefixes in lps=; URIs as in `uri`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from authmilter.bimi import names, uri
from authmilter.bimi.uri import Uri
from authmilter.dkim import taglist

_VERSION = re.compile(rb"[ \t]*v[ \t]*=[ \t]*BIMI1[ \t]*(?:;|\Z)")
_PREFIX = re.compile(r"[A-Za-z0-9-]{1,63}")
_MAX_PREFIXES = 100
# BIMI core §4.3: "if an l= tag URI ends with any other image format suffix": these
_OTHER_IMAGES = frozenset(
    (
        "png",
        "jpg",
        "jpeg",
        "jpe",
        "gif",
        "webp",
        "bmp",
        "ico",
        "tif",
        "tiff",
        "avif",
        "apng",
        "heic",
        "jxl",
        "pdf",
        "eps",
    )
)


@dataclass(frozen=True, slots=True)
class Record:
    """The tags of one record."""

    location: Uri | None = None  # l=; None: empty
    evidence: Uri | None = None  # a=; None: empty or absent
    preference: str = ""  # avp= as written; "" if it is absent or invalid
    prefixes: tuple[str, ...] | None = None  # lps=, lower case; (): without a value; None: absent
    fault: str = ""  # why the record cannot be used

    @property
    def declines(self) -> bool:
        """BIMI core §4.3.1: "an explicit refusal to participate"."""
        return not self.fault and self.location is None and self.evidence is None


NOTHING = Record()


def parse(txt: bytes) -> Record | None:
    """The record in `txt`, the strings of one TXT record joined; None if it does not begin with v=BIMI1."""
    if _VERSION.match(txt) is None:
        return None
    tags = taglist.parse(txt)
    if tags is None:
        return Record(fault="it is no list of tags, or has a tag twice")
    values = {name.decode("ascii"): value for name, value in tags.items()}
    if not all(value.isascii() for value in values.values()):
        return Record(fault="it has octets that are not ASCII")
    text = {name: value.decode("ascii") for name, value in values.items()}
    if names.LOCATION_TAG not in text:
        return Record(fault="it has no l=")
    location = _uri(text[names.LOCATION_TAG])
    evidence = _uri(text.get(names.EVIDENCE_TAG, ""))
    if isinstance(location, str):
        return Record(fault=f"l= cannot be used: {location}")
    if isinstance(evidence, str):
        return Record(fault=f"a= cannot be used: {evidence}")
    if location and location.suffix in _OTHER_IMAGES:
        return Record(fault=f"l= is a .{location.suffix}, no SVG")
    prefixes = _prefixes(text.get(names.LOCAL_PART_TAG))
    if isinstance(prefixes, str):
        return Record(fault=prefixes)
    preference = text.get(names.PREFERENCE_TAG, "")
    # BIMI core §4.3: any other value "MUST be ignored"
    return Record(location, evidence, preference if preference in names.PREFERENCES else "", prefixes)


def _uri(value: str) -> Uri | str | None:
    return uri.parse(value) if value else None


def _prefixes(value: str | None) -> tuple[str, ...] | str | None:
    if not value:
        return None if value is None else ()
    found = [prefix.strip(" \t") for prefix in value.split(",", _MAX_PREFIXES)]
    if len(found) > _MAX_PREFIXES or not all(map(_PREFIX.fullmatch, found)):
        return "lps= has something that is no prefix of a local part"
    return tuple(prefix.lower() for prefix in found)
