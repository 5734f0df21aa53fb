"""Macro strings of RFC 7208 §7: the tables of the standard, what it forbids, and texts made to cost time."""

from __future__ import annotations

import pytest

from authmilter.facts import SpfFact, SpfResult
from authmilter.spf import macros
from authmilter.spf.evaluate import check_host
from tests.support.inbound import CpuClock
from tests.support.txt_resolver import TxtResolver

STRONG_BAD = "strong-bad@email.example.com"


def evaluate(
    spec: str, *, mail_from: str = STRONG_BAD, ip: str = "192.0.2.3", helo: str = "mx.example.org"
) -> tuple[SpfFact, list[str]]:
    """The outcome of `exists:spec`, and the names whose A records were asked for."""
    resolver = TxtResolver({mail_from.rpartition("@")[2]: f"v=spf1 exists:{spec} -all"})
    fact = check_host(scope="mfrom", ip=ip, mail_from=mail_from, helo=helo, receiver="r.example", resolver=resolver)
    return fact, [name for rdtype, name in resolver.queries if rdtype == "A"]


def asked(spec: str, **identity: str) -> list[str]:
    """The names that are asked for; [] if it is a permerror."""
    fact, names = evaluate(spec, **identity)
    assert fact.result == (SpfResult.FAIL if names else SpfResult.PERMERROR), fact
    return names


@pytest.mark.parametrize(
    ("spec", "expanded"),
    [
        # RFC 7208 §7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        # and what it leaves to the reader
        ("%{d2}.trusted-domains.example.net.", "example.com.trusted-domains.example.net"),
        ("%{D}", "email.example.com"),
        ("%{h}", "mx.example.org"),
        ("%{i}.a.example", "192.0.2.3.a.example"),
        ("%{d128}", "email.example.com"),
        ("%{d99999999999}", "email.example.com"),
        ("%{d02}", "example.com"),
        ("%{dR}", "com.example.email"),
        ("a%%b%_c%-d.example", "a%b c%20d.example"),
    ],
)
def test_expansion(spec: str, expanded: str) -> None:
    assert asked(spec) == [expanded]


def test_ipv6_address() -> None:
    # RFC 7208 §7.4; SPF-31: it is an A query for IPv6 clients too
    expected = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    assert asked("%{ir}.%{v}._spf.%{d2}", ip="2001:db8::cb01") == [expected]


@pytest.mark.parametrize(
    ("local", "spec", "expanded"),
    [
        # SPF-41: each of the delimiters, several at once, and the dot that joins them again (RFC 7208 §7.3)
        ("a.b-c+d", "%{l2.}.x.example", "a.b-c+d.x.example"),
        ("a.b-c+d", "%{l-}.x.example", "a.b.c+d.x.example"),
        ("a.b-c+d", "%{l1-}.x.example", "c+d.x.example"),
        ("a.b-c+d", "%{l1.-+}.x.example", "d.x.example"),
        ("a.b-c+d", "%{l2.-+}.x.example", "c.d.x.example"),
        ("a.b-c+d", "%{lr.-+}.x.example", "d.c.b.a.x.example"),
        ("a,b/c_d=e", "%{l.,/_=}.x.example", "a.b.c.d.e.x.example"),
        ("a,b/c_d=e", "%{l1=}.x.example", "e.x.example"),
        ("a--b", "%{l2-}.x.example", ".b.x.example"),
    ],
)
def test_delimiters(local: str, spec: str, expanded: str) -> None:
    assert macros.expand(macros.parse(spec), lambda _: local) == expanded


def test_delimiters_of_other_letters_are_joined_by_dots_too() -> None:
    assert asked("%{h-}.x.example", helo="a-b.example.org") == ["a.b.example.org.x.example"]


@pytest.mark.parametrize(
    ("local", "expanded"),
    [
        # SPF-44: all but the unreserved characters of RFC 3986 §2.3
        ("a-b._~Z9", "a-b._~Z9"),
        ("jack&jill=up", "jack%26jill%3Dup"),
        ("a/b+c", "a%2Fb%2Bc"),
        ('"a b"', "%22a%20b%22"),
    ],
)
def test_upper_case_escapes(local: str, expanded: str) -> None:
    assert macros.expand(macros.parse("%{L}.x.example"), lambda _: local) == f"{expanded}.x.example"
    assert asked("%{L}.x.example", mail_from=f"{local}@email.example.com") == [f"{expanded}.x.example".lower()]


@pytest.mark.parametrize(
    "spec",
    [
        "%{z}.example",
        "%{}.example",
        "%{d0}.example",
        "%{d000}.example",
        "%{dd}.example",
        "%{dr2}.example",
        "%{d*}.example",
        "%{d-r}.example",
        "%(d).example",
        "%d.example",
        "%{d.example",
        "%{d",
        "a.example%",
        "%",
        "%{c}.example",
        "%{r}.example",
        "%{t}.example",
        "%{C}.example",
        # SPF-16
        "example",
        "a.123",
        "a.b-",
        "a.-b",
        "a.b..",
        "a.b_c",
        "%{d}example",
        "a.b%%c",
    ],
)
def test_what_is_no_domain_spec_is_a_permerror(spec: str) -> None:
    assert asked(spec) == []


@pytest.mark.parametrize("spec", ["a.b", "a.b.", "a.1b", "a.1-2", "_x.example", "%{d}", "a.%{d}", "%{d}.b", "x%-"])
def test_domain_specs(spec: str) -> None:
    assert len(asked(spec)) == 1


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("a.b", "a.b"),
        ("x" * 250 + ".bc", "x" * 250 + ".bc"),
        ("x" * 250 + ".bcd", "bcd"),
        ("a." * 127 + "b", "a." * 126 + "b"),
        ("a." * 1000 + "b", "a." * 126 + "b"),
        ("x" * 300, "x" * 300),
        ("a." + "x" * 300, "x" * 300),
        ("", ""),
    ],
)
def test_long_names_lose_labels_on_the_left(name: str, short: str) -> None:
    assert macros.shorten(name) == short


BIG = 62_000
COSTLY = {
    "dots": "%{l}." + "a." * (BIG // 2) + "example",
    "braces": "%{" * (BIG // 2) + ".example",
    "unclosed digits": "%{l" + "9" * BIG + ".example",
    "digits": "%{l" + "9" * BIG + "}.example",
    "delimiters": "%{l" + "-" * BIG + "}.example",
    "percent signs": "%" * BIG + ".example",
    "a label": "x." + "a" * BIG + "_",
    "a label of digits": "x." + "1" * BIG,
    "hyphens": "x." + "1-" * (BIG // 2) + "_",
    "local parts": "%{l}" * (BIG // 4) + ".example",
    "local parts and dots": "%{l}." * (BIG // 5) + "example",
    "reversed": "%{lr.-+}." * 1000 + "example",
}


@pytest.mark.parametrize("case", COSTLY)
def test_costly_texts_are_cheap(case: str) -> None:
    for local in ("u", "a." * 32, "a." * 30_000):
        with CpuClock() as cpu:
            fact, names = evaluate(COSTLY[case], mail_from=f"{local}@b.example")
        assert cpu.seconds < 0.5, f"{cpu.seconds:.1f} s for a local part of {len(local)} characters"
        assert fact.result in (SpfResult.FAIL, SpfResult.PERMERROR)
        assert all(len(name) <= 253 for name in names)
