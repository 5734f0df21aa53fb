"""The body hash: vectors, any cutting into chunks, what is white space, and bounds on time and memory."""

from __future__ import annotations

import base64
import hashlib
import time
import tracemalloc
from collections.abc import Iterable

import pytest
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authmilter.dkim.body_hash import PIECE, BodyHash
from tests.support import dkim_signer

RELAXED, SIMPLE = True, False


def hashed(chunks: Iterable[bytes], relaxed: bool, limit: int | None = None) -> tuple[bytes, int]:
    body = BodyHash(relaxed, {limit})
    for chunk in chunks:
        body.update(chunk)
    length = body.close()
    assert body.close() == length
    return body.digest(limit), length


def expected(canonical: bytes) -> tuple[bytes, int]:
    return hashlib.sha256(canonical).digest(), len(canonical)


@pytest.mark.parametrize("chunks", [[], [b""], [b"\r\n"], [b"\r", b"\n"], [b"\r\n\r\n", b"", b"\r\n"]])
def test_the_empty_body(chunks: list[bytes]) -> None:
    # RFC 6376 §3.4.3, §3.4.4 (DKIM-34, DKIM-35)
    assert base64.b64encode(hashed(chunks, SIMPLE)[0]) == b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
    assert base64.b64encode(hashed(chunks, RELAXED)[0]) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


CASES = [
    # body, simple, relaxed
    (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),  # RFC 6376 §3.4.5
    (b"a", b"a\r\n", b"a\r\n"),
    (b"a\r\n", b"a\r\n", b"a\r\n"),
    (b"a\r\n\r\n", b"a\r\n", b"a\r\n"),
    (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
    (b" ", b" \r\n", b""),
    (b" \r\n", b" \r\n", b""),
    (b" \r\n\t\r\n", b" \r\n\t\r\n", b""),
    (b"a\r\n \t\r\n\r\n", b"a\r\n \t\r\n", b"a\r\n"),
    (b"a \t", b"a \t\r\n", b"a\r\n"),
    (b"a\t\tb\r\n", b"a\t\tb\r\n", b"a b\r\n"),
    (b"  a\r\n", b"  a\r\n", b" a\r\n"),
    # a lone CR or LF is no line end and no white space (DKIM-36)
    (b"a\r", b"a\r\r\n", b"a\r\r\n"),
    (b"a\n", b"a\n\r\n", b"a\n\r\n"),
    (b"a \n b\r\n", b"a \n b\r\n", b"a \n b\r\n"),
    (b"a \r b\r\n", b"a \r b\r\n", b"a \r b\r\n"),
    (b"a \r", b"a \r\r\n", b"a \r\r\n"),
    (b"a \r\r\n", b"a \r\r\n", b"a \r\r\n"),
    (b"\r", b"\r\r\n", b"\r\r\n"),
    (b"\n", b"\n\r\n", b"\n\r\n"),
    (b"\n\r\n", b"\n\r\n", b"\n\r\n"),
    (b"a\r\n\r\r\n\r\n", b"a\r\n\r\r\n", b"a\r\n\r\r\n"),
    (b"a\r\n\n\r\n\r\n", b"a\r\n\n\r\n", b"a\r\n\n\r\n"),
    (b"a\r\n\n", b"a\r\n\n\r\n", b"a\r\n\n\r\n"),
    (b"a\n\n\n", b"a\n\n\n\r\n", b"a\n\n\n\r\n"),
    (b"a\x0b\x0c \x85\xa0\r\n", b"a\x0b\x0c \x85\xa0\r\n", b"a\x0b\x0c \x85\xa0\r\n"),
    (b"a\x00 \x00\r\n", b"a\x00 \x00\r\n", b"a\x00 \x00\r\n"),
]


@pytest.mark.parametrize(("body", "simple", "relaxed"), CASES)
def test_canonical_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    for cuts in ([body], [body[at : at + 1] for at in range(len(body))], [body[:1], b"", body[1:]]):
        assert hashed(cuts, SIMPLE) == expected(simple)
        assert hashed(cuts, RELAXED) == expected(relaxed)


ODD_BODIES = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc", b".", b"\x00", b"\xc3\xa4", b"    " * 9]),
    max_size=40,
).map(b"".join)
CRLF_BODIES = st.lists(st.text("ab \t\xa0\xff", max_size=12), max_size=12).map(
    lambda lines: b"".join(line.encode("latin-1") + b"\r\n" for line in lines)
)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


@settings(deadline=None)
@given(ODD_BODIES, st.lists(st.integers(0, 500), max_size=8), st.booleans())
@example(b" \r\n", [1, 2], True)
def test_any_cutting_gives_the_hash_of_the_plain_algorithm(body: bytes, places: list[int], relaxed: bool) -> None:
    assert hashed(cut(body, places), relaxed) == expected(dkim_signer.canonical_body(body, relaxed))


@settings(deadline=None)
@given(CRLF_BODIES, st.lists(st.integers(0, 500), max_size=8), st.sampled_from(["simple", "relaxed"]))
def test_any_cutting_gives_the_hash_of_the_other_implementation(body: bytes, places: list[int], word: str) -> None:
    policy = CanonicalizationPolicy.from_c_value(f"simple/{word}".encode())
    assert hashed(cut(body, places), word == "relaxed") == expected(policy.canonicalize_body(body))


@settings(deadline=None)
@given(ODD_BODIES, st.integers(0, 60), st.booleans())
def test_lengths_cut_the_canonical_body(body: bytes, limit: int, relaxed: bool) -> None:
    canonical = dkim_signer.canonical_body(body, relaxed)
    digest, length = hashed(cut(body, [3, 7]), relaxed, limit)
    assert (digest, length) == (hashlib.sha256(canonical[:limit]).digest(), len(canonical))


def test_several_lengths_share_one_pass() -> None:
    body = BodyHash(RELAXED, {None, 0, 3, 1000, 10**76 - 1})
    body.update(b"ab  cd \r\n")
    assert body.close() == 7
    canonical = b"ab cd\r\n"
    for limit in (None, 0, 3, 1000, 10**76 - 1):
        assert body.digest(limit) == hashlib.sha256(canonical[:limit]).digest()


def test_a_body_is_read_no_further_than_its_lengths_need() -> None:
    body = BodyHash(SIMPLE, {3, 5})
    body.update(b"abcde")
    assert not body.sated  # whether anything follows is not known
    body.update(b"\r\n")
    assert not body.sated
    body.update(b"x")
    assert body.sated
    whole = BodyHash(SIMPLE, {3, None})
    whole.update(b"abcdefgh")
    assert not whole.sated


LARGE = [
    b" ",
    b"\t ",
    b"\r\n",
    b"\r",
    b"\n",
    b" \r\n",
    b"a ",
    b"a  ",
    b"x",
    b"\r\r\n",
    b"\n\r",
    b" " * 60_000 + b"a b c d " * 500,
]


@pytest.mark.parametrize("relaxed", [SIMPLE, RELAXED])
@pytest.mark.parametrize("unit", LARGE, ids=lambda unit: repr(unit[:6]))
def test_a_large_body_costs_linear_time_and_no_memory(unit: bytes, relaxed: bool) -> None:
    chunk = (unit * (PIECE // len(unit) + 1))[: PIECE - 1]
    body = BodyHash(relaxed, {None, 100_000_000})
    tracemalloc.start()
    try:
        for _ in range(8):
            body.update(chunk)
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(56):
            body.update(chunk)
        last, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last - first < 10_000
    assert peak < 12 * PIECE
    started = time.process_time()
    for _ in range(64):  # 4 MB
        body.update(chunk)
    body.close()
    assert time.process_time() - started < 1.0


def test_one_chunk_of_any_size_is_worked_on_in_pieces() -> None:
    chunk = b"line of text \r\n" * 1_000_000
    body = BodyHash(RELAXED, {None})
    tracemalloc.start()
    try:
        body.update(chunk)
        assert tracemalloc.get_traced_memory()[1] < 8 * PIECE
    finally:
        tracemalloc.stop()
    body.close()
    assert body.digest(None) == hashlib.sha256(b"line of text\r\n" * 1_000_000).digest()
