"""Log lines cannot be forged by what is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailcommon.log import pairs, safe_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain.example", "plain.example"),
        ("<a@b.example>", "<a@b.example>"),
        ("two words", '"two words"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("line\nbreak\r", r'"line\nbreak\r"'),
        ("\x1b[31mred", r'"\x1b[31mred"'),
        ("müller", r'"m\xfcller"'),
        ("\u202egnp.exe", r'"\u202egnp.exe"'),
        ("\udcff", r'"\udcff"'),
        ("", '""'),
        (12, "12"),
    ],
)
def test_safe_value(value: object, expected: str) -> None:
    assert safe_value(value) == expected


@given(st.text())
def test_one_printable_ascii_line_whatever_comes(text: str) -> None:
    line = safe_value(text)
    assert line.isascii()
    assert line.isprintable()
    assert not line.startswith('"') or line.endswith('"')
    assert " " not in line or line.startswith('"')


def test_long_values_are_cut() -> None:
    assert len(safe_value("x" * 100_000)) < 600


def test_empty_values_are_left_out() -> None:
    assert str(pairs(a="", b=None, c=0, d="x", e=())) == "c=0 d=x"
