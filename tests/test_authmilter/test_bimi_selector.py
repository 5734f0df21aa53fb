"""Which selector a message asks for, and which one a local part makes (BIMI-18, BIMI-19, BIMI-21)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.bimi.selector import chosen, is_selector, of_local_part, parse
from authmilter.facts import DkimFact, DkimResult, HeaderField


@pytest.mark.parametrize(
    ("value", "selector"),
    [
        (b" v=BIMI1; s=brand", "brand"),
        (b"v=BIMI1;s=Brand;", "brand"),
        (b" v = BIMI1 ;\r\n\ts = a.b-c ; ", "a.b-c"),
        (b" v=BIMI1; x=y; s=brand", "brand"),
        (b" s=brand", None),
        (b" s=brand; v=BIMI1", None),
        (b" v=BIMI2; s=brand", None),
        (b" v=bimi1; s=brand", None),
        (b" v=BIMI1", None),
        (b" v=BIMI1; s=", None),
        (b" v=BIMI1; s=a_b", None),
        (b" v=BIMI1; s=a..b", None),
        (b" v=BIMI1; s=-a", None),
        (b" v=BIMI1; s=a; s=b", None),
        (b" v=BIMI1; s=a/../b", None),
        (b" v=BIMI1; s=\xc3\xa4", None),
        (b" v=BIMI1; s=" + b"a." * 150 + b"a", None),
        (b" v=BIMI1; s=brand; x=" + b"x" * 1_000, None),
        (b"", None),
    ],
)
def test_the_field(value: bytes, selector: str | None) -> None:
    assert parse(value) == selector


def signature(
    domain: str = "a.example", signed: str = "from bimi-selector", result: DkimResult = DkimResult.PASS
) -> DkimFact:
    return DkimFact(result, domain, signed=tuple(signed.split()))


FIELD = HeaderField(b"BIMI-Selector", b" v=BIMI1; s=brand")


@pytest.mark.parametrize(
    ("fields", "dkim", "selector"),
    [
        ([FIELD], [signature()], "brand"),
        ([FIELD], [signature("b.example"), signature()], "brand"),
        ([HeaderField(b"bimi-SELECTOR ", FIELD.value)], [signature()], "brand"),
        ([], [signature()], "default"),
        ([FIELD], [], "default"),
        ([FIELD], [signature(signed="from")], "default"),
        ([FIELD], [signature("b.example")], "default"),  # not aligned
        ([FIELD], [signature(result=DkimResult.FAIL)], "default"),
        ([FIELD], [signature(result=DkimResult.POLICY)], "default"),
        ([FIELD], [signature(signed="from"), signature("b.example")], "default"),
        ([FIELD, FIELD], [signature(signed="from bimi-selector bimi-selector")], "default"),
        ([HeaderField(b"BIMI-Selector", b" s=brand")], [signature()], "default"),
    ],
)
def test_only_a_field_that_the_author_signed_counts(
    fields: list[HeaderField], dkim: list[DkimFact], selector: str
) -> None:
    assert chosen(fields, dkim, ("a.example",)) == selector


@pytest.mark.parametrize(
    ("local_part", "prefixes", "selector"),
    [
        ("brand-one", (), "brand-one"),
        ("Brand_One.two+news", (), "brand-one-two"),
        ("a__.._b", (), "a-b"),
        ("a--b", (), "a-b"),
        ("_a-", (), "a"),
        ("...", (), ""),
        ("+x", (), ""),
        ("", (), ""),
        ("a!b", (), ""),
        ("ä", (), ""),
        ("a b", (), ""),
        ("x" * 63, (), "x" * 63),
        ("x" * 64, (), ""),
        ("Brand-Indicator-x", ("other", "brand-indicator-"), "brand-indicator-x"),
        ("brand", ("brand-",), ""),
        ("xbrand-", ("brand",), ""),
    ],
)
def test_local_parts(local_part: str, prefixes: tuple[str, ...], selector: str) -> None:
    assert of_local_part(local_part, prefixes) == selector


@given(st.text(max_size=100))
def test_what_a_local_part_makes_is_a_label(text: str) -> None:
    found = of_local_part(text, ())
    assert found == "" or is_selector(found)
