"""Octets from the network: whatever they are, reading them gives a value, in time."""

from __future__ import annotations

import ipaddress
import struct
import time
from typing import Any

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailcommon.dns import wire
from mailcommon.dns.answer import Tlsa
from mailcommon.dns.values import TYPES, to_values
from tests.support.dns_zone import make_answer, parse_question, parse_zone

NAME = (b"a", b"example")
QUERY = wire.make_query(NAME, TYPES["TXT"])
ZONE = parse_zone('a.example. CNAME b.example.\nb.example. TXT "yes" "no"\n')


def answer_to(query: wire.Query) -> bytes:
    question = parse_question(query.octets)
    assert question is not None
    return query.octets[:2] + make_answer(ZONE, question)[2:]


def message(records: bytes, count: int, section: int = 0, flags: int = 0x8180) -> bytes:
    counts = [0, 0, 0]
    counts[section] = count
    header = QUERY.octets[:2] + struct.pack("!HHHHH", flags, 1, *counts)
    return header + QUERY.octets[12 : QUERY.question_end] + records


def record(rdtype: int, data: bytes, owner: bytes = b"\xc0\x0c", ttl: int = 300) -> bytes:
    return owner + struct.pack("!HHIH", rdtype, 1, ttl, len(data)) + data


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    if QUERY.matches(octets):
        wire.read(octets, QUERY, 16, 10)
    wire.read(message(octets, 3), QUERY, 16, 10)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_answer(data: st.DataObject) -> None:
    octets = bytearray(answer_to(QUERY))
    for _ in range(data.draw(st.integers(1, 5))):
        octets[data.draw(st.integers(12, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(12, len(octets)))
    wire.read(bytes(octets[:cut]), QUERY, 16, 10)


def test_every_cut_of_an_answer_is_malformed() -> None:
    octets = answer_to(QUERY)
    assert wire.read(octets, QUERY, 16, 10) is not None
    for end in range(QUERY.question_end, len(octets)):
        assert wire.read(octets[:end], QUERY, 16, 10) is None


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_name_is_encoded_or_refused(name: str) -> None:
    labels = wire.encode_name(name)
    if labels is not None:
        assert all(0 < len(label) < 64 for label in labels)
        octets = wire.make_query(labels, 16).octets
        assert len(octets) <= 12 + 255 + 4 + 11
        question = parse_question(octets)
        assert question is not None


def test_ids_differ() -> None:
    assert len({wire.make_query(NAME, 16).octets[:2] for _ in range(200)}) > 150


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda octets: octets, True),
        (lambda octets: octets.replace(b"example", b"EXAMple"), True),
        (lambda octets: bytes((octets[0] ^ 1,)) + octets[1:], False),  # id
        (lambda octets: octets[:2] + b"\x01" + octets[3:], False),  # a query
        (lambda octets: octets[:2] + b"\xa9" + octets[3:], False),  # NOTIFY
        (lambda octets: octets.replace(b"example", b"exbmple"), False),
        (lambda octets: octets[: QUERY.question_end - 3] + b"\1" + octets[QUERY.question_end - 2 :], False),  # type
        (lambda octets: octets[:4] + b"\0\2" + octets[6:], False),  # two questions
        (lambda octets: octets[:4] + b"\0\0" + octets[6:], False),  # none
        (lambda octets: octets[:3] + b"\x82\0\0\0\0\0\0\0\0", True),  # SERVFAIL without a question
        (lambda octets: octets[:11], False),
        (lambda _: b"", False),
    ],
)
def test_what_answers_a_query(change: object, expected: bool) -> None:
    assert callable(change)
    assert QUERY.matches(change(answer_to(QUERY))) is expected


def test_a_malformed_tlsa_record_does_not_spoil_the_others() -> None:
    records = record(52, b"\3\1\1" + b"x" * 32) + record(52, b"\3\1\1short") + record(52, b"\3")
    reply = wire.read(message(records, 3), QUERY, 52, 10)
    assert reply is not None
    assert to_values(52, reply.records[NAME])[:2] == (Tlsa(3, 1, 1, b"x" * 32), Tlsa(3, 1, 1, b"short"))


def test_equal_records_count_once() -> None:
    reply = wire.read(message(record(16, b"\3yes") * 3, 3), QUERY, 16, 10)
    assert reply is not None
    assert to_values(16, reply.records[NAME]) == (b"yes",)


def test_a_ttl_with_the_top_bit_is_zero() -> None:
    reply = wire.read(message(record(16, b"\3yes", ttl=0x80000001), 1), QUERY, 16, 10)
    assert reply is not None
    assert reply.ttls == {NAME: 0}


def test_a_pointer_to_itself_is_malformed() -> None:
    at = QUERY.question_end
    assert wire.read(message(record(16, b"\3yes", owner=struct.pack("!H", 0xC000 | at)), 1), QUERY, 16, 10) is None


@pytest.mark.parametrize("rdtype", [16, 15, 5])
def test_a_message_full_of_deep_names_is_read_in_time(rdtype: int) -> None:
    deep = b"\1a" * 120 + b"\0"
    first = record(2, deep, owner=deep)
    target = struct.pack("!H", 0xC000 | QUERY.question_end)
    each = record(
        rdtype, b"\0\1" + target if rdtype == 15 else target if rdtype == 5 else b"\1a", owner=b"\1b" + target
    )
    count = (65535 - len(first) - 100) // len(each)
    octets = message(first + each * count, count + 1)
    began = time.process_time()
    wire.read(octets, QUERY, rdtype, 1000)
    assert time.process_time() - began < 1.0


@settings(deadline=None)
@given(
    st.sampled_from(("A", "AAAA", "TXT")),
    st.binary(max_size=20) | st.lists(st.binary(max_size=20)).map(lambda parts: b"".join(map(_string, parts))),
)
def test_what_is_read_without_dnspython_is_read_as_it_reads_it(rdtype: str, data: bytes) -> None:
    number = TYPES[rdtype]
    query = wire.make_query(NAME, number)
    octets = query.octets[:2] + message(record(number, data), 1)[2:]
    octets = octets[:12] + query.octets[12 : query.question_end] + octets[query.question_end :]
    reply = wire.read(octets, query, number, 10)
    try:
        rdata: Any = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType(number), data, 0, len(data))
    except (dns.exception.DNSException, ValueError):
        assert reply is None
        return
    assert reply is not None
    expected = b"".join(rdata.strings) if rdtype == "TXT" else rdata.address
    values = to_values(number, reply.records[NAME])
    if rdtype == "AAAA":  # two spellings of "::1.2.3.4"
        values, expected = (ipaddress.ip_address(values[0]),), ipaddress.ip_address(expected)
    assert values == (expected,)


def _string(part: bytes) -> bytes:
    return bytes((len(part),)) + part
