"""The TLSRPT record (RFC 8460 §3): which records count, and what of a hostile rua is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.tlsrpt.record import Place, record_name, select


def places(text: str) -> list[str]:
    return [str(place) for place in select([text.encode()]).places]


def test_where_it_is() -> None:
    assert record_name("a.example") == "_smtp._tls.a.example"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=TLSRPTv1;rua=mailto:reports@example.com", ["mailto:reports@example.com"]),  # RFC 8460 §3.1.1
        ("v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt", ["https://reporting.example.com/v1/tlsrpt"]),
        ("v=TLSRPTv1 ; rua=mailto:a@b.example ;", ["mailto:a@b.example"]),
        ("v=TLSRPTv1;rua=mailto:a@b.example , https://c.example/", ["mailto:a@b.example", "https://c.example/"]),
        ("v=TLSRPTv1; x=1; rua=mailto:a@b.example; y=2", ["mailto:a@b.example"]),
        ("v=TLSRPTv1; x; ; rua=mailto:a@b.example", ["mailto:a@b.example"]),
        ("v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:c@d.example", ["mailto:a@b.example"]),
        ("v=TLSRPTv1; rua=MAILTO:a@B.Example", ["mailto:a@b.example"]),
        ("v=TLSRPTv1; rua=mailto:a%2Bb@b.example", ["mailto:a+b@b.example"]),
        ("v=TLSRPTv1; rua=mailto:a@b.example,mailto:a@b.example", ["mailto:a@b.example"]),
        ("v=TLSRPTv1; rua=https://c.example:8443/a?b=c%2Cd", ["https://c.example:8443/a?b=c%2Cd"]),
    ],
)
def test_tlsrpt_1_2_records(record: str, expected: list[str]) -> None:
    assert places(record) == expected


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([], "no TLSRPT record"),
        (["v=spf1 -all"], "no TLSRPT record"),
        (["v=TLSRPTv2; rua=mailto:a@b.example"], "no TLSRPT record"),
        (["v=TLSRPTv12; rua=mailto:a@b.example"], "no TLSRPT record"),
        (["V=TLSRPTv1; rua=mailto:a@b.example"], "no TLSRPT record"),
        ([" v=TLSRPTv1; rua=mailto:a@b.example"], "no TLSRPT record"),
        (["v=TLSRPTv1; rua=mailto:a@b.example"] * 2, "more than one TLSRPT record"),
        (["v=TLSRPTv1"], "the TLSRPT record names no place (rua)"),
        (["v=TLSRPTv1; RUA=mailto:a@b.example"], "the TLSRPT record names no place (rua)"),
        (["v=TLSRPTv1; rua="], "the TLSRPT record names no place that can be used"),
        (["v=TLSRPTv1; x=" + "y" * 5000], "the TLSRPT record has more than 5000 octets"),
    ],
)
def test_tlsrpt_1_no_reports(records: list[str], reason: str) -> None:
    wanted = select([record.encode() for record in records])
    assert (wanted.places, wanted.reason) == ((), reason)


def test_tlsrpt_1_other_records_are_discarded() -> None:
    wanted = select([b"v=spf1 -all", b"v=TLSRPTv1; rua=mailto:a@b.example", b"\xff\x00"])
    assert wanted.places == (Place(mailto="a@b.example"),)


HOSTILE = [
    "mailto:",
    "mailto:a",
    "mailto:@b.example",
    "mailto:a@",
    "mailto:a@localhost",
    "mailto:a@[192.0.2.1]",
    "mailto:a@192.0.2.1",
    "mailto:a@b_c.example",
    "mailto:a%0d%0aBcc:%20x@b.example",
    "mailto:a%0aX:%20y@b.example",
    "mailto:a%00@b.example",
    "mailto:%22a b%22@b.example",
    "mailto:a%20b@b.example",
    "mailto:a,b@c.example",
    "mailto:<a@b.example>",
    "mailto:a@b.example%3E%0ARCPT",
    "mailto:" + "a" * 65 + "@b.example",
    "mailto:a@" + "b" * 64 + ".example",
    "mailto:a!b@c.example",
    "mailto:ü@b.example",
    "mailto://a@b.example",
    "mailto:-oQ/tmp@b.example",
    "mailto:|x@b.example",
    "http://c.example/",
    "ftp://c.example/",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "https:c.example",
    "https://",
    "https://localhost/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://c.example:0/",
    "https://c.example:99999/",
    "https://c.example:x/",
    "https://user:secret@c.example/",
    "https://c.example/#x",
    "https://c.exa mple/",
    "https://c.example/\r\nX: y",
    "https://c_d.example/",
    "https://c.example/" + "x" * 500,
    "https://[c.example/",
    "https://2130706433/",
]


@pytest.mark.parametrize("uri", HOSTILE)
def test_uris_that_are_not_used(uri: str) -> None:
    assert places(f"v=TLSRPTv1; rua={uri}") == []
    assert places(f"v=TLSRPTv1; rua={uri}, mailto:good@b.example") == ["mailto:good@b.example"]


def test_parameters_of_a_mailto_are_left_off() -> None:
    assert places("v=TLSRPTv1; rua=mailto:a@b.example?subject=x&bcc=y@z.example") == ["mailto:a@b.example"]


def test_no_more_than_ten_places() -> None:
    many = ",".join(f"mailto:a{number}@b.example" for number in range(200))
    assert places(f"v=TLSRPTv1; rua={many}") == [f"mailto:a{number}@b.example" for number in range(10)]


def test_what_is_not_used_is_told() -> None:
    assert select([b"v=TLSRPTv1; rua=ftp://x.example, mailto:a@b.example"]).ignored == ("ftp://x.example",)


@given(st.lists(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"v=TLSRPTv1; rua={text}".encode())))
def test_whatever_the_records_say(records: list[bytes]) -> None:
    wanted = select(records)
    assert bool(wanted.places) is not bool(wanted.reason)
    for place in wanted.places:
        text = str(place)
        assert text.isascii()
        assert text.isprintable()
        assert not set(' <>"\r\n') & set(place.mailto)
        assert bool(place.mailto) is not bool(place.https)
