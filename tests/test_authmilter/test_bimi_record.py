"""One BIMI record, tag by tag (BIMI-10 to BIMI-16)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.bimi import uri
from authmilter.bimi.record import Record, parse
from authmilter.bimi.uri import Uri

L = "https://a.example/logo.svg"
A = "https://a.example/mark.pem"


def good(text: str) -> Record:
    record = parse(text.encode())
    assert record is not None
    assert record.fault == ""
    return record


@pytest.mark.parametrize(
    "text",
    [
        f"v=BIMI1; l={L}",
        f"v=BIMI1;l={L};",
        f" v = BIMI1 ;\tl = {L} ; ",
        f"v=BIMI1; a=; l={L}",
        f"v=BIMI1; x=y; l={L}; z=z",  # BIMI-15
        f"v=BIMI1; l={L}; avp=Brand",  # BIMI-13: an invalid one is ignored
        f"v=BIMI1; l={L}; avp=",
        f"v=BIMI1; l={L}; L=x; A=y",  # other tags than l and a
    ],
)
def test_a_location_alone(text: str) -> None:
    assert good(text) == Record(Uri(L, "a.example", "/logo.svg"))


def test_all_tags() -> None:
    record = good(f"v=BIMI1; lps = One-a , two; avp=personal; a={A}; l={L}")
    assert record.location
    assert record.evidence
    assert (record.location.text, record.evidence.text) == (L, A)
    assert (record.preference, record.prefixes) == ("personal", ("one-a", "two"))
    assert good(f"v=BIMI1; l={L}; avp=brand").preference == "brand"
    assert good(f"v=BIMI1; l={L}; lps=").prefixes == ()
    assert good(f"v=BIMI1; l={L}").prefixes is None


@pytest.mark.parametrize("text", ["v=BIMI1; l=; a=;", "v=BIMI1;l=", "v=BIMI1; l=; lps=x", "v=BIMI1; a=; l="])
def test_declination(text: str) -> None:
    """BIMI-16."""
    assert good(text).declines
    assert not good(f"v=BIMI1; l=; a={A}").declines
    assert not good(f"v=BIMI1; l={L}").declines


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=BIMI2; l=",
        "v=bimi1; l=",
        "V=BIMI1; l=",
        f"l={L}; v=BIMI1",
        "v=BIMI10; l=",
        "v=BIMI1x",
        "v=\xa0BIMI1;",
        "x",
    ],
)
def test_what_is_no_record_at_all(text: str) -> None:
    """BIMI-10: nothing is repaired."""
    assert parse(text.encode()) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("v=BIMI1", "it has no l="),
        (f"v=BIMI1; a={A}", "it has no l="),
        (f"v=BIMI1; L={L}", "it has no l="),
        (f"v=BIMI1; l={L}; l={L}", "it is no list of tags, or has a tag twice"),
        (f"v=BIMI1; l={L}; ; a=", "it is no list of tags, or has a tag twice"),
        (f"v=BIMI1; l={L} a={A}", "l= cannot be used: it is no URI, or has a part that must be percent-encoded"),
        (f"v=BIMI1; l={L},{L}", "l= cannot be used: it is no URI, or has a part that must be percent-encoded"),
        ("v=BIMI1; l=https://a.exämple/x.svg", "it has octets that are not ASCII"),
        ("v=BIMI1; l=http://a.example/x.svg", "l= cannot be used: it begins with http:, not https:"),
        (
            "v=BIMI1; l=data:image/svg+xml",
            "l= cannot be used: it is no URI, or has a part that must be percent-encoded",
        ),
        ("v=BIMI1; l=https:/a.example/x", "l= cannot be used: '' is no full host name"),
        ("v=BIMI1; l=https://u:p@a.example/x", "l= cannot be used: it has a user name"),
        ("v=BIMI1; l=https://a.example:8443/x", "l= cannot be used: it names another port than 443"),
        ("v=BIMI1; l=https://localhost/x", "l= cannot be used: 'localhost' is no full host name"),
        ("v=BIMI1; l=https://127.0.0.1/x", "l= cannot be used: '127.0.0.1' is no full host name"),
        ("v=BIMI1; l=https://[::1]/x", "l= cannot be used: it names another port than 443"),
        ("v=BIMI1; l=https://a.example/" + "x" * 800, "l= cannot be used: it is longer than 800 characters"),
        ("v=BIMI1; l=https://a.example/x.png", "l= is a .png, no SVG"),
        ("v=BIMI1; l=https://a.example/x.JPG?svg", "l= is a .jpg, no SVG"),
        (f"v=BIMI1; l={L}; a=x", "a= cannot be used: it is no URI, or has a part that must be percent-encoded"),
        (f"v=BIMI1; l={L}; lps=a b", "lps= has something that is no prefix of a local part"),
        (f"v=BIMI1; l={L}; lps=a,,b", "lps= has something that is no prefix of a local part"),
        (f"v=BIMI1; l={L}; lps=" + "x" * 64, "lps= has something that is no prefix of a local part"),
        (f"v=BIMI1; l={L}; lps=" + ",".join("x" * 101), "lps= has something that is no prefix of a local part"),
    ],
)
def test_broken_records(text: str, fault: str) -> None:
    record = parse(text.encode())
    assert record is not None
    assert record.fault == fault
    assert not record.declines


@pytest.mark.parametrize(
    "target", ["/x.svg", "/x.svgz", "/x", "/", "", "/x.svg?v=1", "/a%2Cb.SVG", "/logo.php", "/.well-known/x"]
)
def test_locations_that_may_be_an_svg(target: str) -> None:
    """BIMI-11: a suffix that says nothing, or none, may serve one."""
    record = good(f"v=BIMI1; l=https://a.example{target}")
    assert record.location
    assert record.location.target == (target or "/")


def test_a_host_is_compared_in_small_letters_and_kept_as_written() -> None:
    found = uri.parse("HTTPS://A.Example:443/X")
    assert isinstance(found, Uri)
    assert (found.text, found.host, found.target) == ("HTTPS://A.Example:443/X", "a.example", "/X")


@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    for text in (octets, b"v=BIMI1;" + octets, b"v=BIMI1; l=https://" + octets):
        record = parse(text)
        if record and record.location:
            assert record.location.text.isascii()
            assert record.location.text.isprintable()
            assert not set(record.location.text) & set(' ",;<>\\')
