"""The lexical tokens of an address list (RFC 5322 §3.2), as one flat list.

Comments and white space are left out here, so that the grammar above sees only words and marks.

Diagnostics: what is no token at all comes back as a text for people, with the tokens before it dropped.
Security: one pass without recursion; every pattern is possessive or ends at its first failure, so that the time is
linear in the length whatever the text is.
Standards: RFC 5322 §3.2 and §4.1, RFC 6532 §3.2 (everything above ASCII is a letter), RFC 2047 §5.
"""

from __future__ import annotations

import re

# A token is (kind, text). Kinds: "w" a word, dots included; "q" the inside of a quoted string as it is written;
# "[" a domain literal; and the marks < > @ , : ; each for itself.
Token = tuple[str, str]

# A "Q" encoded word with marks in it is against RFC 2047 §5 and common. It is one word as long as no reader, also one
# that sees the marks, could find an address, a quoted string or an open comment in it.
_ENCODED = r"=\?[\w*+-]{1,60}+\?[bBqQ]\?(?:[!#-'*-;=A-\[\]-~]|\([!#-'*-;=A-\[\]-~]*+\))*+\?="
_ATOM = r'[^\x00-\x20\x7f"(),:;<>@\[\\\]]++'
_TOKEN = re.compile(
    rf"""
    (?:[ \t]++|\((?:[^()\\]++|\\.)*+\))*+   # white space and comments without comments in them
    (?: ({_ENCODED}|{_ATOM})
      | ([<>@,:;])
      | "((?:[^"\\]++|\\.)*+)"
      | (\[[^\[\]\\]*+\])
      | (\()
      | ($)
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_WORD, _MARK, _QUOTED, _LITERAL, _COMMENT, _END = range(1, 7)
_NESTING = re.compile(r"\\.|[()]", re.DOTALL)
_UNCLOSED = {'"': "a quoted string is not closed", "[": "a square bracket is not closed"}


def tokenize(text: str) -> tuple[list[Token], str]:
    """The tokens of `text`, which must be unfolded; or no tokens and what is wrong."""
    tokens: list[Token] = []
    append = tokens.append
    match_at = _TOKEN.match
    place = 0
    while match := match_at(text, place):
        kind = match.lastindex
        place = match.end()
        if kind == _WORD:
            append(("w", match[_WORD]))
        elif kind == _MARK:
            mark = match[_MARK]
            append((mark, mark))
        elif kind == _QUOTED:
            append(("q", match[_QUOTED]))
        elif kind == _LITERAL:
            append(("[", match[_LITERAL]))
        elif kind == _END:
            return tokens, ""
        else:
            place = _comment_end(text, place - 1)
            if place < 0:
                return [], "a comment is not closed"
    rest = text[place:].lstrip(" \t")
    return [], _UNCLOSED.get(rest[:1], f"{rest[:1]!r} cannot stand outside quotes")


def _comment_end(text: str, start: int) -> int:
    """The place after the comment that begins at `start`, comments in it included; -1 if it is not closed."""
    depth = 0
    for match in _NESTING.finditer(text, start):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if depth == 0:
                return match.end()
    return -1


def without_comments(text: str) -> str:
    """`text` without what is in parentheses, quoted or not; an open comment reaches to the end."""
    kept = []
    depth = place = 0
    for match in _NESTING.finditer(text):
        if match[0] == "(":
            if depth == 0:
                kept.append(text[place : match.start()])
            depth += 1
        elif match[0] == ")" and depth:
            depth -= 1
            place = match.end()
    if depth == 0:
        kept.append(text[place:])
    return "".join(kept)
