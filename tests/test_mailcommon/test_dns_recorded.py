"""What is recorded comes back the same; what is damaged is refused with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailcommon.dns.answer import Answer, Mx, Status, Tlsa
from mailcommon.dns.cache import Key, key_of
from mailcommon.dns.recorded import RecordingResolver, ReplayResolver, dump, load
from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns

octet = st.integers(0, 255)
RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "TXT": st.binary(max_size=40),
    "A": st.ip_addresses(v=4).map(str),
    "AAAA": st.ip_addresses(v=6).map(str),
    "PTR": st.text(max_size=20),
    "MX": st.builds(Mx, st.integers(0, 65535), st.text(max_size=20)),
    "TLSA": st.builds(Tlsa, octet, octet, octet, st.binary(max_size=40)),
}


@st.composite
def entries(draw: st.DrawFn) -> tuple[Key, Answer[Any]]:
    rdtype = draw(st.sampled_from(sorted(RECORDS)))
    status = draw(st.sampled_from(Status))
    records = draw(st.lists(RECORDS[rdtype], min_size=1, max_size=4)) if status is Status.OK else []
    ttl = draw(st.integers(0, 2**31 - 1))
    flags = draw(st.tuples(st.booleans(), st.booleans()))
    answer: Answer[Any] = Answer(status, tuple(records), ttl, flags[0], draw(st.text(max_size=20)), flags[1])
    name = draw(st.text(max_size=20)).removesuffix(".")
    return key_of(rdtype, name.rstrip(".")), answer


@settings(deadline=None)
@given(st.lists(entries(), max_size=5).map(dict))
def test_round_trip(records: dict[Key, Answer[Any]]) -> None:
    text = dump(records)
    assert load(text).records == records
    assert dump(dict(reversed(records.items()))) == text
    assert text.isascii()
    assert text.count("\n") == max(1, len(records)) + 2


def test_a_recording_replays_without_a_server() -> None:
    zone = 'a.example. 300 IN TXT "v=spf1 \\195\\188 \\\\ -all"\na.example. MX 10 mx.example.\n'
    with FakeDns(zone + ";FAULT b.example. * servfail") as dns:
        recording = RecordingResolver(DnsResolver(DnsSettings((dns.address,))))
        recording.start("TXT", "unused.example")
        recording.start("TXT", "a.example")
        answers = [recording.txt("A.example"), recording.mx("a.example."), recording.a("b.example"), recording.a("n")]
        recording.txt("a.example")
        text = dump(recording.records)
        dns.stop()
    replay = ReplayResolver(load(text).records)
    replay.start("TXT", "a.example")
    assert [replay.txt("a.example"), replay.mx("a.example"), replay.a("b.example"), replay.a("n")] == answers
    missing = replay.txt("unused.example")
    assert (missing.status, missing.detail) == (Status.SERVFAIL, "not in the recording")
    first = '{"name": "a.example", "type": "TXT", "status": "ok", "ttl": 300, "records": ["v=spf1 \\\\xc3\\\\xbc'
    assert first in text


def test_a_type_that_is_not_supported_is_recorded_too() -> None:
    recording = RecordingResolver(DnsResolver(DnsSettings(("127.0.0.1",))))
    recording.query("SPF", "a.example")
    assert load(dump(recording.records)).records == recording.records


def document(**changes: object) -> str:
    line: dict[str, object] = {"name": "a.example", "type": "TXT", "status": "ok", "ttl": 1, "records": ["x"]}
    line.update(changes)
    return json.dumps({"gatepost-dns": 1, "answers": [{k: v for k, v in line.items() if v != "absent"}]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a DNS recording: Expecting value: line 1 column 1"),
        ("[" * 100_000, "not a DNS recording"),
        ("1" * 10_000, "not a DNS recording"),
        ("{}", 'no "gatepost-dns"'),
        ("[1]", 'no "gatepost-dns"'),
        ('{"gatepost-dns": 2, "answers": []}', "version 2: only 1 is known"),
        ('{"gatepost-dns": true, "answers": []}', "version true"),
        ('{"gatepost-dns": 1}', '"answers" is not a list'),
        ('{"gatepost-dns": 1, "answers": [7]}', "answer 1: is not an object"),
        (document(extra=1), "answer 1 (TXT a.example): unknown key 'extra'"),
        (document(name="absent"), '"name" is not a string'),
        (document(name=7), '"name" is not a string'),
        (document(type="WKS"), "\"type\" is 'WKS', not one of TXT"),
        (document(status="fine"), "\"status\" is 'fine'"),
        (document(status="nodata"), 'status "nodata" with 1 records'),
        (document(records=[]), 'status "ok" with 0 records'),
        (document(records={}), '"records" is not a list'),
        (document(ttl=-1), '"ttl" is not a number from 0'),
        (document(ttl=True), '"ttl" is not a number from 0'),
        (document(ttl=1.5), '"ttl" is not a number from 0'),
        (document(secure=1), '"secure" is neither true nor false'),
        (document(detail=None), '"detail" is not a string'),
        (document(records=[7]), "is not ASCII with"),
        (document(records=["ü"]), "is not ASCII with"),
        (document(records=["\\x4"]), "is not ASCII with"),
        (document(records=["\\"]), "is not ASCII with"),
        (document(type="MX"), "a record is not an object of preference, host"),
        (document(type="MX", records=[{"preference": 65536, "host": ""}]), '"preference" is not a number from 0'),
        (document(type="TLSA", records=[{"usage": 3, "selector": 1, "mtype": 1, "data": "0g"}]), "hexadecimal"),
        (document(type="A", records=[7]), "a record is not a string"),
        (document(name="a\nb\x1b[0m", ttl=-1), "(TXT a\\nb\\x1b[0m)"),
    ],
    ids=lambda value: value[:40],
)
def test_damage_is_named_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="DNS recording") as caught:
        load(text)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 500


def test_an_answer_that_is_there_twice() -> None:
    line = json.dumps({"name": "a.example", "type": "A", "status": "nodata", "ttl": 1})
    with pytest.raises(ValueError, match=r"answer 2 \(A a.example\): is there twice"):
        load(f'{{"gatepost-dns": 1, "answers": [{line},{line}]}}')


@given(st.none() | st.integers(min_value=0, max_value=10**12 - 1))
def test_the_time_is_kept(time: int | None) -> None:
    assert load(dump({}, time)).time == time


@pytest.mark.parametrize("time", ["-1", "true", "1.5", '"now"', "1000000000000"])
def test_a_time_that_is_none_is_refused(time: str) -> None:
    with pytest.raises(ValueError, match="seconds since 1970"):
        load(f'{{"gatepost-dns": 1, "time": {time}, "answers": []}}')
