"""Requests and fixed replies as socketmap_table(5) has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd import socketmap
from tlspolicyd.socketmap import Request, read_request, write_reply, write_request


@pytest.mark.parametrize(
    ("string", "request_"),
    [
        (b"policy a.example", Request(b"policy", b"a.example")),
        (b"policy ", Request(b"policy", b"")),
        (b"policy a b", Request(b"policy", b"a b")),
        (b"policy  a", Request(b"policy", b" a")),
        (b"policy \xff\n", Request(b"policy", b"\xff\n")),
        (b"", None),
        (b" ", None),
        (b" a.example", None),
        (b"policy", None),
        (b"policy\ta.example", None),
        (b"policy a.exam\0ple", None),
        (b"pol\0icy a.example", None),
    ],
)
def test_requests(string: bytes, request_: Request | None) -> None:
    assert read_request(string) == request_


@given(st.binary(max_size=100))
def test_any_string(string: bytes) -> None:
    request = read_request(string)
    assert request is None or write_request(request.map, request.key).endswith(b":" + string + b",")


def test_replies() -> None:
    assert write_reply(socketmap.NOT_FOUND) == b"9:NOTFOUND ,"  # PFX-32: the blank stays
    assert b"policy and policy-tlsrpt" in socketmap.UNKNOWN_MAP
    for reply in (socketmap.UNKNOWN_MAP, socketmap.FAULT, socketmap.TOO_LONG):
        assert reply.decode("ascii").isprintable()


def test_a_reply_that_postfix_would_not_read_is_replaced_by_a_deferral() -> None:
    longest = b"OK " + b"x" * 99_997
    assert write_reply(longest) == b"100000:" + longest + b","
    assert socketmap.TOO_LONG in write_reply(longest + b"x")
