"""Tag lists: what is one, what is none, and that rubbish costs no more time than its length."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim import taglist


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (b"v=1", {b"v": b"1"}),
        (b"v=1;", {b"v": b"1"}),
        (b" v = 1 ; a = b c ; ", {b"v": b"1", b"a": b"b c"}),
        (b"v\r\n =\r\n\t1\r\n ;\r\n a=2", {b"v": b"1", b"a": b"2"}),
        (b"p=; n=x", {b"p": b"", b"n": b"x"}),  # empty is not absent (DKIM-3)
        (b"p=", {b"p": b""}),
        (b"v=1; V=2", {b"v": b"1", b"V": b"2"}),  # names have letter case (DKIM-3)
        (b"h=a=b==; x_1=y", {b"h": b"a=b==", b"x_1": b"y"}),
        (b"a=in\r\n side", {b"a": b"in\r\n side"}),  # white space inside a value stays
        ("d=bücher.example".encode(), {b"d": "bücher.example".encode()}),  # RFC 8616
        (b"x=\xff\xfe", {b"x": b"\xff\xfe"}),
    ],
)
def test_lists(text: bytes, tags: dict[bytes, bytes]) -> None:
    assert taglist.parse(text) == tags


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b";",
        b";v=1",
        b"v=1;;",
        b"v=1;;a=2",
        b"v=1; ; a=2",
        b"v",
        b"v=1; a",
        b"=1",
        b"1v=1",
        b"_v=1",
        b"v-x=1",
        b"v x=1",
        b"v=1; v=1",  # DKIM-1
        b"v=1; a=2; v=3",
        b"v=1\x00",
        b"v\x0b=1",
        b"v=1; a=\x7f",
        b"v=1\n; a=2",
        b"v=1\r; a=2",
        b"v=1\n ; a=2",  # a lone LF folds nothing
        b"v=1\r\n; a=2",  # nor does CRLF without a blank after it
        b"v=1\r\n",
        b"v=1\r\r\n ; a=2",
        b"v=1\x85;\xa0a=2",  # an octet above 127 is no white space
        b";".join(b"t%d=1" % number for number in range(101)),
    ],
)
def test_no_lists(text: bytes) -> None:
    assert taglist.parse(text) is None


def test_a_hundred_tags_are_let_through() -> None:
    parsed = taglist.parse(b";".join(b"t%d=1" % number for number in range(100)))
    assert parsed is not None
    assert len(parsed) == 100


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (b"a=1; b=xyz; c=2", b"a=1; b=; c=2"),
        (b"a=1; b=xyz", b"a=1; b="),
        (b"b = x\r\n y\t ;c=2", b"b =;c=2"),  # all white space around the value goes (DKIM-39)
        (b"b=xyz\r\n ", b"b="),
        (b"bh=abc; b=xyz; bb=1", b"bh=abc; b=; bb=1"),
        (b"a=b=1; b=x=y", b"a=b=1; b="),
        (b"a=1;\r\n b=;x=1", b"a=1;\r\n b=;x=1"),
        (b"B=1; a=2", b"B=1; a=2"),
    ],
)
def test_removing_the_value_of_b(text: bytes, without: bytes) -> None:
    assert taglist.without_value(text, b"b") == without


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (b"QUJD", b"ABC"),
        (b"QU\r\n JD", b"ABC"),
        (b" Q U J D ", b"ABC"),
        (b"QUI=", b"AB"),
        (b"QQ==", b"A"),
        (b"QQ = =", b"A"),
        (b"QQ", b"A"),  # RFC 6376 §2.10: padding is optional in the grammar
        (b"QQ=", b"A"),
        (b"", None),
        (b"=", None),
        (b"Q", None),
        (b"QUJDQ", None),
        (b"QUI==", None),
        (b"QUJD=", None),
        (b"QQ===", None),
        (b"Q=Q=", None),
        (b"QUJ-", None),
        (b"QUJ!D", None),
        (b"QU\xffJD", None),
    ],
)
def test_base64(value: bytes, octets: bytes | None) -> None:
    assert taglist.base64_octets(value) == octets


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_answered(text: bytes) -> None:
    parsed = taglist.parse(text)
    assert parsed is None or all(value == value.strip(b" \t\r\n") for value in parsed.values())
    taglist.without_value(text, b"b")
    taglist.base64_octets(text)


NAMES = st.text("aZ_09", max_size=8).map(lambda text: b"n" + text.encode())
VALUES = st.text("aZ09!=:,.~ \t", max_size=12).map(lambda text: text.strip().encode())


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=20), st.sampled_from([b"", b" ", b"\r\n ", b"\t"]))
def test_what_is_written_is_read(tags: dict[bytes, bytes], blank: bytes) -> None:
    text = b";".join(blank + name + blank + b"=" + blank + value + blank for name, value in tags.items())
    assert taglist.parse(text) == tags
    assert taglist.parse(text + b";") == tags


@pytest.mark.parametrize(
    "rubbish", [b";", b"=", b"a=1;", b" ", b"\r\n ", b"\r\n", b"\n", b"a", b"=\r\n ;", b"\x00", b"\t;", b"Q==", b"b=;"]
)
def test_a_megabyte_of_rubbish_is_cheap(rubbish: bytes) -> None:
    text = rubbish * (1_000_000 // len(rubbish))
    started = time.process_time()
    taglist.parse(text)
    taglist.base64_octets(text)
    assert time.process_time() - started < 0.25
