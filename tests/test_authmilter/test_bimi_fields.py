"""The fields that a mail program reads: their grammar, there and back (BIMI-45 to BIMI-47, BIMI-50 to BIMI-53)."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.bimi import names, uri
from authmilter.facts import Authority, BimiFact, BimiResult, Client, MessageFacts
from authmilter.headers.bimi_fields import bimi_fields, indicator, location
from authmilter.headers.results_field import render_results
from authmilter.headers.results_reader import parse_results
from tests.support.marks import LOGO

L = "https://a.example/logo.svg"
A = "https://a.example/mark.pem"
PASS = BimiFact(
    BimiResult.PASS,
    "a.example",
    "brand",
    Authority.PASS,
    A,
    L,
    (("a", A),),
    LOGO,
    "brand",
    "Registered Mark",
)

# BIMI core §5.2, read strictly: version, then one or two tags, each once, in any order
_WSP = r"[ \t]*"
_FWS = r"(?:[ \t]*\r?\n)?[ \t]*"
_LOCATION = re.compile(rf"v{_WSP}={_WSP}BIMI1{_WSP};{_FWS}(?:l=([^;\s]+){_WSP};?{_FWS})?(?:a=([^;\s]+){_WSP};?{_FWS})?")


def read_location(value: str) -> tuple[tuple[str, str], ...]:
    """What a reader makes of BIMI-Location."""
    match = _LOCATION.fullmatch(value)
    assert match is not None, value
    assert match[1] or match[2]
    return tuple((tag, text) for tag, text in (("l", match[1]), ("a", match[2])) if text)


def results(fact: BimiFact, **facts: object) -> tuple[str, str]:
    """The result and the words of bimi= as another reader sees the whole field."""
    value = render_results("mx.example", MessageFacts(Client("192.0.2.1"), "", bimi=fact, **facts))  # type: ignore[arg-type]
    found = parse_results(f" {value}".encode())
    assert found is not None
    (entry,) = [each for each in found.results if each.method == "bimi"]
    text = " ".join(f"{each.ptype}.{each.name}={each.value}" for each in entry.properties)
    return entry.result, text


@pytest.mark.parametrize("tags", [(("l", L),), (("a", A),), (("l", L), ("a", A))])
def test_location_there_and_back(tags: tuple[tuple[str, str], ...]) -> None:
    assert read_location(location(tags)) == tags


@given(st.text(alphabet="abc/?=&%.-_~!$'()*+:@", max_size=700))
def test_any_uri_that_a_record_may_have(text: str) -> None:
    found = uri.parse(f"https://a.example/{text}")
    if isinstance(found, uri.Uri):
        value = location((("l", found.text), ("a", found.text)))
        assert read_location(value) == (("l", found.text), ("a", found.text))
        assert max(map(len, value.split("\n"))) < 998


@given(st.binary(min_size=1, max_size=40_000))
def test_indicator_there_and_back(octets: bytes) -> None:
    value = indicator(octets)
    assert base64.b64decode("".join(value.split()), validate=True) == octets
    lines = value.split("\n")
    assert all(line.startswith("\t") for line in lines[1:])
    assert max(map(len, lines)) <= 78
    assert len(f"BIMI-Indicator: {value}") < 102_400  # Postfix's header_size_limit


def test_the_fields_of_a_message() -> None:
    found = bimi_fields(PASS)
    assert [name for name, _ in found] == ["BIMI-Location", "BIMI-Indicator", "BIMI-Logo-Preference"]
    assert found[0][1] == f"v=BIMI1; a={A};"
    assert found[2][1] == "avp=brand;"
    bare = BimiFact(BimiResult.PASS, "a.example", "default", Authority.NONE, "", L, (("l", L),))
    assert bimi_fields(bare) == [("BIMI-Location", f"v=BIMI1; l={L};")]


@pytest.mark.parametrize("result", [each for each in BimiResult if each is not BimiResult.PASS])
def test_no_field_without_a_pass(result: BimiResult) -> None:
    """BIMI-45 to BIMI-47: not on failure, whatever is known."""
    assert bimi_fields(BimiFact(result, "a.example", "default", Authority.FAIL, A, L, (("l", L),), LOGO, "brand")) == []
    assert bimi_fields(None) == []


def test_the_entry_of_a_pass() -> None:
    digest = hashlib.sha256(LOGO).hexdigest()[-16:]
    assert results(PASS) == (
        "pass",
        f"header.d=a.example header.selector=brand policy.authority=pass policy.indicator-hash={digest}"
        f" policy.logo-preference=brand policy.authority-uri={A} policy.indicator-uri={L}",
    )
    value = render_results("mx.example", MessageFacts(Client("192.0.2.1"), "", bimi=PASS))
    assert f'policy.authority-uri="{A}"' in value  # BIMI-53: ":" and "/" are no token
    assert "bimi=pass (Registered Mark)" in value


@pytest.mark.parametrize(
    ("fact", "result", "words"),
    [
        (BimiFact(BimiResult.NONE, reason="no record"), "none", ""),
        (BimiFact(BimiResult.SKIPPED, reason="DMARC gave fail"), "skipped", ""),
        (BimiFact(BimiResult.DECLINED, "a.example", "default"), "declined", ""),
        (
            BimiFact(
                BimiResult.FAIL, "a.example", "default", Authority.FAIL, A, L, reason="the evidence: it has expired"
            ),
            "fail",
            f"header.d=a.example header.selector=default policy.authority=fail policy.authority-uri={A}"
            f" policy.indicator-uri={L}",
        ),
        (
            BimiFact(BimiResult.SKIPPED, "a.example", "default", Authority.NONE, "", L),
            "skipped",
            f"header.d=a.example header.selector=default policy.authority=none policy.indicator-uri={L}",
        ),
        (
            BimiFact(BimiResult.TEMPERROR, "a.example", "default", reason="look-up failed"),
            "temperror",
            "header.d=a.example header.selector=default",
        ),
        # half a URI is worse than none; the hash and the preference are those of a shown indicator
        (
            BimiFact(BimiResult.FAIL, "a.example", "d", Authority.NONE, "", L + "x" * 250, preference="brand"),
            "fail",
            "header.d=a.example header.selector=d policy.authority=none",
        ),
        # "=?" may be taken for an encoded word
        (
            BimiFact(BimiResult.FAIL, "a.example", "d", Authority.NONE, "", "https://a.example/x=?utf-8?q?y?="),
            "fail",
            "header.d=a.example header.selector=d policy.authority=none",
        ),
    ],
)
def test_entries(fact: BimiFact, result: str, words: str) -> None:
    assert results(fact) == (result, words)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=50))
def test_hostile_text_stays_inside_the_entry(reason: str, address: str, selector: str) -> None:
    fact = BimiFact(BimiResult.FAIL, "a.example", selector, Authority.FAIL, address, address, reason=reason)
    result, _ = results(fact)
    assert result == "fail"
    value = render_results("mx.example", MessageFacts(Client("192.0.2.1"), "", bimi=fact))
    assert value.isascii()
    assert all(character.isprintable() or character in "\n\t" for character in value)
    assert "dmarc=" not in re.sub(r'"[^"]*"|\([^()]*\)', "", value)


def test_the_names_are_those_of_the_drafts() -> None:
    assert names.RECEIVER_FIELDS == ("BIMI-Location", "BIMI-Indicator", "BIMI-Logo-Preference")
