"""Netstrings, cut anywhere and spoiled anyhow."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd import netstring
from tlspolicyd.netstring import Reader, encode


def read_all(reader: Reader) -> list[bytes]:
    strings = []
    while (string := reader.next()) is not None:
        strings.append(string)
    return strings


@pytest.mark.parametrize("string", [b"", b"a", b"policy a.example", b",", b"3:abc,", b"\0" * 9, b"x" * 100_000])
def test_round_trip(string: bytes) -> None:
    reader = Reader()
    reader.feed(encode(string))
    assert reader.next() == string
    assert reader.next() is None
    assert reader.pending == 0
    assert reader.fault == ""


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_any_cutting_gives_the_same_strings(strings: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(map(encode, strings))
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=10).map(sorted))
    reader, got = Reader(), []
    for start, end in pairwise([0, *cuts, len(octets)]):
        reader.feed(octets[start:end])
        got += read_all(reader)
    assert got == strings
    assert reader.pending == 0
    assert reader.fault == ""


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"x", "is not a number"),
        (b"-1:a,", "is not a number"),
        (b"+1:a,", "is not a number"),
        (b" 1:a,", "is not a number"),
        (b"1x:a,", "is not a number"),
        (b"0x1:a,", "is not a number"),
        (b"1 :a,", "is not a number"),
        (b"\0", "is not a number"),
        (b"GET / HTTP/1.1\r\n", "is not a number"),
        (b"\x16\x03\x01\x02\x00\x01", "is not a number"),  # somebody speaks TLS
        ("²:aa,".encode(), "is not a number"),
        (b":,", "without length"),
        (b"00:,", "leading zero"),
        (b"01:a,", "leading zero"),
        (b"01", "leading zero"),
        (b"0000000000000", "leading zero"),
        (b"100001:", "more than 100000"),
        (b"999999", "more than 100000"),
        (b"1000000", "more than 100000"),
        (b"99999999999999999999999999999", "more than 100000"),
        (b"1" * 100_000, "more than 100000"),
        (b"1:ab", "no comma"),
        (b"0:x", "no comma"),
        (b"3:abc\n", "no comma"),
    ],
)
def test_faults(octets: bytes, fault: str) -> None:
    reader = Reader()
    reader.feed(b"2:ok," + octets)
    assert reader.next() == b"ok"
    assert reader.next() is None
    assert fault in reader.fault
    reader.feed(b"2:ok,")
    assert reader.next() is None


@pytest.mark.parametrize("octets", [b"", b"1", b"100000", b"100000:", b"5:abcd", b"5:abcde", b"0", b"0:"])
def test_not_whole_yet(octets: bytes) -> None:
    reader = Reader()
    reader.feed(octets)
    assert reader.next() is None
    assert reader.fault == ""
    assert reader.pending == len(octets)


@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    reader = Reader()
    reader.feed(octets)
    strings = read_all(reader)
    # what was read is what was there
    assert octets.startswith(b"".join(map(encode, strings)))


def test_octet_by_octet_and_many_at_once_cost_linear_time() -> None:
    begun = time.process_time()
    reader = Reader()
    for octet in encode(b"x" * netstring.LIMIT):
        reader.feed(bytes((octet,)))
        whole = reader.next()
    assert whole is not None
    reader.feed(b"0:," * 400_000)
    assert len(read_all(reader)) == 400_000
    assert time.process_time() - begun < 4.0
