"""The header as it is signed: canonical fields, which fields h= stands for, the signature's own field."""

from __future__ import annotations

import hashlib
import time

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim.header_hash import Header, relaxed_field
from authmilter.facts import HeaderField
from tests.support import dkim_signer


@pytest.mark.parametrize(
    ("name", "value", "canonical"),
    [
        (b"A", b" X", b"a:X"),  # RFC 6376 §3.4.5
        (b"B ", b" Y\t\r\n\tZ  ", b"b:Y Z"),
        (b"SUBJect", b" AbC", b"subject:AbC"),  # RFC 6376 §3.4.2
        (b"Subject", b"", b"subject:"),
        (b"Subject", b" \r\n ", b"subject:"),
        (b"Subject", b"\r\n\tfolded at once", b"subject:folded at once"),
        (b"Subject", b"a\r\n b\r\n\tc  \t d", b"subject:a b c d"),
        (b"Subject", b" caf\xe9 \xc3\xa4\xa0", b"subject:caf\xe9 \xc3\xa4\xa0"),  # 8-bit octets stay
        (b"Subject", b" a\rb\nc ", b"subject:a\rb\nc"),  # DKIM-36
        (b"Subject", b" a\x0b\x0c ", b"subject:a\x0b\x0c"),
        (b"X\tY \t", b"z", b"x\ty:z"),
    ],
)
def test_relaxed_fields(name: bytes, value: bytes, canonical: bytes) -> None:
    assert relaxed_field(name, value) == canonical


FOLDED = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b"Bc", b":", b";", b"=", b"\xe9", b"     "]), max_size=30
).map(b"".join)


@settings(deadline=None)
@given(st.text("aZ-!~_0", min_size=1).map(str.encode), FOLDED)
def test_relaxed_fields_equal_those_of_the_other_implementation(name: bytes, value: bytes) -> None:
    (theirs,) = Relaxed.canonicalize_headers([(name, value + b"\r\n")])
    assert relaxed_field(name, value) + b"\r\n" == theirs[0] + b":" + theirs[1]


def fields(*lines: bytes) -> list[HeaderField]:
    return [HeaderField(*line.split(b":", 1)) for line in lines]


SIGNATURE = b"DKIM-Signature: b=xyz"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([b"received", b"received"], [3, 2]),  # RFC 6376 §5.4.2: <C>, then <B>
        ([b"received"] * 5, [3, 2, 1]),  # surplus names stand for nothing (DKIM-38)
        ([b"from", b"received", b"from", b"received"], [4, 3, 2]),
        ([b"subject"], []),
        ([b"dkim-signature"] * 3, [6, 5]),  # never the signature itself (DKIM-11)
        ([], []),
    ],
)
def test_which_fields_are_signed(names: list[bytes], chosen: list[int]) -> None:
    header = Header(
        fields(SIGNATURE, b"Received: <A>", b"Received: <B>", b"RECEIVED : <C>", b"From: x", SIGNATURE, SIGNATURE)
    )
    assert header.select(names, 0) == chosen


def test_simple_takes_the_fields_as_they_are() -> None:
    header = Header(fields(b"DKIM-signature:\tv=1; b= x\r\n y ; c=simple", b"B : Y\t\r\n\tZ  ", b"a: \xe9"))
    digest = header.digest([b"a", b"b"], False, 0)
    assert digest == hashlib.sha256(b"a: \xe9\r\nB : Y\t\r\n\tZ  \r\nDKIM-signature:\tv=1; b=; c=simple").digest()


def test_relaxed_shares_fields_between_signatures() -> None:
    header = Header(fields(b"DKIM-Signature: b=x", b"DKIM-Signature: b=y; d=z", b"A:  1"))
    first = hashlib.sha256(b"a:1\r\ndkim-signature:b=y; d=z\r\ndkim-signature:b=").digest()
    assert header.digest([b"a", b"dkim-signature"], True, 0) == first  # another's b= stays (DKIM-39)
    second = hashlib.sha256(b"a:1\r\ndkim-signature:b=; d=z").digest()
    assert header.digest([b"a"], True, 1) == second


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"A", b"a", b"B ", b"From"]), FOLDED), max_size=8), st.booleans())
def test_the_signer_and_the_verifier_choose_the_same(lines: list[tuple[bytes, bytes]], relaxed: bool) -> None:
    message = [HeaderField(name, value) for name, value in lines]
    names = [b"a", b"from", b"b", b"a", b"a", b"b"]
    data, left = b"", list(message)
    for name in names:
        for place in range(len(left) - 1, -1, -1):
            if left[place].name.strip().lower() == name:
                data += dkim_signer.canonical_field(left.pop(place), relaxed) + b"\r\n"
                break
    own = HeaderField(b"DKIM-Signature", b" v=1; b=")
    data += dkim_signer.canonical_field(own, relaxed)
    assert Header([own, *message]).digest(names, relaxed, 0) == hashlib.sha256(data).digest()


def test_large_headers_cost_linear_time() -> None:
    many = [HeaderField(b"X-%d" % (number % 100), b" a  b\t" * 10) for number in range(10_000)]
    long = [HeaderField(b"X-Long", unit * (1_000_000 // len(unit))) for unit in (b" ", b"a  ", b"\r\n ", b"\t", b"\r")]
    own = HeaderField(b"DKIM-Signature", b" v=1; b=x")
    names = [b"x-%d" % (number % 100) for number in range(1000)] + [b"x-long"] * 5
    started = time.process_time()
    header = Header([own, *many, *long])
    for _ in range(10):
        header.digest(names, True, 0)
    assert time.process_time() - started < 1.0
