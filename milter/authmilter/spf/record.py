"""An SPF record put into the form that pyspf reads rightly (RFC 7208 §4.6.1, §6). Pure.

pyspf takes `Redirect=` for an unknown modifier, and a record in which an unknown modifier stands twice for an error; it
also looks names up for the macros of unknown modifiers, and counts a redirect= that cannot come to effect.

Diagnostics: `macros.MacroError` for an unknown modifier whose value is no macro-string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from authmilter.spf import macros

_MODIFIER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*").fullmatch  # RFC 7208 §12: name
_KNOWN = ("redirect", "exp")
_ALL = re.compile(r"[+?~-]?all", re.IGNORECASE).fullmatch


def plain(record: str) -> str:
    """The record with its known modifiers in lower case and without unknown ones."""
    if "=" not in record[len("v=spf1") :]:
        return record
    version, *terms = record.split(" ")
    return " ".join((version, *_plain_terms(terms)))


def _plain_terms(terms: list[str]) -> Iterator[str]:
    # RFC 7208 §6.1: redirect= is ignored beside "all", and so it is no look-up (§4.6.4); §6: twice it is an error
    ignored = any(_ALL(term) for term in terms) and sum(term.lower().startswith("redirect=") for term in terms) == 1
    for term in terms:
        name, equals, value = term.partition("=")
        if not equals or _MODIFIER_NAME(name) is None:
            yield term
        elif name.lower() == "redirect" and ignored and _is_domain_spec(value):
            continue
        elif name.lower() in _KNOWN:  # RFC 7208 §4.6.1: names are case-insensitive
            yield f"{name.lower()}={value}"
        elif wrong := macros.letters(macros.parse(value)) - macros.IN_DOMAINS:
            raise macros.MacroError(f"macro letter {', '.join(sorted(wrong))} is not allowed: {term[:20]}")
        # RFC 7208 §6: other modifiers are ignored, however often they come


def _is_domain_spec(value: str) -> bool:
    pieces = macros.parse(value)
    return macros.ends_in_domain(pieces) and macros.letters(pieces) <= macros.IN_DOMAINS
