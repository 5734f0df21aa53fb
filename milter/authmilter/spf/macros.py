"""Macro strings (RFC 7208 §7): text in, what it stands for out. Pure; linear in the length of the text.

pyspf has its own expansion. It takes "%{" without an end, joins parts with their delimiter instead of a dot, and needs
time that grows with the square of a term's length: a record of 60 KB would hold a worker for half a minute.

Diagnostics: `MacroError` for everything that RFC 7208 §7.1 does not allow; the caller makes a permerror of it.
Limits: 100,000 characters of one expanded string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

MAX_NAME = 253  # RFC 7208 §7.3
_MAX_EXPANDED = 100_000  # characters; a record has 65,535 octets at most
_CACHED = 300  # characters; what is longer is parsed each time
_MAX_PARTS = 10_000  # no value has more; RFC 7208 §7.3 wants 128 at least

IN_DOMAINS = frozenset("slodipvh")  # RFC 7208 §7.2
IN_EXPLANATIONS = IN_DOMAINS | frozenset("crt")  # RFC 7208 §7.2: only in the text that exp= leads to

# RFC 7208 §7.1: macro-expand
_MACRO = re.compile(r"%(?:([%_-])|\{([A-Za-z])([0-9]*)([rR]?)([-.+,/_=]*)\})")
_LITERAL = {"%": "%", "_": " ", "-": "%20"}
# RFC 7208 §7.1: toplabel
_LABEL = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?").fullmatch


class MacroError(ValueError):
    """The text is no macro-string."""


@dataclass(frozen=True, slots=True)
class Macro:
    """One `%{...}`, or one of `%%`, `%_` and `%-`, which have no letter."""

    letter: str  # lower case
    literal: str = ""
    parts: int = 0  # how many of the right-hand parts are taken, 0: all
    reverse: bool = False
    delimiters: str = "."
    escape: bool = False  # written in upper case: URL-escaped


Piece = str | Macro


def parse(text: str) -> tuple[Piece, ...]:
    """Literal text and macros in turn; raises MacroError."""
    return _parse_short(text) if len(text) <= _CACHED else _parse(text)


def _parse(text: str) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    position = 0
    while (percent := text.find("%", position)) >= 0:
        match = _MACRO.match(text, percent)
        if match is None:
            raise MacroError(f"no macro: {text[percent : percent + 20]}")
        if percent > position:
            pieces.append(text[position:percent])
        pieces.append(_macro(match))
        position = match.end()
    if position < len(text):
        pieces.append(text[position:])
    return tuple(pieces)


_parse_short = lru_cache(maxsize=1024)(_parse)


def _macro(match: re.Match[str]) -> Macro:
    sign, letter, digits, reverse, delimiters = match.groups()
    if sign:
        return Macro("", _LITERAL[sign])
    parts = 0
    if digits:
        significant = digits.lstrip("0")
        if not significant:  # RFC 7208 §7.3: "the value MUST be nonzero"
            raise MacroError(f"no parts are taken: {match[0][:20]}")
        parts = int(significant) if len(significant) < 5 else _MAX_PARTS
    return Macro(letter.lower(), "", parts, bool(reverse), delimiters or ".", letter.isupper())


def letters(pieces: Sequence[Piece]) -> set[str]:
    """The letters of the macros."""
    return {piece.letter for piece in pieces if isinstance(piece, Macro)} - {""}


def ends_in_domain(pieces: Sequence[Piece]) -> bool:
    """RFC 7208 §7.1: a domain-spec ends in a macro, or in a dot and a label that is not all digits."""
    last = pieces[-1] if pieces else ""
    if isinstance(last, Macro):
        return True
    _, dot, label = last.removesuffix(".").rpartition(".")
    return bool(dot) and _LABEL(label) is not None and not label.isdigit()


def expand(pieces: Sequence[Piece], value: Callable[[str], str]) -> str:
    """The text with what each letter stands for; raises MacroError if it becomes too long."""
    expanded = []
    length = 0
    for piece in pieces:
        text = piece if isinstance(piece, str) else piece.literal or _transform(piece, value(piece.letter))
        length += len(text)
        if length > _MAX_EXPANDED:
            raise MacroError(f"stands for more than {_MAX_EXPANDED} characters")
        expanded.append(text)
    return "".join(expanded)


def _transform(macro: Macro, text: str) -> str:
    if macro.parts or macro.reverse or macro.delimiters != ".":
        for delimiter in macro.delimiters:
            text = text.replace(delimiter, "\n")  # no identity has a line end
        parts = text.split("\n")
        if macro.reverse:
            parts.reverse()
        text = ".".join(parts[-macro.parts :])  # RFC 7208 §7.3: joined by dots, whatever they were split at
    # RFC 7208 §7.3: all but the unreserved characters of RFC 3986
    return quote(text, safe="~", errors="replace") if macro.escape else text


def shorten(name: str) -> str:
    """`name` without the labels on the left that are too much (RFC 7208 §7.3)."""
    if len(name) <= MAX_NAME:
        return name
    dot = name.find(".", len(name) - MAX_NAME - 1)
    return name[(dot if dot >= 0 else name.rfind(".")) + 1 :]
