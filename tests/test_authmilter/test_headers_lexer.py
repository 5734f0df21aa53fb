"""Blanks, comments and quoted-strings of header fields."""

from __future__ import annotations

import time

import pytest

from authmilter.headers import lexer


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("x", 0),
        (" \t\r\n\v\f x", 7),
        ("(a)x", 3),
        (" (a(b)c) (d)\r\n x", 15),
        ("(\\))x", 4),
        ("(\\()x", 4),
        ("(\\\\)x", 4),
        ("((((((((x))))))))y", 17),
        ("(((((((((x)))))))))y", -1),  # one level too many
        ("(a", -1),
        ("(a\\)", -1),
        ("(", -1),
        (")", 0),
        ("", 0),
    ],
)
def test_skip_cfws(text: str, end: int) -> None:
    assert lexer.skip_cfws(text, 0) == end


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a(b)c", "ac"),
        ("a(b(c)d)e(f)g", "aeg"),
        ("a\\(b)c", "a\\(b)c"),
        ("a(b\\)c)d", "ad"),
        ("a(b", "a(b"),
        ("a(b(c)", "a(b"),
    ],
)
def test_without_comments(text: str, left: str) -> None:
    assert lexer.without_comments(text) == left


def test_read_quoted() -> None:
    assert lexer.read_quoted('x"a\\"b"c', 1) == ('"a\\"b"', 7)
    assert lexer.read_quoted('"a', 0) is None
    assert lexer.read_quoted('"a\\"', 0) is None
    assert lexer.read_quoted("a", 0) is None


def test_unquote() -> None:
    assert lexer.unquote('"a\\"b\\\\\r\n c"') == 'a"b\\ c'


@pytest.mark.parametrize("unit", ["(", "(a", "\\(", "()", "(\\(", "((((((((x", "(a(b)"])
@pytest.mark.parametrize("start", ["", "(", "x("])
def test_linear_time(start: str, unit: str) -> None:
    text = start + unit * (100_000 // len(unit))
    began = time.process_time()
    lexer.skip_cfws(text, 0)
    lexer.without_comments(text)
    assert time.process_time() - began < 1.0
