"""What a hostile sender may send: nothing raises, and nothing takes long."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim.check import DkimCheck
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimFact, DkimResult, HeaderField
from tests.support.dkim_signer import dns_record, make_key, sign, split_message
from tests.support.dkim_zone import TxtTable

KEY = make_key(bits=1024)
FIELDS, BODY = split_message(b"From: a@example.com\r\nSubject: Hello\r\n\r\nHello\r\n")
GOOD = sign(FIELDS, BODY, "example.com", "s", KEY, signed="from:subject")
NAME = "s._domainkey.example.com"
ZONE = TxtTable({NAME: dns_record(KEY)})


def finish(fields: list[HeaderField], body: bytes = BODY) -> tuple[DkimFact, ...]:
    check = DkimCheck(fields, DkimSettings(), 1e9, ("example.com",))
    check.body(body)
    return check.finish(ZONE)


NAMES = st.sampled_from([b"DKIM-Signature", b"dkim-signature ", b"From", b"", b":", b"\x00", b"\xff"])
VALUES = st.binary(max_size=60) | st.just(GOOD.value)


@settings(deadline=None)
@given(st.lists(st.builds(HeaderField, NAMES, VALUES), max_size=6), st.binary(max_size=60))
def test_any_message_is_answered(fields: list[HeaderField], body: bytes) -> None:
    facts = finish(fields, body)
    assert facts
    assert all(fact.result is not DkimResult.PASS for fact in facts)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.just(b"v=DKIM1; p="), min_size=1, max_size=5))
def test_any_key_records_are_answered(records: list[bytes]) -> None:
    check = DkimCheck([GOOD, *FIELDS], DkimSettings(), 1e9)
    check.body(BODY)
    (fact,) = check.finish(TxtTable({NAME: records}))
    assert fact.result in (DkimResult.PERMERROR, DkimResult.POLICY)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_signature_never_passes(data: st.DataObject) -> None:
    value = bytearray(GOOD.value)
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    (fact,) = finish([HeaderField(b"DKIM-Signature", bytes(value)), *FIELDS])
    unsigned = bytes(value).lower().translate(None, b" \t\r\n") == GOOD.value.lower().translate(None, b" \t\r\n")
    assert fact.result is not DkimResult.PASS or unsigned


LONG = HeaderField(b"X-Long", b"a  b\t" * 200_000)
HUGE_H = HeaderField(b"DKIM-Signature", GOOD.value.replace(b"h=from", b"h=" + b"from:" * 100_000 + b"from"))
HOSTILE = {
    "10,000 signatures": [GOOD] * 10_000 + FIELDS,
    "10,000 signatures that are none": [HeaderField(b"DKIM-Signature", b";" * 1000)] * 10_000 + FIELDS,
    "1 MB of signature": [HeaderField(b"DKIM-Signature", b" v=1;" * 200_000)] * 10 + FIELDS,
    "1 MB header": [GOOD] * 10 + [LONG, *FIELDS],
    "a signed field of 1 MB": [
        sign([LONG], BODY, "example.com", "s", KEY, signed="from:" + ":".join(["x-long"] * 900)),
        LONG,
        *FIELDS,
    ],
    "h= of 100,000 names": [HUGE_H] * 10 + FIELDS,
    "h= of 1,000 names over 10,000 fields": [
        sign(FIELDS, BODY, "example.com", "s", KEY, signed="from:" + ":".join(["x"] * 990)),
        *([HeaderField(b"X", b" y")] * 10_000),
        *FIELDS,
    ],
    "signatures as large as allowed": [
        HeaderField(b"DKIM-Signature", GOOD.value.replace(b"v=1;", b"v=1; n=" + b"x\r\n " * 16_000 + b";"))
    ]
    * 10
    + FIELDS,
    "random octets": [HeaderField(b"DKIM-Signature", os.urandom(60_000))] * 20,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_cheap(case: str) -> None:
    fields = HOSTILE[case]
    finish(fields)
    started = time.process_time()
    facts = finish(fields)
    assert time.process_time() - started < 0.1
    assert len(facts) <= 10
