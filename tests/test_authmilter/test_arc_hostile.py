"""What a hostile sender may make of ARC fields: nothing raises, nothing takes long, nothing passes that should not."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.arc.chain import instance_of, read, split_results
from authmilter.arc.check import ArcCheck
from authmilter.arc.settings import ArcSettings
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import ArcFact, ArcResult, HeaderField
from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, make_key, split_message
from tests.support.dkim_zone import TxtTable

KEY = make_key(bits=1024)
ZONE = TxtTable({"s._domainkey.one.example": dns_record(KEY)})
PLAIN = b"From: a@one.example\r\nTo: b@one.example\r\nSubject: x\r\nDate: today\r\n\r\nHello\r\n"


def sealed(count: int, message: bytes = PLAIN, signed: str = "from:to:subject:date") -> bytes:
    for _ in range(count):
        message = seal(message, "one.example", "s", KEY, signed=signed)
    return message


GOOD = split_message(sealed(2))


def finish(fields: list[HeaderField], body: bytes = b"Hello\r\n") -> ArcFact:
    bodies = Bodies()
    check = ArcCheck(Header(fields), bodies, ArcSettings(), DkimSettings(), 1_790_000_000.0)
    assert len(check.key_names) <= 20
    bodies.update(body)
    return check.finish(ZONE)


NAMES = st.sampled_from([b"ARC-Seal", b"arc-message-signature ", b"ARC-Authentication-Results", b"From", b"", b"\xff"])
PIECES = st.sampled_from(
    [
        b" i=1;",
        b" i=2;",
        b"i",
        b"=",
        b";",
        b" cv=none;",
        b" cv=pass",
        b"(",
        b")",
        b"\\",
        b'"',
        b"\r\n ",
        b"\x00",
        b"\xe9",
    ]
)
VALUES = (
    st.binary(max_size=60)
    | st.lists(PIECES, max_size=12).map(b"".join)
    | st.sampled_from([field.value for field in GOOD[0]])
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.builds(HeaderField, NAMES, VALUES), max_size=8), st.binary(max_size=60))
def test_any_message_is_answered(fields: list[HeaderField], body: bytes) -> None:
    fact = finish(fields, body)
    assert fact.result is not ArcResult.PASS
    assert bool(fact.reason) == (fact.result is ArcResult.FAIL)


@given(st.binary(max_size=60) | st.lists(PIECES, max_size=12).map(b"".join))
def test_any_results_field_is_read_or_not(value: bytes) -> None:
    found = split_results(value)
    if found:
        instance, claims = found
        assert 1 <= instance <= 50
        assert "\r\n" not in claims
        claims.encode()
        assert b"i" in value
        assert b";" in value


@given(st.binary(max_size=6))
def test_any_instance(raw: bytes) -> None:
    number = instance_of(raw)
    assert (number is not None) == (len(raw) in (1, 2) and raw.isdigit() and 1 <= int(raw) <= 50)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_chain_never_passes(data: st.DataObject) -> None:
    fields, body = list(GOOD[0]), GOOD[1]
    place = data.draw(st.integers(0, 5))
    value = bytearray(fields[place].value)
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    blank = bytes.maketrans(b"\t", b" ")
    same = bytes(value).translate(blank, b"\r\n").split() == fields[place].value.translate(blank, b"\r\n").split()
    fields[place] = HeaderField(fields[place].name, bytes(value))
    fact = finish(fields, body)
    # blanks in b= and the spare bits of its last digit mean nothing
    without_b = [bytes(octets).rpartition(b" b=")[0] for octets in (value, GOOD[0][place].value)]
    assert fact.result is not ArcResult.PASS or same or without_b[0] == without_b[1]


def numbered(count: int, name: bytes, text: str) -> list[HeaderField]:
    return [HeaderField(name, text.format(i=n % 50 + 1).encode()) for n in range(count)]


SEAL = " i={i}; a=rsa-sha256; cv=pass; d=x.example; s=s; b=AAAA"
TRIPLE = [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]
BIG = [HeaderField(b"X-Big", b"x" * 65_000)] * 50
# the whole header has 4 MB at most (transaction.MAX_HEADER_BYTES)
HOSTILE = {
    "10,000 seals": numbered(10_000, b"ARC-Seal", SEAL),
    "10,000 seals of one instance": numbered(1, b"ARC-Seal", SEAL) * 10_000,
    "10,000 results fields": numbered(10_000, b"ARC-Authentication-Results", " i={i}; x"),
    "instances of 60,000 digits": [HeaderField(name, b" i=" + b"9" * 60_000 + b"; x") for name in TRIPLE] * 50,
    "comments in comments": [HeaderField(TRIPLE[2], b"(" * 60_000 + b"i=1;")] * 60,
    "comments": [HeaderField(TRIPLE[2], b"()" * 30_000 + b"i=1;")] * 60,
    "quoted pairs": [HeaderField(TRIPLE[2], b"(" + b"\\(" * 30_000 + b")i=1;")] * 60,
    "seals as large as allowed": [HeaderField(b"ARC-Seal", b" i=1; x=" + b"x\r\n " * 16_000)] * 150,
    "60,000 tags": [HeaderField(b"ARC-Seal", b" i=1;" + b"a=b;" * 15_000)] * 150,
    "larger than allowed": [HeaderField(name, b" i=1; " + b"x" * 1_000_000) for name in TRIPLE] * 4,
    "random octets": [HeaderField(name, os.urandom(60_000)) for name in TRIPLE] * 10,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_fields_are_cheap(case: str) -> None:
    fields = HOSTILE[case]
    finish(fields)
    started = time.process_time()
    assert finish(fields).result is ArcResult.FAIL
    assert time.process_time() - started < 0.1


def test_fifty_good_sets_over_a_large_header_are_cheap() -> None:
    """The most that a sender with a key of his own can make us do."""
    message = sealed(50)
    fields, body = split_message(message)
    assert finish(fields, body).result is ArcResult.PASS
    wide = "from:to:subject:date:" + ":".join(["x-big"] * 50)
    fields, body = split_message(sealed(50, b"".join(b"X-Big:" + f.value + b"\r\n" for f in BIG) + PLAIN, wide))
    started = time.process_time()
    assert finish(fields, body).result is ArcResult.PASS
    assert time.process_time() - started < 0.5


def test_large_fields_in_a_long_chain_are_hashed_once() -> None:
    message = PLAIN
    for _ in range(50):
        message = seal(message, "one.example", "s", KEY, results="x" * 60_000)
    fields, body = split_message(message)
    started = time.process_time()
    assert finish(fields, body).result is ArcResult.PASS
    assert time.process_time() - started < 0.3


def test_keys_of_many_strangers_are_not_asked_for() -> None:
    fields = []
    for n in range(50, 0, -1):
        signature = f" i={n}; a=rsa-sha256; d=v{n}.example; s=s{n}; b=AAAA"
        fields.append(HeaderField(b"ARC-Seal", f"{signature}; cv={'none' if n == 1 else 'pass'}".encode()))
        fields.append(HeaderField(b"ARC-Message-Signature", f"{signature}; h=from; bh=AAAA".encode()))
        fields.append(HeaderField(b"ARC-Authentication-Results", f" i={n}; x".encode()))
    check = ArcCheck(Header(fields), Bodies(), ArcSettings(), DkimSettings(), 0.0)
    assert len(read(Header(fields)).links) == 50
    assert check.key_names == ()
    assert check.finish(ZONE).reason == "it needs more than 20 keys"
