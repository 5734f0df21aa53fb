"""DKIM-Signature fields by themselves: every tag, every defect, and the word that each defect leads to."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim import signature, values
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimResult

GOOD = {
    "v": "1",
    "a": "rsa-sha256",
    "c": "relaxed/simple",
    "d": "example.com",
    "s": "sel",
    "h": "From:To",
    "bh": "QUJD",
    "b": "WFla",
}


def field(**tags: str | None) -> bytes:
    return "; ".join(f"{tag}={value}" for tag, value in (GOOD | tags).items() if value is not None).encode()


def test_a_good_signature() -> None:
    text = b" " + field(i="Joe@News.Example.COM", l="007", t="1", x="2", q="x/y : dns/txt", z="junk", zz="unknown")
    assert signature.parse(text) == signature.Signature(
        defect=None,
        domain="example.com",
        selector="sel",
        identity="Joe@news.example.com",
        identity_domain="news.example.com",
        algorithm="rsa-sha256",
        b="WFla",
        signature=b"XYZ",
        body_hash=b"ABC",
        relaxed_header=True,
        relaxed_body=False,
        length=7,
        signed=(b"from", b"to"),
        timestamp=1,
        expires=2,
    )


@pytest.mark.parametrize(
    ("tags", "attribute", "expected"),
    [
        ({"c": None}, "relaxed_header", False),
        ({"c": "relaxed"}, "relaxed_header", True),
        ({"c": "relaxed"}, "relaxed_body", False),  # DKIM-8: one word leaves the body simple
        ({"c": "simple/relaxed"}, "relaxed_body", True),
        ({"c": "Relaxed/RELAXED"}, "relaxed_body", True),
        ({"d": "EXAMPLE.com"}, "key_name", "sel._domainkey.example.com"),
        ({"d": "bücher.example"}, "domain", "xn--bcher-kva.example"),  # RFC 8616 §5
        ({"d": "xn--bcher-kva.example", "i": "@bücher.example"}, "identity", "@xn--bcher-kva.example"),
        ({"s": "März.2026"}, "selector", "xn--mrz-qla.2026"),
        ({"s": "foo_1.bar"}, "key_name", "foo_1.bar._domainkey.example.com"),
        ({"i": "jürgen@example.com"}, "identity", "jürgen@example.com"),
        ({}, "identity", "@example.com"),
        ({"i": "@example.com"}, "identity", "@example.com"),
        ({"i": "a=40b@example.com"}, "identity_domain", None),  # "a@b@..." is no local part
        ({"i": '"a=40b=20c"@x.example.com'}, "identity", '"a@b c"@x.example.com'),
        ({"i": '"a@b"@x.example.com'}, "identity_domain", "x.example.com"),
        ({"i": "joe=3D1@\r\n example.com"}, "identity", "joe=1@example.com"),
        ({"h": " From :\r\n\tTO: x-y.z "}, "signed", (b"from", b"to", b"x-y.z")),
        ({"h": "from:from:dkim-signature"}, "signed", (b"from", b"from", b"dkim-signature")),
        ({"b": "WF\r\n la"}, "b", "WFla"),
        ({"b": "WF la WF la"}, "signature", b"XYZXYZ"),
        ({"a": "Ed25519-SHA256"}, "algorithm", "ed25519-sha256"),
        ({"l": "9" * 76}, "length", int("9" * 76)),
        ({"l": "0"}, "length", 0),
        ({"t": "999999999999"}, "timestamp", 999_999_999_999),
        ({"x": "9" * 5000}, "expires", values.NEVER),  # DKIM-15
    ],
)
def test_values(tags: dict[str, str | None], attribute: str, expected: object) -> None:
    read = signature.parse(field(**tags))
    if expected is None:
        assert read.defect is not None
    else:
        assert (read.defect, getattr(read, attribute)) == (None, expected)


NEUTRAL, PERMERROR, POLICY = DkimResult.NEUTRAL, DkimResult.PERMERROR, DkimResult.POLICY

Case = tuple[dict[str, str | None], DkimResult, str]


def each(tag: str, result: DkimResult, reason: str, *wrong: str, **others: str | None) -> list[Case]:
    """One case per wrong value of one tag."""
    return [({tag: value, **others}, result, reason) for value in wrong]


def unreadable(tag: str, *wrong: str) -> list[Case]:
    return each(tag, NEUTRAL, f"{tag}= cannot be read", *wrong)


DEFECTS: list[Case] = [
    ({"v": None}, PERMERROR, "v= is missing"),  # DKIM-5
    ({"a": None}, PERMERROR, "a= is missing"),
    ({"b": None}, PERMERROR, "b= is missing"),
    ({"bh": None}, PERMERROR, "bh= is missing"),
    ({"d": None}, PERMERROR, "d= is missing"),
    ({"h": None}, PERMERROR, "h= is missing"),
    ({"s": None}, PERMERROR, "s= is missing"),
    *each("v", PERMERROR, "v= is not 1", "", "0", "2", "0.5", "01", "1 1", "DKIM1"),  # DKIM-6
    *unreadable("a", "", "rsa", "rsa-", "rsa_sha256", "rsa-sha256 x"),
    *each("a", NEUTRAL, "a= is not known", "rsa-sha512", "ed25519-sha1", "x-y", "rsa-sha2567"),
    *each("a", POLICY, "rsa-sha1 is not accepted", "rsa-sha1", "RSA-SHA1"),  # DKIM-7
    *unreadable("c", "", "nowsp", "relaxed/", "/relaxed", "relaxed/nowsp", "relaxed/simple/simple"),  # DKIM-8
    *unreadable("c", "relaxed / simple", "relaxed/simple x"),
    *unreadable("d", "", "com", "example.com.", ".example.com", "example..com", "exa mple.com"),  # DKIM-9
    *unreadable("d", "exa\r\n mple.com", "192.0.2.1", "[192.0.2.1]", "legit(.attack.example", '"a".example'),
    *unreadable("d", "a,b.example", "ex_ample.com", "-a.example", "a-.example", "@example.com", "b\u2028.example"),
    *unreadable("d", "a" * 64 + ".example", "a." * 130 + "example"),
    *unreadable("s", "", ".", "a.", "a..b", "a b", "a/b", "a" * 64, "a,b", "a(b", '"a"'),
    *unreadable("i", "", "example.com", "joe.example.com", "joe@", "@", "joe@com", "joe@example.com."),
    *unreadable("i", "joe@[192.0.2.1]", "jo e=@example.com", "a=4@example.com", "a=4x@example.com"),
    *unreadable("i", "a=3d@example.com", "a@b@example.com", "a..b@example.com", "<(any@example.com"),
    *unreadable("i", '"a@example.com', '"a"b@example.com', "=00@example.com", "=0D=0A@example.com"),
    *unreadable("i", "=FF@example.com", '"=0A"@example.com', "x" * 513 + "@example.com"),
    # DKIM-10: at a label boundary
    *each("i", PERMERROR, "i= is not below d=", "@example.org", "@notexample.com", "joe@com.example", "@mple.com"),
    *each("i", PERMERROR, "i= is not below d=", "@example.com.evil.example", '"@example.com"@evil.example'),
    *each("h", PERMERROR, "From is not signed", "", "To", "Fro:m", "X-From:From-X", "to:fr0m"),  # DKIM-11
    *unreadable("h", ":", "From:", "From::To", "Fr om", "From:ä", "From:T o", "From:" * 1000 + "To"),
    *unreadable("l", "", "-1", "+1", "1 2", "0x1", "1.0", "٣", "9" * 77),  # DKIM-12
    *unreadable("t", "", "-1", "1e3", "now", "1 2", "1.5"),
    *unreadable("x", "", "-1", "1e3", "never", "²"),
    *each("x", PERMERROR, "x= is not after t=", "0", "4", "5", t="5"),  # DKIM-14
    *each("x", PERMERROR, "x= is not after t=", "9" * 14, t="9" * 13),
    *each("q", NEUTRAL, "q= has no known method", "", "dns", "txt", "dns/txt2", "http/x:dns/mx"),  # DKIM-16
    *unreadable("b", "", "=", "a", "?", "QUJD=", "QQ==QQ=="),  # DKIM-17
    *unreadable("bh", "", "=", "a", "-_-_", "ä"),
]


@pytest.mark.parametrize(("tags", "result", "reason"), DEFECTS)
def test_defects(tags: dict[str, str | None], result: DkimResult, reason: str) -> None:
    assert signature.parse(field(**tags)).defect == signature.Defect(result, reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (field() + b"; b=QUJD", "the field is not a tag list"),  # DKIM-1: a duplicate
        (field() + b"; bad", "the field is not a tag list"),
        (field(s="se\x00l"), "the field is not a tag list"),  # a NUL in s= reaches no resolver
        (field(d="example.com\n"), "the field is not a tag list"),
        (b"", "the field is not a tag list"),
        (b"\xff" * 100, "the field is not a tag list"),
        (field(n="x" * 65_536), "the field is too large"),
    ],
)
def test_fields_that_are_no_signatures(value: bytes, reason: str) -> None:
    assert signature.parse(value).defect == signature.Defect(NEUTRAL, reason)


def test_what_can_be_read_of_a_bad_signature_is_kept() -> None:
    read = signature.parse(field(bh=None, c="junk", s="se/l"))
    assert (read.domain, read.selector, read.identity, read.algorithm, read.b) == (
        "example.com",
        "",
        "@example.com",
        "rsa-sha256",
        "WFla",
    )
    assert signature.parse(field(d="a(b.example")).identity == ""
    assert len(signature.parse(field(b="A" * 60_000)).b) == signature.MAX_B


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"x": "699"}, "the signature has expired"),  # DKIM-14
        ({"x": "700"}, ""),
        ({"x": "1000"}, ""),
        ({"t": "1300"}, ""),
        ({"t": "1301"}, "the signature is from the future"),  # DKIM-15
        ({"t": "9" * 13}, "the signature is from the future"),
        ({"x": "9" * 13}, ""),
        ({"d": "co.uk"}, "d= is not accepted as a signer"),  # DKIM-18
    ],
)
def test_what_the_receiver_decides(tags: dict[str, str | None], reason: str) -> None:
    read = signature.parse(field(**tags))
    assert read.defect is None
    settings = DkimSettings(clock_skew=300, refused_domains=frozenset({"co.uk"}))
    refused = signature.not_accepted(read, settings, 1000.0)
    assert refused == (signature.Defect(POLICY, reason) if reason else None)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_are_answered(value: bytes) -> None:
    assert signature.parse(value).defect is not None


ODD_TEXTS = st.text('aZ09@.=4D:/- \t"\\(\x00\r\n\x7f\x85ä漢。\u2028\u00ad\u202e\ud800', max_size=12)
TAG_VALUES = st.binary(max_size=30) | ODD_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "i", "l", "t", "x", "q", "z"]), TAG_VALUES, max_size=4))
def test_any_values_are_answered(tags: dict[str, bytes]) -> None:
    whole = {tag: value.encode() for tag, value in GOOD.items()} | tags
    read = signature.parse(b"; ".join(tag.encode() + b"=" + value for tag, value in whole.items()))
    for text in (read.domain, read.selector, read.algorithm, read.b, read.identity_domain):
        assert text.isascii()
        assert text.isprintable()
    assert not any(ord(character) < 32 or ord(character) == 127 for character in read.identity)


@pytest.mark.parametrize(
    "tags",
    [
        {"h": "From:" * 13_000},
        {"h": ":" * 65_000},
        {"i": "=40" * 21_000},
        {"i": '"' + "\\" * 65_000},
        {"i": "a." * 32_000},
        {"d": "a." * 32_000},
        {"b": "A=" * 32_000},
        {"b": " " * 65_000},
        {"l": "1" * 65_000},
        {"q": ":" * 65_000},
        {"a": "a" * 32_000 + "-" + "b" * 32_000},
    ],
)
def test_large_values_are_cheap(tags: dict[str, str | None]) -> None:
    value = field(**tags)[: signature.MAX_FIELD]
    started = time.process_time()
    for _ in range(10):
        signature.parse(value)
    assert time.process_time() - started < 0.2
