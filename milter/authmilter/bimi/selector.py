"""Which selector a message asks for, and which one a local part makes (BIMI core §4.4, §4.5, §5.1). No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

from authmilter.bimi import names
from authmilter.dkim import taglist
from authmilter.facts import DkimFact, DkimResult, HeaderField

FIELD = names.SELECTOR_FIELD.lower().encode()
_VERSION = re.compile(rb"[ \t\r\n]*v[ \t]*=[ \t]*BIMI1[ \t\r\n]*;")
_SELECTOR = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_MAX_FIELD = 1_000  # octets
_MAX_SELECTOR = 200  # characters; a DNS name has 253
_SUBADDRESS = re.compile(r"\+.*", re.DOTALL)  # RFC 5233 §1
_SEPARATORS = re.compile(r"[_.]+")
_DASHES = re.compile(r"-{2,}")
_LABEL = re.compile(r"[A-Za-z0-9-]{1,63}")


def is_selector(text: str) -> bool:
    """Whether this is a selector: labels of letters, digits and hyphens (BIMI core §4.4)."""
    return len(text) <= _MAX_SELECTOR and _SELECTOR.fullmatch(text) is not None


def parse(value: bytes) -> str | None:
    """The selector of a BIMI-Selector field, lower case; None if the field must be ignored (BIMI core §5.1)."""
    if len(value) > _MAX_FIELD or _VERSION.match(value) is None:
        return None
    tags = taglist.parse(value)
    text = (tags or {}).get(names.SELECTOR_TAG.encode(), b"").decode("latin-1")
    return text.lower() if is_selector(text) else None


def chosen(fields: Sequence[HeaderField], dkim: Sequence[DkimFact], aligned: Sequence[str]) -> str:
    """The selector that the message asks for in a way that counts, else the default one.

    `aligned`: the signers that are aligned with the author. The field counts only if one of them has signed it, and
    nobody can have added another (BIMI core §5.5).
    """
    found = [field.value for field in fields if field.name.strip().lower() == FIELD]
    if len(found) != 1:
        return names.DEFAULT_SELECTOR  # of two nobody knows which one was meant
    name = FIELD.decode()
    signed = any(fact.result is DkimResult.PASS and fact.domain in aligned and name in fact.signed for fact in dkim)
    return (parse(found[0]) if signed else None) or names.DEFAULT_SELECTOR


def of_local_part(local_part: str, prefixes: Sequence[str]) -> str:
    """The selector that a local part makes, lower case; "" if it makes none or no prefix matches (BIMI core §4.5).

    `prefixes`: of lps=, lower case; none: every local part matches.
    """
    text = _SEPARATORS.sub("-", _SUBADDRESS.sub("", local_part))
    text = _DASHES.sub("-", text).strip("-").lower()
    if _LABEL.fullmatch(text) is None or (prefixes and not text.startswith(tuple(prefixes))):
        return ""
    return text
