"""The lexical parts of structured header fields (RFC 5322 §3.2), read tolerantly.

Works on text in which octets that are not UTF-8 stand as surrogates. A CR or LF counts as a blank, with or without a
blank behind it.

Limits: comments in comments to a depth of 8; time is linear in the length; no recursion, no backtracking.
"""

from __future__ import annotations

import re

MAX_DEPTH = 8


def _comment(depth: int) -> str:
    """A pattern for comments of at most `depth` levels (RFC 5322 §3.2.2); quoted pairs are no parentheses."""
    inner = r"[^()\\]|\\."
    pattern = rf"\((?:{inner})*+\)"
    for _ in range(depth - 1):
        pattern = rf"\((?:{inner}|{pattern})*+\)"
    return pattern


_CFWS = re.compile(rf"(?:[ \t\r\n\v\f]|{_comment(MAX_DEPTH)})*+", re.DOTALL)
_COMMENT = re.compile(rf"(\\.)|{_comment(MAX_DEPTH)}", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NO_LINE_ENDS = str.maketrans("", "", "\r\n")


def decode(value: bytes) -> str:
    """Octets as text that gives them back."""
    return value.decode("utf-8", "surrogateescape")


def skip_cfws(text: str, at: int) -> int:
    """The place after blanks and comments; -1 if a comment does not end, or holds too many levels of comments."""
    end = _CFWS.match(text, at).end()  # type: ignore[union-attr]  # the pattern matches anywhere
    return -1 if text.startswith("(", end) else end


def without_comments(text: str) -> str:
    """`text` without its comments; one that `skip_cfws` would not pass stays, without those in it."""
    return _COMMENT.sub(r"\1", text)


def read_quoted(text: str, at: int) -> tuple[str, int] | None:
    """The quoted-string at `at` as it stands, with its quotes, and the place after it; None if there is none."""
    match = _QUOTED.match(text, at)
    return (match[0], match.end()) if match else None


def unquote(quoted_string: str) -> str:
    """What a quoted-string means: no quotes, no folds, quoted pairs undone (RFC 5322 §3.2.4)."""
    text = quoted_string[1:-1].translate(_NO_LINE_ENDS)
    return _QUOTED_PAIR.sub(r"\1", text) if "\\" in text else text
