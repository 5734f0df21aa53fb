"""The MTA-STS TXT record (RFC 8461 §3.1): what signals a policy and what does not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.sts.record import record_name, select


@pytest.mark.parametrize(
    ("record", "id_"),
    [
        (b"v=STSv1; id=20160831085700Z;", "20160831085700Z"),  # RFC 8461 §3.1, the example
        (b"v=STSv1; id=20160831085700Z", "20160831085700Z"),
        (b"v=STSv1;id=1", "1"),
        (b"v=STSv1 ; id=1", "1"),  # STS-2, erratum 6285
        (b"v=STSv1\t;\tid=1\t;\t", "1"),
        (b"v=STSv1;id=" + b"a" * 32, "a" * 32),
        (b"v=STSv1; id=AbC; ID=x", "AbC"),  # STS-3: letter case counts
        (b"v=STSv1; id=1; id=2", "1"),  # STS-3, RFC 8461 §3.2: the first counts
        (b"v=STSv1; id=1; id=not-an-id", "1"),
        (b"v=STSv1; foo=bar; id=1", "1"),  # STS-4
        (b"v=STSv1; id=1; a_b-c.d=!:<>~", "1"),
        (b"v=STSv1; " + b"x" * 32 + b"=y; id=1", "1"),
        (b"v=STSv1; v=STSv2; id=1", "1"),
    ],
)
def test_sts1_sts3_sts4_records(record: bytes, id_: str) -> None:
    signal = select([record])
    assert (signal.id, signal.reason) == (id_, "")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"v=STSv1;", "no id"),
        (b"v=STSv1; ", "no id"),
        (b"v=STSv1; foo=bar", "no id"),
        (b"v=STSv1; ID=1", "no id"),
        (b"v=STSv1; id=", "name=value"),
        (b"v=STSv1; id", "name=value"),
        (b"v=STSv1; id=a-b", "letters and digits"),
        (b"v=STSv1; id=" + b"a" * 33, "letters and digits"),
        (b"v=STSv1; id=\xc3\xa4", "name=value"),
        (b"v=STSv1; id=a=b", "name=value"),
        (b"v=STSv1; id=a b", "name=value"),
        (b"v=STSv1; id =1", "name=value"),
        (b"v=STSv1; id= 1", "name=value"),
        (b"v=STSv1;; id=1", "name=value"),
        (b"v=STSv1; id=1;;", "name=value"),
        (b"v=STSv1; id=1; ;", "name=value"),
        (b"v=STSv1; id=1; _x=1", "name=value"),
        (b"v=STSv1; id=1; " + b"x" * 33 + b"=y", "name=value"),
        (b"v=STSv1; id=1; x=a\x00b", "name=value"),
        (b"v=STSv1; id=1\n", "name=value"),
        (b"v=STSv1; id=1; id", "name=value"),
        (b"v=STSv1; id=1 ", "white space"),
        (b"v=STSv1; id=bad-one; id=good", "letters and digits"),  # the first counts
    ],
)
def test_sts4_records_that_are_not_valid(record: bytes, words: str) -> None:
    signal = select([record])
    assert signal.id == ""
    assert words in signal.reason


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"v=STSv1",
        b" v=STSv1; id=1",
        b"v=stsv1; id=1",
        b"V=STSv1; id=1",
        b"v=STSv2; id=1",
        b"v=STSv11; id=1",
        b"v = STSv1; id=1",
        b'"v=STSv1; id=1"',
        b"v=STSv1, id=1",
        b"v=STSv1 id=1",
        b"id=1; v=STSv1;",
        b"v=spf1 -all",
    ],
)
def test_sts2_records_that_are_discarded(record: bytes) -> None:
    assert select([record]).id == ""
    assert select([record]).reason == ""
    assert select([record, b"v=STSv1; id=1"]).id == "1"


@pytest.mark.parametrize(
    "records",
    [
        [b"v=STSv1; id=1", b"v=STSv1; id=2"],
        [b"v=STSv1; id=1", b"v=STSv1; id=1"],
        [b"v=STSv1; id=1", b"v=STSv1; rubbish"],  # discarding comes before reading
    ],
)
def test_sts2_more_than_one_record(records: list[bytes]) -> None:
    signal = select(records)
    assert signal.id == ""
    assert "2 TXT records" in signal.reason


def test_no_record() -> None:
    assert select([]).id == ""


def test_sts6_the_record_is_that_of_the_domain_itself() -> None:
    assert record_name("mail.example.com") == "_mta-sts.mail.example.com"


@given(st.lists(st.one_of(st.binary(), st.binary().map(lambda rest: b"v=STSv1;" + rest)), max_size=4))
def test_any_octets(records: list[bytes]) -> None:
    signal = select(records)
    assert signal.id == "" or (signal.id.isascii() and signal.id.isalnum() and len(signal.id) <= 32)
    assert not (signal.id and signal.reason)
    assert signal.reason.isascii()


_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}", fullmatch=True).filter(lambda name: name not in ("id",))
_values = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=";="), min_size=1, max_size=40
)


@given(
    st.lists(st.tuples(_names, _values), max_size=5),
    st.lists(st.tuples(_names, _values), max_size=5),
    st.from_regex(r"[A-Za-z0-9]{1,32}", fullmatch=True),
    st.text(" \t", max_size=3),
    st.booleans(),
)
def test_whatever_the_grammar_allows_is_read(
    before: list[tuple[str, str]], after: list[tuple[str, str]], id_: str, blank: str, end: bool
) -> None:
    fields = [f"{name}={value}" for name, value in (*before, ("id", id_), *after)]
    text = f"{blank};{blank}".join(("v=STSv1", *fields)) + (f"{blank};{blank}" if end else "")
    assert select([text.encode()]).id == id_


@pytest.mark.parametrize(
    "filler", [b";", b" ", b"a=b;", b"a=b; ", b"=", b"id=", b"x" * 32 + b"=y;", b"v=STSv1;", b" ;\t"]
)
def test_rubbish_costs_no_more_than_its_length(filler: bytes) -> None:
    record = b"v=STSv1;" + filler * (1_000_000 // len(filler))
    start = time.process_time()
    select([record])
    assert time.process_time() - start < 1.0
