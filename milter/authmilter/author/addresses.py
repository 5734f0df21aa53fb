"""From tokens to domains: the address list of RFC 5322 §3.4 with its obsolete forms (§4.4) and groups (RFC 6854).

Diagnostics: the first thing that is wrong ends the reading and comes back as a text for people, with the domains found
until then. Nothing is guessed here.
Limits: one pass over the tokens, no recursion.

Taken although the grammar has it otherwise, because no reader could see another domain in it: dots anywhere in a local
part, one dot after a domain, empty list elements, `[text]` in a display name, a comma in a display name that is not
quoted, and as display name an unquoted address of the same domain as the real one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from authmilter.author.tokens import Token
from mailcommon.names import to_alabel

_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_SHOWN = 60  # characters of outside text in a problem


@dataclass(slots=True)
class Found:
    """What was read: domains in order of appearance (A-labels), and what ended the reading."""

    domains: dict[str, None] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)  # all of them: local-part without quotes, "@", domain
    problem: str = ""


def read_addresses(tokens: Sequence[Token], max_domains: int) -> Found:
    """Read the whole list; stops after `max_domains` different domains with the next one as `max_domains + 1`st."""
    found = Found()
    reader = _Reader(found)
    for token in tokens:
        reader.take(token)
        if found.problem or len(found.domains) > max_domains:
            return found
    reader.end()
    return found


class _Reader:
    """Where in the list we are."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.run: list[Token] = []  # the element so far: display name, or address without angle brackets
        self.angle: list[Token] | None = None  # what is between < and >, while that is open
        self.addressed = ""  # the domain of the element's <address>
        self.phrase: list[Token] = []  # an element that is no address, as long as none has come after it
        self.group: bool | None = None  # in a group: whether it has a member yet

    def take(self, token: Token) -> None:
        """The next token."""
        kind = token[0]
        if self.angle is not None:
            if kind == ">":
                self._close_angle(self.angle)
            elif kind in "<;":
                self._fail(f'"{kind}" stands between angle brackets')
            else:
                self.angle.append(token)
        elif kind in "wq[@":
            if self.addressed:
                self._fail(f'"{_show([token])}" follows an address')
            self.run.append(token)
        elif kind == "<":
            if self.addressed:
                self._fail('"<" follows an address')
            self.angle = []
        elif kind == ",":
            self._end_element()
        elif kind == ":":
            self._open_group()
        elif kind == ";" and self.group is not None:
            self._end_element()
            if not self.group:
                self._fail("a group has no address")
            self.group = None
        else:
            self._fail(f'"{kind}" without its counterpart')

    def end(self) -> None:
        """After the last token."""
        if self.angle is not None:
            self._fail('"<" is not closed')
            return
        self._end_element()
        if self.phrase:
            self._address(self.phrase)
        if self.group is not None:
            self._fail("a group is not closed")

    def _fail(self, problem: str) -> None:
        self.found.problem = self.found.problem or problem

    def _open_group(self) -> None:
        if self.group is not None or self.addressed or not self.run or any(kind in "@[" for kind, _ in self.run):
            self._fail('":" out of place')
        self.group = False
        self.run = []

    def _close_angle(self, inner: list[Token]) -> None:
        self.angle = None
        if inner and inner[0][0] in "@,":
            # RFC 5322 §4.4: "if present, the route portion MUST be ignored"
            end = next((place for place, (kind, _) in enumerate(inner) if kind == ":"), -1)
            if end < 0 or any(kind not in "@,w" for kind, _ in inner[:end]):
                self._fail(f'"{_show(inner)}" is no address')
            inner = inner[end + 1 :]
        self.addressed = self._address(inner)
        if self.run and not self.found.problem:
            self._check_name()

    def _check_name(self) -> None:
        """The display name must not hold what a reader could take for another address."""
        kinds = {kind for kind, _ in self.run}
        if "@" in kinds:
            domain, problem = addr_spec(self.run)
            if problem or domain != self.addressed:
                self._fail(f'an unquoted address, "{_show(self.run)}", stands before the address')
        elif "[" in kinds and any("@" in text for kind, text in self.run if kind == "["):
            self._fail(f'"{_show(self.run)}" is not quoted')

    def _address(self, tokens: Sequence[Token]) -> str:
        """Keep the domain of the address; returns it."""
        domain, problem = addr_spec(tokens)
        if problem:
            self._fail(problem)
        elif self.group is False:
            self.group = True
        if domain:
            self.found.domains[domain] = None
            self.found.addresses.append(f"{_local_part(tokens)}@{domain}")
        return domain

    def _end_element(self) -> None:
        if self.run and not self.addressed and self.group is None and _is_phrase(self.run):
            self.phrase = self.phrase or self.run
        elif self.run or self.addressed:
            if not self.addressed:
                self._address(self.run)
            self.phrase = []  # "Doe, John <j@a.example>": the comma of a name that should have been quoted
        self.run = []
        self.addressed = ""


def addr_spec(tokens: Sequence[Token]) -> tuple[str, str]:
    """The domain of `local-part "@" domain` (RFC 5322 §3.4.1) as A-labels, and "" or what is wrong with it."""
    at = -1
    for place, (kind, _) in enumerate(tokens):
        if kind == "@":
            at = place
            break
    if at < 0:
        return "", f'"{_show(tokens)}" is no address'
    local, right = tokens[:at], tokens[at + 1 :]
    if len(right) == 1 and right[0][0] == "[":
        return "", f"the address literal {_show(right)} is no domain"
    if not _is_sequence(right, "w"):
        return "", f'"{_show(tokens)}" is no address'
    written = "".join(text for _, text in right)
    domain = to_alabel(written)
    if domain is None or domain[domain.rfind(".") + 1 :].isdigit():
        return "", f'"{written[:_SHOWN]}" is not a usable domain'
    if not _is_sequence(local, "wq"):
        return domain, f'"{_show(tokens)}" is no address'
    for kind, text in local:
        # RFC 2047 §5 (3): an encoded word is no part of an address; who decodes it may see another one
        if kind == "w" and ("=?" in text or not text.strip(".")) and (len(local) == 1 or text != "."):
            return domain, f'"{text[:_SHOWN]}" cannot be the local part of an address'
        if not text.isascii() and not _is_unicode(text):
            return domain, "an address has bytes that are not UTF-8"
    return domain, ""


def _local_part(tokens: Sequence[Token]) -> str:
    """What stands before the "@", quotes and quoted pairs undone."""
    parts = []
    for kind, text in tokens:
        if kind == "@":
            break
        parts.append(_QUOTED_PAIR.sub(r"\1", text) if kind == "q" else text)
    return "".join(parts)


def _is_sequence(words: Sequence[Token], kinds: str) -> bool:
    """True for words of these kinds, at least one, with a dot between each two of them.

    RFC 5322 §4.4: white space and comments around the dots are obsolete and legal.
    """
    dot = True  # the word before ends with one
    for kind, text in words:
        if kind not in kinds or not (dot or (kind == "w" and text.startswith("."))):
            return False
        dot = kind == "w" and text.endswith(".")
    return bool(words)


def _is_phrase(tokens: Sequence[Token]) -> bool:
    """True for words that nobody can take for an address, whatever decodes them."""
    return all(kind in "wq" and "@" not in text and "=?" not in text for kind, text in tokens)


def _is_unicode(text: str) -> bool:
    """False if bytes that are not UTF-8 were kept in `text` as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _show(tokens: Sequence[Token]) -> str:
    return " ".join(text for _, text in tokens[:20])[:_SHOWN]
