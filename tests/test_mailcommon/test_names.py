"""Domain names: what becomes an A-label, what is a host name, and the labels in between."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailcommon import names

LONG = "a" * 63


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("example.org.", "example.org"),
        ("example.org..", None),
        ("", None),
        (".", None),
        ("a..b", None),
        (".a", None),
        ("org", "org"),
        ("_dmarc.example.org", "_dmarc.example.org"),
        ("s1._domainkey.example.org", "s1._domainkey.example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("xn--99999999999.example", "xn--99999999999.example"),  # decodes to nothing, and is still a name
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # combining mark
        ("faß.de", "xn--fa-hia.de"),  # non-transitional: not "fass"
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),  # ideographic full stop
        ("bücher.xn--99999999999.example", "xn--bcher-kva.xn--99999999999.example"),
        ("ｅｘａｍｐｌｅ.org", "example.org"),  # fullwidth letters
        ("exam\u00adple.org", "example.org"),  # soft hyphen: UTS #46 drops it
        ("ａ＠ｂ.example", None),  # fullwidth @ becomes @
        ("bü cher.example", None),
        ("a b.example", None),
        ("a@b.example", None),
        ("a\0b.example", None),
        ("a\nb.example", None),
        ("example.org\n", None),
        ("[192.0.2.1]", None),
        ("\u202eexample.org", None),
        ("\ud800.example", None),
        ("😀.example", None),  # RFC 5892: not allowed in IDNA2008
        (f"{LONG}.example", f"{LONG}.example"),
        (f"{LONG}a.example", None),
        (".".join([LONG, LONG, LONG, "a" * 61]), ".".join([LONG, LONG, LONG, "a" * 61])),
        (".".join([LONG, LONG, LONG, "a" * 62]), None),
        ("ü" * 60 + ".example", None),  # the A-label is too long
        ("a." * 1_000_000, None),
        ("ü" * 1_000_000, None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_to_alabel(text: str, expected: str | None) -> None:
    assert names.to_alabel(text) == expected


@settings(deadline=None)
@given(st.text(max_size=300))
def test_to_alabel_never_raises_and_is_stable(text: str) -> None:
    result = names.to_alabel(text)
    if result is not None:
        assert len(result) <= 253
        assert result.isascii()
        assert result == result.lower()
        assert names.to_alabel(result) == result
        assert all(0 < len(label) < 64 for label in names.labels(result))


@settings(deadline=None)
@given(st.from_regex(r"([a-z0-9_-]{1,20}\.){0,5}[a-z0-9_-]{1,20}\.?", fullmatch=True))
def test_ascii_names_only_change_case(text: str) -> None:
    assert names.to_alabel(text.upper()) == text.removesuffix(".")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.example.org", True),
        ("MAIL.example.org", True),
        ("localhost", True),
        ("1and1.com", True),
        ("3com", True),
        ("a-b.example", True),
        ("192.0.2.1", False),
        ("example.123", False),
        ("_dmarc.example", False),
        ("-a.example", False),
        ("a-.example", False),
        ("a..b", False),
        ("", False),
        (".", False),
        ("example.org.", False),
        ("example.org\n", False),
        ("bücher.example", False),
        ("\u0131.example", False),
        (f"{LONG}.example", True),
        (f"{LONG}a.example", False),
        ("a-" * 500_000, False),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_is_hostname(text: str, expected: bool) -> None:
    assert names.is_hostname(text) is expected


def test_labels_and_parent() -> None:
    assert names.labels("") == []
    assert names.labels("a.b.example") == ["a", "b", "example"]
    assert names.parent("a.b.example") == "b.example"
    assert names.parent("example") is None
    assert names.parent("") is None


@pytest.mark.parametrize(
    ("name", "of", "expected"),
    [
        ("example.org", "example.org", True),
        ("a.example.org", "example.org", True),
        ("A.EXAMPLE.org", "example.ORG", True),
        ("badexample.org", "example.org", False),
        ("example.org", "a.example.org", False),
        ("org", "example.org", False),
        ("example.org", "", False),
        ("", "", False),
    ],
)
def test_is_subdomain(name: str, of: str, expected: bool) -> None:
    assert names.is_subdomain(name, of) is expected


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
        ("::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa"),
        ("2001:db8::1", "1.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2.ip6.arpa"),
        ("fe80::1%eth0", "1.0.0.0." + "0.0.0.0." * 6 + "0.8.e.f.ip6.arpa"),
        ("", ""),
        ("not an address", ""),
        ("192.0.2.256", ""),
        ("1" * 1_000_000, ""),
    ],
    ids=lambda value: value[:30],
)
def test_reverse_name(ip: str, expected: str) -> None:
    assert names.reverse_name(ip) == expected


@settings(deadline=None)
@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_reverse_names_are_dns_names(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    name = names.reverse_name(str(ip))
    assert names.to_alabel(name) == name
