"""Outside text in header fields: what each piece looks like, and that nothing gets out of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.headers import escape

LONG = "a" * 1000


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("mx.example.org", "mx.example.org"),
        ("MX.Example.ORG.", "mx.example.org"),
        ("alice@example.org", "alice@example.org"),
        ("alice@EXAMPLE.org", "alice@example.org"),
        ("@example.org", "@example.org"),
        ("a.b+c=d/e{f}@example.org", "a.b+c=d/e{f}@example.org"),
        ("bounce+user=example.com@example.org", "bounce+user=example.com@example.org"),
        ("user@bücher.example", "user@xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ('"a b"@example.org', '"a b"@example.org'),
        ('"a\\"b"@example.org', '"a\\"b"@example.org'),
        ("a b@example.org", '"a b"@example.org'),
        ("a;b@example.org", '"a;b"@example.org'),
        ("a@b@example.org", '"a@b"@example.org'),
        ('a"b@example.org', '"a\\"b"@example.org'),
        ("a\\@example.org", '"a\\\\"@example.org'),
        ('"a"b"@example.org', '"\\"a\\"b\\""@example.org'),
        ("a..b@example.org", '"a..b"@example.org'),
        (".a@example.org", '".a"@example.org'),
        ("a(b@example.org", '"a(b"@example.org'),
        # what cannot be shown unchanged is left out, the domain stays
        ('""@example.org', "example.org"),
        ("jürgen@example.org", "example.org"),
        ("a\0b@example.org", "example.org"),
        ("a\r\nX: y@example.org", "example.org"),
        ("=?utf-8?q?a=22?=@example.org", "example.org"),
        (f"{LONG}@example.org", "example.org"),
        # no domain at the end: a value as any other
        ("user@[192.0.2.1]", '"user@[192.0.2.1]"'),
        ("[192.0.2.1]", '"[192.0.2.1]"'),
        ("2001:db8::1", '"2001:db8::1"'),
        ("192.0.2.1", "192.0.2.1"),
        ("LocalHost", "LocalHost"),
        ("user@", '"user@"'),
        ("user@-bad-.example", '"user@-bad-.example"'),
        ("EXAMPLE\\user", '"EXAMPLE\\\\user"'),
        ("x; dmarc=pass", '"x; dmarc=pass"'),
        ('x" dmarc=pass', '"x\\" dmarc=pass"'),
        ("legit.example(.attack.example", '"legit.example(.attack.example"'),
        ("x\r\nAuthentication-Results: y", '"x  Authentication-Results: y"'),
        ("x\0y", '"x?y"'),
        ("x\\", '"x\\\\"'),
        ("=?utf-8?q?=3B?=", '"= ?utf-8?q?=3B?="'),
        ("名前", '"??"'),
        ("", '""'),
    ],
)
def test_pvalue(text: str, written: str) -> None:
    assert escape.pvalue(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("jürgen@example.org", "jürgen@example.org"),
        ("用户@例子.example", "用户@xn--fsqu00a.example"),
        ("jürgen müller@example.org", '"jürgen müller"@example.org'),
        ("名前", '"名前"'),
        ("a\u202eb@example.org", "example.org"),  # a direction mark is not printable
        ("a\udcffb@example.org", "example.org"),  # not UTF-8 on the wire
        ("a\udcff", '"a?"'),
        ("ü" * 200 + "@example.org", "example.org"),  # 400 octets
        ("ü" * 200, '"' + "ü" * 126 + '..."'),
        ("ok\u2028; dmarc=pass", '"ok?; dmarc=pass"'),
    ],
)
def test_pvalue_in_smtputf8_mail(text: str, written: str) -> None:
    assert escape.pvalue(text, utf8=True) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("mail.example.net", "(mail.example.net)"),
        ("a (b) c", "(a [b] c)"),
        ("a) ; dmarc=pass (b", "(a] , dmarc=pass [b)"),
        ("((((", "([[[[)"),
        ("end\\", "(end/)"),
        ("\\) out", "(/] out)"),
        ('say "x"', "(say 'x')"),
        ("a\r\n\r\nbody", "(a body)"),
        ("a\0b\x07c\x7fd", "(a?b?c?d)"),
        ("=?utf-8?q?=29?=", "(= ?utf-8?q?=29?=)"),
        ("größe", "(gr??e)"),
        (LONG, "(" + "a" * 252 + "...)"),
        (" \r\n ", ""),
        ("", ""),
    ],
)
def test_comment(text: str, written: str) -> None:
    assert escape.comment(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("timeout", "timeout"),
        ("no record", '"no record"'),
        ("a/b", '"a/b"'),
        ('x" y', '"x\' y"'),
        ("x\\", '"x/"'),
        ("x; dmarc=pass", '"x, dmarc=pass"'),
        ("", ""),
    ],
)
def test_reason(text: str, written: str) -> None:
    assert escape.reason(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("example.org", "example.org"),
        ("Example.ORG.", "example.org"),
        ("s1._sub.example", "s1._sub.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("legit.example(.attack.example", ""),
        ("legit.example; dmarc=pass", ""),
        ("legit.example\0.attack.example", ""),
        ("legit.example\n", ""),
        ("", ""),
        (LONG, ""),
    ],
)
def test_domain_value(text: str, written: str) -> None:
    assert escape.domain_value(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", '"2001:db8::1"'),
        ("a+b", "a+b"),
        ("a=b", '"a=b"'),
        ("a.", '"a."'),
        ("a;b", '"a;b"'),
    ],
)
def test_dot_atom_value(text: str, written: str) -> None:
    assert escape.dot_atom_value(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("user@Example.org", '"user@example.org"'),
        ('"a b"@example.org', '"\\"a b\\"@example.org"'),
        ("not an address", '"not an address"'),
        ("a" * 250 + "@example.org", '"example.org"'),
    ],
)
def test_address_value(text: str, written: str) -> None:
    assert escape.address_value(text) == written


_HOSTILE = st.text(
    st.one_of(st.sampled_from(list('()\\";,=?@<>[]:/.\r\n\t\0 ae\u00fc\u202e\udcff\U0001f600')), st.characters()),
    max_size=600,
)
_QUOTED_STRING = r'"(?:[^"\\]|\\.)*"'
_ATOM = r'[^\s()<>,;:\\"\[\]@]+'


@given(_HOSTILE, st.booleans())
def test_pieces_cannot_be_left(text: str, utf8: bool) -> None:
    """Each piece is exactly one word of its kind, on one line, short, and of ASCII unless UTF-8 is allowed."""
    shapes = {
        escape.comment(text, utf8): r"\([^()\\]+\)|",
        escape.reason(text, utf8): rf"{_ATOM}|{_QUOTED_STRING}|",
        escape.value(text, utf8): rf"{_ATOM}|{_QUOTED_STRING}",
        escape.pvalue(text, utf8): rf"{_ATOM}|{_QUOTED_STRING}|(?:{_ATOM}|{_QUOTED_STRING})?@[a-z0-9.-]+",
        escape.address_value(text, utf8): _QUOTED_STRING,
        escape.dot_atom_value(text): rf"{_ATOM}|{_QUOTED_STRING}",
    }
    for piece, shape in shapes.items():
        assert re.fullmatch(shape, piece, re.DOTALL), piece
        assert piece.isprintable()
        assert utf8 or piece.isascii()
        assert len(piece.encode()) < 900
        assert "=?" not in piece
