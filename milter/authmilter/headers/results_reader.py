"""Reading Authentication-Results (RFC 8601 §2.2): octets in, a frozen value or None.

Tolerant where fields of others are careless and nothing can be misread: a `;` at the end, empty results, words such as
`action=none` among the properties, properties of unknown types, values that should have been quoted. None means that
the field cannot be read as a whole; part of a field is never returned.

Limits: 131,072 characters, 200 results, 50 properties each; time is linear in the length; no recursion.
Security: what is read was written by somebody else. Only a field with an id that is known to be trusted means anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from authmilter.headers import lexer

MAX_FIELD = 131_072  # characters; Postfix cuts fields at 102,400
MAX_RESULTS = 200
MAX_PROPERTIES = 50

_WORD = re.compile(r"""[^\s;()"\\]+""")
_ID = re.compile(r"""[^\s;()"\\=,<>]+""")
_DOMAIN = re.compile(r"""@[^\s;()"\\@]+""")
_KEYWORD = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_VERSION = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Property:
    """ptype.name=value; `value` is unquoted, but a quoted local part keeps its quotes, as in any address."""

    ptype: str  # lower case, as is `name`
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One result; method and result in lower case."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[Property, ...] = ()

    def get(self, name: str) -> str:
        """The first value of a property such as "header.d", "" if there is none."""
        for found in self.properties:
            if f"{found.ptype}.{found.name}" == name:
                return found.value
        return ""


@dataclass(frozen=True, slots=True)
class Results:
    """One field. A `version` other than 1 means that `results` was not read (RFC 8601 §2.6)."""

    authserv_id: str  # as written, unquoted
    version: int
    results: tuple[MethodResult, ...]


class _Broken(Exception):
    """The field cannot be read; does not leave this module."""


def parse_results(value: bytes) -> Results | None:
    """The field with this value (all that follows the colon), or None if it cannot be read."""
    return read_results(lexer.decode(value))


def read_results(text: str) -> Results | None:
    """The same for text: a value decoded by `lexer.decode`, or what stands behind "i=N;" in a field of ARC."""
    if len(text) > MAX_FIELD:
        return None
    try:
        return _Reader(text).field()
    except _Broken:
        return None


class _Reader:
    """A place in the text; each method reads one thing of the grammar and moves on."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def field(self) -> Results:
        authserv_id = self._value(_ID)
        version = 1
        if self._next() not in ("", ";"):
            version = int(self._match(_VERSION))
            if version != 1:
                return Results(authserv_id, version, ())
        results: list[MethodResult] = []
        nothing = False
        while self._next():
            self._take(";")
            if self._next() in ("", ";"):
                continue
            method = self._match(_KEYWORD).lower()
            if method == "none" and self._next() in ("", ";"):
                nothing = True
                continue
            results.append(self._result(method))
            if len(results) > MAX_RESULTS:
                raise _Broken
        if not results and not nothing:
            raise _Broken  # RFC 8601 §2.2: "none" or one result at least
        return Results(authserv_id, version, tuple(results))

    def _result(self, method: str) -> MethodResult:
        if self._next() == "/":
            self._take("/")
            self._next()
            self._match(_VERSION)
        self._take("=")
        self._next()
        result = self._match(_KEYWORD).lower()
        reason = ""
        properties: list[Property] = []
        while self._next() not in ("", ";"):
            ptype = self._match(_KEYWORD).lower()
            if self._next() == "=":
                self._take("=")
                value = self._value(_WORD)
                if ptype == "reason" and not reason:
                    reason = value
                continue
            self._take(".")
            self._next()
            name = self._match(_NAME).lower()
            self._take("=")
            properties.append(Property(ptype, name, self._value(_WORD)))
            if len(properties) > MAX_PROPERTIES:
                raise _Broken
        return MethodResult(method, result, reason, tuple(properties))

    def _next(self) -> str:
        """Go past blanks and comments: the character that stands there, "" at the end."""
        self._at = lexer.skip_cfws(self._text, self._at)
        if self._at < 0:
            raise _Broken
        return self._text[self._at : self._at + 1]

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise _Broken
        self._at += 1

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _Broken
        self._at = match.end()
        return match[0]

    def _value(self, pattern: re.Pattern[str]) -> str:
        """A word of `pattern`, a quoted-string, or a quoted local part with its domain."""
        if self._next() != '"':
            word = self._match(pattern)
            if self._text.startswith('"', self._at):
                raise _Broken
            return word
        found = lexer.read_quoted(self._text, self._at)
        if found is None:
            raise _Broken
        quoted_string, self._at = found
        if self._text.startswith("@", self._at):
            return quoted_string.replace("\r", "").replace("\n", "") + self._match(_DOMAIN)
        return lexer.unquote(quoted_string)
