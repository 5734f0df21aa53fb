"""Reading Authentication-Results: fields as they are found in mail, and what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.headers.results_reader import MethodResult, Property, Results, parse_results


def _read(value: str) -> Results:
    results = parse_results(value.encode())
    assert results is not None
    return results


def test_everything_at_once() -> None:
    value = (
        ' (a (b)) "mx.example.org" (c) 1 (d);\r\n'
        '\tSPF (e) = (f) PASS (g) Reason (h) = (i) "say \\"x\\"; ok"\r\n'
        '\tsmtp . MailFrom = (j) "a b"@example.net (k);\n'
        '\tdkim/1=fail header.d=example.net header.b="ab/c=" header.i=u+v@example.net'
    )
    assert _read(value) == Results(
        "mx.example.org",
        1,
        (
            MethodResult("spf", "pass", 'say "x"; ok', (Property("smtp", "mailfrom", '"a b"@example.net'),)),
            MethodResult(
                "dkim",
                "fail",
                "",
                (
                    Property("header", "d", "example.net"),
                    Property("header", "b", "ab/c="),
                    Property("header", "i", "u+v@example.net"),
                ),
            ),
        ),
    )


def test_get() -> None:
    result = _read("x; dkim=pass header.d=a.example header.d=b.example").results[0]
    assert result.get("header.d") == "a.example"
    assert result.get("header.s") == ""


@pytest.mark.parametrize(
    ("value", "authserv_id", "version", "results"),
    [
        ("mx.example.org; none", "mx.example.org", 1, []),
        ("mx.example.org;none;", "mx.example.org", 1, []),
        ("mx.example.org; none (x)", "mx.example.org", 1, []),
        ('"a b"; none', "a b", 1, []),
        ('"a\\"\\\\b"; none', 'a"\\b', 1, []),
        ("MX.Example.Org; none", "MX.Example.Org", 1, []),
        ("bücher.example; none", "bücher.example", 1, []),
        # RFC 8601 §2.6: nothing of another version is read
        ("mx.example.org 2; spf=pass", "mx.example.org", 2, []),
        ("mx.example.org 2 ???", "mx.example.org", 2, []),
        ("mx.example.org; spf=pass;", "mx.example.org", 1, [("spf", "pass")]),
        ("mx.example.org;; spf=pass; ;dkim=fail", "mx.example.org", 1, [("spf", "pass"), ("dkim", "fail")]),
        ("x; spf=pass; none", "x", 1, [("spf", "pass")]),
        ("x; none=pass", "x", 1, [("none", "pass")]),
        ("x; x-own-thing=some_word", "x", 1, [("x-own-thing", "some_word")]),
        (
            "x; spf=pass smtp.mailfrom=a@b; dmarc=none action=none header.from=b",
            "x",
            1,
            [("spf", "pass"), ("dmarc", "none")],
        ),
        ("x; bimi=pass header.d=b policy.authority=pass", "x", 1, [("bimi", "pass")]),
    ],
)
def test_found_in_mail(value: str, authserv_id: str, version: int, results: list[tuple[str, str]]) -> None:
    read = _read(value)
    assert (read.authserv_id, read.version) == (authserv_id, version)
    assert [(result.method, result.result) for result in read.results] == results


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a@b.example", "a@b.example"),
        ("@b.example", "@b.example"),
        ('"a;b"@c.example', '"a;b"@c.example'),
        ('"a\r\n b"@c.example', '"a b"@c.example'),
        ('"a; spf=pass"', "a; spf=pass"),
        ('"a\n\tb"', "a\tb"),
        ('""', ""),
        ("2001:db8::1", "2001:db8::1"),  # should have been quoted
        ("ab/c+d==", "ab/c+d=="),
        ("<a@b.example>", "<a@b.example>"),
        ("jürgen@b.example", "jürgen@b.example"),
    ],
)
def test_property_values(written: str, value: str) -> None:
    assert _read(f"x; spf=pass smtp.mailfrom={written} smtp.helo=y").results[0].properties == (
        Property("smtp", "mailfrom", value),
        Property("smtp", "helo", "y"),
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ";",
        "mx.example.org",
        "mx.example.org;",
        "mx.example.org spf=pass",
        "; spf=pass",
        "spf=pass smtp.mailfrom=a@b",  # no id
        "x, y; spf=pass",
        "x; spf",
        "x; spf=",
        "x; =pass",
        "x; spf pass",
        "x; spf=pass smtp",
        "x; spf=pass smtp.",
        "x; spf=pass smtp.mailfrom",
        "x; spf=pass smtp.mailfrom=",
        "x; spf=pass smtp.mailfrom=;",
        'x; spf=pass smtp.mailfrom="a',
        'x; spf=pass smtp.mailfrom=a"b"',
        'x; spf=pass smtp.mailfrom="a"b',
        'x; spf=pass smtp.mailfrom="a"@',
        "x; spf=pass (never closed",
        "(never closed x; spf=pass",
        "x; spf=pass ) smtp.mailfrom=a",
        "x" + " (" * 9 + ")" * 9 + "; spf=pass",
        "x" + "; a=b" * 300,
        "x; a=b" + " c.d=e" * 60,
        "x; none" + " " * 140_000,
    ],
)
def test_refused(value: str) -> None:
    assert parse_results(value.encode()) is None


@given(st.one_of(st.binary(max_size=300), st.text(st.sampled_from('x;= .()"\\/@1\r\n'), max_size=80).map(str.encode)))
def test_nothing_raises(value: bytes) -> None:
    parse_results(value)


@pytest.mark.parametrize(
    "unit", [b"(", b"()", b"\\(", b'"', b'"\\a', b" ", b";", b"; a=b c.d=e", b"a", b"=", b"x=(\\("]
)
def test_linear_time(unit: bytes) -> None:
    value = b"x; a=b " + unit * (120_000 // len(unit))
    began = time.process_time()
    parse_results(value)
    assert time.process_time() - began < 1.0
