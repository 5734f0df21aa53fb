"""SMTP replies: one safe line, codes that agree, `%` as the milter protocol wants it."""

from __future__ import annotations

import Milter
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.reply import MAX_TEXT, Reply, safe_reply_text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("mail refused", "mail refused"),
        ("a\r\n250 OK", "a 250 OK"),
        ("a\0b\x1b[31m", "a?b?[31m"),
        ("bücher", "b?cher"),
        ("  a \t b ", "a b"),
        ("100% sure", "100% sure"),
        ("a\u2028b\udcff", "a?b?"),
        ("x" * 5000, "x" * 397 + "..."),
        ("", ""),
    ],
)
def test_safe_reply_text(text: str, safe: str) -> None:
    assert safe_reply_text(text) == safe


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    safe = safe_reply_text(text)
    assert safe.isascii()
    assert safe.isprintable()
    assert len(safe) <= MAX_TEXT
    assert safe_reply_text(safe) == safe


def test_reply_as_the_client_sees_it() -> None:
    assert str(Reply("550", "5.7.26", "100% no\r\n250 OK")) == "550 5.7.26 100% no 250 OK"


@pytest.mark.parametrize(
    ("code", "enhanced"),
    [
        ("550", "4.7.26"),  # PFX-27: the classes differ
        ("450", "5.7.1"),
        ("250", "2.0.0"),
        ("55", "5.7.1"),
        ("5500", "5.7.1"),
        ("550", "5.7"),
        ("550", "5.7.1 x"),
        ("550\n", "5.7.1"),
        ("550", ""),
        ("５50", "5.7.1"),
    ],
)
def test_codes_that_are_none(code: str, enhanced: str) -> None:
    with pytest.raises(ValueError, match="no reply codes"):
        Reply(code, enhanced, "text")


@given(st.text(st.sampled_from("%ab "), max_size=500))
def test_pymilter_takes_the_doubled_text(text: str) -> None:
    """pymilter refuses an odd number of % in a row; Postfix makes one of two."""
    reply = Reply("550", "5.7.1", text)
    got: list[tuple[str, str, str]] = []

    class Context:
        def setreply(self, code: str, enhanced: str, text: str) -> None:
            got.append((code, enhanced, text))

    session = Milter.Base()
    session._ctx = Context()
    session.setreply(reply.code, reply.enhanced, reply.milter_text)
    assert got == [("550", "5.7.1", reply.milter_text)]
    assert reply.milter_text.replace("%%", "%") == reply.text
    assert len(reply.milter_text) <= 980  # libmilter: MAXREPLYLEN


def test_pymilter_refuses_a_single_percent_sign() -> None:
    """If this fails, pymilter has begun to double by itself."""
    with pytest.raises(ValueError, match="doubled"):
        Milter.Base().setreply("550", "5.7.1", Reply("550", "5.7.1", "50% off").text)
