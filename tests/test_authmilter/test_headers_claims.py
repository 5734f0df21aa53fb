"""Which incoming fields pass for ours: forged forms that must go, near misses that must stay."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.facts import Client, HeaderField, IprevFact, IprevResult, MessageFacts, SpfFact, SpfResult
from authmilter.headers.claims import BIMI, CLAIMING_NAMES, claimed_fields, claims, stripped_fields
from authmilter.headers.results_field import render_results

OURS = ("mx.example.org",)
REST = b"; dmarc=pass header.from=bank.example"


@pytest.mark.parametrize(
    "head",
    [
        b"mx.example.org",
        b" mx.example.org",
        b"\tmx.example.org \t",
        b" MX.EXAMPLE.ORG",
        b" mX.eXample.Org",
        b" mx.example.org.",
        b" mx.example.org 1",
        b" mx.example.org 2",
        b" mx.example.org 999999999999",
        b" mx.example.org\t1\r\n ",
        b" mx.example.org (ours) 1 (really)",
        b" mx.example.org 1.5",
        b" mx.example.org one two",
        b" mx.example.org, other.example",
        b" mx.example.org=x",
        b" mx.example.org/1",
        b" mx.example.org:25",
        b"\r\n mx.example.org",
        b"\r\n\tmx.example.org\r\n\t",
        b"\n mx.example.org",  # a fold as the milter protocol has it
        b"\nmx.example.org",
        b"\r mx.example.org",
        b" \x0b\x0c mx.example.org",
        b" (x) mx.example.org",
        b"(x)mx.example.org(y)",
        b" (other.example;) mx.example.org",
        b" (a (nested (comment)) b) mx.example.org",
        b" (a \\) b) mx.example.org",
        b" (a \\( b) mx.example.org",
        b" (a \\\\) mx.example.org",
        b" (a\r\n b)\r\n (c) mx.example.org",
        b" " + b"(" * 30 + b")" * 30 + b" mx.example.org",
        b" (never closed mx.example.org",
        b" (never closed",
        b' "mx.example.org"',
        b' (x) "mx.example.org" (y) 1',
        b' "MX.example.ORG"',
        b' "m\\x.example\\.org"',
        b' "\\m\\x\\.\\e\\x\\a\\m\\p\\l\\e\\.\\o\\r\\g"',
        b' " mx.example.org "',
        b' "mx.\r\n example.org"',
        b' "mx.example.org',
        b' mx."example".org',
        b' "mx".example.org',
        b" mx.(x)example.org",
        b" mx . example . org",
        b" mx.\r\n example.org 1",
        b" mx.exam\r\n ple.org",
        b" <mx.example.org>",
        b" [mx.example.org]",
        b" @mx.example.org",
        b" x@mx.example.org",
        b"; mx.example.org",
        b";; mx.example.org",
        b" = mx.example.org",
        b" id=mx.example.org",
        b" mx%2eexample%2Eorg",
        b" =?utf-8?q?mx=2Eexample=2Eorg?=",
        b" =?us-ascii?Q?mx.example.org?=",
        b" =?utf-8?b?" + base64.b64encode(b"mx.example.org") + b"?=",
        b" =?utf-8?B?" + base64.b64encode(b"mx.example.org; spf=pass") + b"?=",
        b" =?utf-8?q?mx.exa?= =?utf-8?q?mple.org?=",
        b" (=?utf-8?q?=29_mx.example.org=3B?=) other.example",
        b" mx.example.org\0",
        b" mx.exa\0mple.org",
        b" \0mx.example.org",
        b" mx.example.org\0.other.example",
        b" (x\0) mx.example.org",
        b" mx\x01.example.org",
        b" mx.example.org\x7f",
        b" x=y mx.(x)example.org",
        b" x=y mx . example . org",
        " x=y mx\u3002example\u3002org".encode(),
        "\u00a0mx.example.org".encode(),
        " mx\u3002example\uff0eorg".encode(),
        " ｍｘ.ｅｘａｍｐｌｅ.org".encode(),
        " mx.ex\u00adample.org".encode(),
        " mx.ex\u200bample.org".encode(),
        " mx.ex\u200dample.org".encode(),
        "\ufeffmx.example.org".encode(),
        b" mx.ex\xffample.org",
        b" \x80mx.example.org",
    ],
)
def test_forged(head: bytes) -> None:
    assert claims(head + REST, OURS)
    if b"(never" not in head:
        assert claims(head + b"; none", OURS)


@pytest.mark.parametrize(
    "value",
    [
        b"",  # nothing: libmilter cut it at a NUL, or there is nothing to lose
        b" ",
        b" (comment)",
        b" mx",  # cut inside our id
        b" mx.exam",
        b' "mx.ex',
        b" mx.example.org",
        b" (x) mx.example.org (y",
        b" mx.example.org; spf=pass (never closed",
        b" mx.example.org; \0",
        b" mx.example.org;;;;",
        b" mx.example.org; dkim=pass header.d=x; dkim",
        b" dmarc=pass header.from=bank.example; by mx.example.org",  # no id, but ours is in it
        b" spf=pass (mx.example.org: domain of a@b.example designates 192.0.2.1) smtp.mailfrom=a@b.example",
        b" x=y " + b"z" * 20_000,  # no id and larger than any honest field
        b" x=y " + b"(z)" * 101,
    ],
)
def test_forged_without_a_rest(value: bytes) -> None:
    assert claims(value, OURS)


@pytest.mark.parametrize(
    "value",
    [
        b" other.example; dmarc=pass header.from=bank.example",
        b" other.example; none",
        b" other.example 1; spf=pass",
        b" other.example 2; spf=pass",
        b" other.example 1; spf=pass smtp.helo=mx.example.org",
        b" other.example (x) 1 (y); spf=pass smtp.helo=mx.example.org",
        b' "other.example"; spf=pass',
        b" other.example",
        b" other.example; spf=pass smtp.helo=mx.example.org",
        b" other.example; spf=pass (mx.example.org: ok) smtp.mailfrom=a@mx.example.org",
        b" other.example (mx.example.org); none",
        b" (mx.example.org) other.example; none",
        b" (mx.example.org; dmarc=pass) other.example; none",
        b' other.example; x=y reason="; mx.example.org; dmarc=pass"',
        b" other.example;\r\n mx.example.org; dmarc=pass",
        b" other.example;\0 mx.example.org; dmarc=pass",
        b" other.example; spf=pass (=?utf-8?q?mx.example.org?=)",
        b" other.example; spf=pass smtp.mailfrom=j\xfcrgen@b.example",
        b" mx.example.org.evil.example; spf=pass",
        b" evilmx.example.org; spf=pass",
        b" evil-mx.example.org; spf=pass",
        b" mx.example.organic; spf=pass",
        b" mx.example.org-x; spf=pass",
        b" a.mx.example.org; spf=pass",
        b" example.org; spf=pass",
        b" mx; spf=pass",
        b" mx.example; spf=pass",
        b" mx.example.com; spf=pass",
        b" mxxexample.org; spf=pass",
        b" mx-example-org; spf=pass",
        b' "mx.example.org.evil.example"; spf=pass',
        b' "mx.example.org; dmarc=pass"; spf=pass',
        b" 'mx.example.org'; spf=pass",
        " mx.ех ample.org; spf=pass".encode(),  # Cyrillic
        " mx.еxample.org; spf=pass".encode(),
        " bücher.example; spf=pass".encode(),
        " 例子.example; spf=pass".encode(),
        b" b\xfccher.example; spf=pass",
        b" spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=b.example; dkim=none; dmarc=pass action=none",
        b" dkim=pass header.d=mx.example.org.evil.example",
        b" x=y a.mx.example.org",
        b" =?utf-8?q?other.example?=; spf=pass",
        b" =?utf-8?b?!!!?=; spf=pass",
        b" other.example (never closed; spf=pass",
        b' "other.example; spf=pass',
        b" other%2eexample; spf=pass",
        b" i=1; other.example; spf=pass",
    ],
)
def test_near_misses_stay(value: bytes) -> None:
    assert not claims(value, OURS)


@pytest.mark.parametrize(
    ("own", "value", "claimed"),
    [
        ("bücher.example", " bücher.example; none", True),
        ("bücher.example", " BÜCHER.example; none", True),
        ("bücher.example", " bu\u0308cher.example; none", True),  # composed differently
        ("bücher.example", " xn--bcher-kva.example; none", True),
        ("bücher.example", ' "XN--BCHER-KVA.example"; none', True),
        ("bücher.example", " x=y bücher.example; none", True),
        ("bücher.example", " x=y xn--bcher-kva.example; none", True),
        ("bücher.example", " bü\u200dcher.example; none", True),
        ("bücher.example", " bucher.example; none", False),
        ("xn--bcher-kva.example", " bücher.example; none", True),
        ("MX.Example.Org.", " mx.example.org; none", True),
        ("mx1", " MX1; none", True),
        ("mx1", " mx1.example; none", False),
        ("mx1", " mx10; none", False),
        ("mx1", " spf=pass smtp.helo=mx10.example", False),
        ("mx1", " spf=pass smtp.helo=mx1", True),
        ("our_id/7", ' "our_id/7"; none', True),
        (".example.org", " example.org; none", True),
        (".example.org", " a.b.example.org; none", True),
        (".example.org", " badexample.org; none", False),
        (".example.org", " x=y a.example.org; none", True),
        (".example.org", " x=y badexample.org; none", False),
        (".example.org", " example.org.evil.example; none", False),
    ],
)
def test_other_ids(own: str, value: str, claimed: bool) -> None:
    assert claims(value.encode(), [own]) is claimed


def test_u_label_in_latin_1() -> None:
    assert claims(" bücher.example; none".encode("latin-1"), ["bücher.example"])


def test_several_ids() -> None:
    ids = ["mx.example.org", "mail.example.net", ".internal.example"]
    assert claims(b" mail.example.net; none", ids)
    assert claims(b" x=y mail.example.net; none", ids)
    assert claims(b" a.internal.example; none", ids)
    assert not claims(b" a.mail.example.net; none", ids)


def test_without_ids_nothing_is_ours() -> None:
    assert not claims(b" mx.example.org; none", [])
    assert not claims(b" x=y mx.example.org; none", [])


def _field(name: bytes, value: bytes = b" mx.example.org; none") -> HeaderField:
    return HeaderField(name, value)


@pytest.mark.parametrize(
    "name",
    [
        b"Authentication-Results",
        b"authentication-results",
        b"AUTHENTICATION-RESULTS",
        b"Authentication-Results ",
        b"Authentication-Results\t ",
        b"aUTHENTICATION-rESULTS \t",
    ],
)
def test_names(name: bytes) -> None:
    assert claimed_fields([_field(name)], OURS) == [("Authentication-Results", 1)]
    assert name.lower().rstrip() in CLAIMING_NAMES


@pytest.mark.parametrize(
    "name",
    [
        b"X-Authentication-Results",
        b"ARC-Authentication-Results",
        b"Authentication-Results-Original",
        b"Authentication_Results",
        b"Authentication-Result",
        b"Authentication -Results",
        b"Authentication-Results:",
        b"",
        b"Received",
    ],
)
def test_other_names_stay(name: bytes) -> None:
    assert claimed_fields([_field(name)], OURS) == []


@pytest.mark.parametrize("forged", [1, 2, 3, 40])
def test_occurrences_count_all_fields_of_the_name_and_come_highest_first(forged: int) -> None:
    fields = [_field(b"Received", b" x"), _field(b"Authentication-Results", b" other.example; none")]
    for place in range(forged):
        fields.append(_field((b"Authentication-Results", b"AUTHENTICATION-results ")[place % 2]))
        fields.append(_field(b"X-Authentication-Results"))
    fields.append(_field(b"authentication-results", b" third.example; none"))
    expected = [("Authentication-Results", place + 2) for place in reversed(range(forged))]
    assert claimed_fields(fields, OURS) == expected
    # carried out one by one, from the first to the last, this leaves the others
    left = [field for field in fields if field.name.strip().lower() == b"authentication-results"]
    for _, occurrence in claimed_fields(fields, OURS):
        del left[occurrence - 1]
    assert [field.value for field in left] == [b" other.example; none", b" third.example; none"]


def test_stripped_fields() -> None:
    fields = [
        _field(b"BIMI-Location"),
        _field(b"bimi-indicator "),
        _field(b"Subject"),
        _field(b"BIMI-Selector"),
        _field(b"BIMI-LOCATION"),
        _field(b"Bimi-Logo-Preference"),
        _field(b"X-BIMI-Location"),
    ]
    stripped = stripped_fields(fields, BIMI)
    assert stripped[0] == ("BIMI-Location", 2)
    assert sorted(stripped) == [
        ("BIMI-Indicator", 1),
        ("BIMI-Location", 1),
        ("BIMI-Location", 2),
        ("BIMI-Logo-Preference", 1),
    ]
    assert {name.lower().encode() for name in BIMI} < CLAIMING_NAMES
    assert stripped_fields(fields, []) == []


@given(
    st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=200)), max_size=8), st.lists(st.text(), max_size=3)
)
def test_nothing_raises(fields: list[tuple[bytes, bytes]], ids: list[str]) -> None:
    claimed_fields([_field(b"Authentication-Results", value) for _, value in fields], ids)
    stripped_fields([_field(name, value) for name, value in fields], ids)


_COMMENT = st.recursive(
    st.text(st.sampled_from('ab;=". \t@\xfc'), max_size=8),
    lambda inner: st.lists(st.one_of(inner, inner.map(lambda text: f"({text})"), st.just("\\("), st.just("\\\\"))).map(
        "".join
    ),
    max_leaves=6,
).map(lambda text: f"({text})")
_BLANK = st.sampled_from([" ", "\t", "\r\n ", "\n\t", "\r\n\t ", "  "])
# deeper comments are taken for claims whatever stands behind them
_CFWS = st.lists(st.one_of(_BLANK, _COMMENT), max_size=4).map("".join)


@given(_CFWS, st.sampled_from([b"mx.example.org", b'"mx.example.org"', b"MX.example.ORG 1"]))
def test_blanks_and_comments_before_our_id_change_nothing(cfws: str, head: bytes) -> None:
    assert claims(cfws.encode() + head + REST, OURS)


@given(
    st.lists(st.one_of(_BLANK, st.sampled_from(["(a)", "(mx.example.org)", "((b);)", "(\\()"])), max_size=4).map(
        "".join
    )
)
def test_blanks_and_comments_before_another_id_change_nothing(cfws: str) -> None:
    assert not claims(f"{cfws}other.example".encode() + REST, OURS)


@given(st.data())
def test_our_own_field_is_recognised_in_disguise(data: st.DataObject) -> None:
    facts = MessageFacts(
        Client("192.0.2.25"),
        "alice@example.net",
        iprev=IprevFact(IprevResult.PASS, "192.0.2.25", "mail.example.net"),
        spf=(SpfFact("mfrom", SpfResult.PASS, "example.net", "alice@example.net"),),
    )
    value = render_results("mx.example.org", facts)
    identifier, rest = value[:14], value[14:]
    form = data.draw(
        st.sampled_from(
            [
                identifier,
                identifier.upper(),
                identifier.title(),
                f'"{identifier}"',
                '"' + "\\".join(f" {identifier}")[1:] + '"',
            ]
        )
    )
    version = data.draw(st.sampled_from(["", " 1", " 2", "\r\n 1", "(x) 1"]))
    words = rest.replace("\n\t", " ").split(" ")
    for place in range(len(words) - 1):
        words[place] += data.draw(_CFWS) or " "
    disguised = f"{data.draw(_CFWS)}{form}{version}{data.draw(_CFWS)}{''.join(words)}"
    assert claims(disguised.encode(), OURS)


_MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "unit",
    [
        b"(",
        b")",
        b"()",
        b"(a",
        b"((((((((x))))))))",
        b"(((((((((x)))))))))",
        b"\\(",
        b"x=(\\(",
        b'"',
        b'"\\a',
        b" ",
        b"\r\n ",
        b" .",
        b"x= .",
        b"x ",
        b"mx.example.org.a",
        b"mx.example.or",
        b"%41",
        b"=?",
        b"=?a?q?=41?=",
        b"=?a?b?",
        b"\0",
        b"\xff",
        "\u0301\u0316".encode(),
        "\u00ad".encode(),
        b"1",
        b";",
    ],
)
@pytest.mark.parametrize("start", [b"", b"x=y ", b"other.example ", b"(", b'"'])
def test_a_megabyte_is_judged_in_linear_time(start: bytes, unit: bytes) -> None:
    value = start + unit * (_MEGABYTE // len(unit))
    began = time.process_time()
    claims(value, OURS)
    assert time.process_time() - began < 1.0  # 0.1 s where this was written; a quadratic pattern takes minutes


def test_many_small_fields_are_judged_fast() -> None:
    fields = [_field(b"Authentication-Results", b" x=y (((((a)))) \xff=?a?q?=41?=" + b"(\\(" * 20)] * 10_000
    began = time.process_time()
    claimed_fields(fields, OURS)
    assert time.process_time() - began < 1.0


def test_a_flood_is_removed_unread() -> None:
    fields = [_field(b"Authentication-Results", b" other.example; none")] * 300
    assert [occurrence for _, occurrence in claimed_fields(fields, OURS)] == list(range(300, 200, -1))
