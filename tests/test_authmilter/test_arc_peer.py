"""Against dkimpy's ARC: each validates what the other seals, and both are given the same damaged chains.

`DIFFERENCES` lists cases in which dkimpy 1.1.8 answers otherwise, each with the rule that it misses.
"""

from __future__ import annotations

import time
from typing import Any

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.arc.check import ArcCheck
from authmilter.arc.settings import ArcSettings
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, join_message, make_key, pem, split_message
from tests.support.dkim_zone import TxtTable

KEY, OTHER = make_key(bits=1024), make_key(bits=1024, serial=1)  # dkimpy takes long over larger ones
NAMES = ["one.example", "two.example", "three.example"]
ZONE = {f"s._domainkey.{name}": dns_record(KEY) for name in NAMES}
ZONE["other._domainkey.one.example"] = dns_record(OTHER)
NOW = time.time()
BASE = (
    b"From: author@origin.example\r\nTo: list@one.example\r\nSubject: Hello\r\nDate: Tue, 3 Jan 2017 12:22:54 -0800\r\n"
    b"\r\nHello  world \r\n\r\n"
)


def ours(message: bytes) -> str:
    fields, body = split_message(message)
    bodies = Bodies()
    check = ArcCheck(Header(fields), bodies, ArcSettings(), DkimSettings(), NOW)
    bodies.update(body)
    return str(check.finish(TxtTable(ZONE)).result)


def theirs(message: bytes) -> str:
    def lookup(name: bytes, timeout: int = 5) -> bytes | None:
        record = ZONE.get(name.decode().rstrip("."))
        return record.encode() if record else None

    try:
        status, _, _ = dkim.arc_verify(message, dnsfunc=lookup)
    except Exception:  # noqa: BLE001 - it raises whatever it likes on odd messages
        return "exception"
    return status.decode() if status else "fail"  # it says None where the chain was broken before


def sealed_by_dkimpy(message: bytes, domain: str) -> bytes:
    """dkimpy takes the results and cv= from an Authentication-Results field."""
    status = ours(message)
    headed = f"Authentication-Results: {domain}; arc={status}; spf=pass smtp.mailfrom=x.example\r\n".encode() + message
    lines = dkim.arc_sign(headed, b"s", domain.encode(), pem(KEY), domain.encode(), timestamp=int(NOW) - 10)
    return b"".join(lines) + headed


BODIES = st.lists(st.text("ab \t\xe9", max_size=8), max_size=6).map(
    lambda lines: b"".join(line.encode("latin-1") + b"\r\n" for line in lines) + b"x\r\n"
)
SUBJECTS = st.lists(st.sampled_from(["x", " ", "\t", "\r\n ", "=", ";", "b=y"]), max_size=6).map(
    lambda parts: ("".join(parts) + "x").encode()
)


def message_of(subject: bytes, body: bytes) -> bytes:
    return join_message(
        [
            field._replace(value=b" " + subject) if field.name == b"Subject" else field
            for field in split_message(BASE)[0]
        ],
        body,
    )


@settings(max_examples=25, deadline=None)
@given(SUBJECTS, BODIES, st.lists(st.booleans(), min_size=1, max_size=3))
def test_chains_of_both_sealers_pass_in_both(subject: bytes, body: bytes, by_dkimpy: list[bool]) -> None:
    message = message_of(subject, body)
    for number, peer in enumerate(by_dkimpy):
        domain = NAMES[number]
        message = sealed_by_dkimpy(message, domain) if peer else seal(message, domain, "s", KEY)
        assert (ours(message), theirs(message)) == ("pass", "pass")


CHAIN = seal(sealed_by_dkimpy(seal(BASE, "one.example", "s", KEY), "two.example"), "three.example", "s", KEY)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutations_are_judged_alike(data: st.DataObject) -> None:
    """Fields are dropped, hidden and changed in ways that the standard sees."""
    fields, body = split_message(CHAIN)
    fields = list(fields)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(fields) - 1))
        kind = data.draw(st.sampled_from(["drop", "value", "body", "hide"]))
        if kind == "drop" and fields[place].name != b"From":
            del fields[place]
        elif kind == "value":
            fields[place] = fields[place]._replace(value=fields[place].value + b" x")
        elif kind == "body":
            body += b"more\r\n"
        elif kind == "hide" and fields[place].name != b"From":
            fields[place] = fields[place]._replace(name=b"X-" + fields[place].name)
    message = join_message(fields, body)
    assert ours(message) == ("fail" if theirs(message) == "exception" else theirs(message))


def twice(message: bytes, name: bytes) -> bytes:
    fields, body = split_message(message)
    return join_message([*(field for field in fields if field.name == name), *fields], body)


def moved(message: bytes) -> bytes:
    """The newest seal below all other fields."""
    fields, body = split_message(message)
    return join_message([*fields[1:], fields[0]], body)


ONE = seal(BASE, "one.example", "s", KEY)
DIFFERENCES: dict[str, tuple[bytes, str, str]] = {
    # what it is: (message, our result, dkimpy's)
    "no From in h=, RFC 6376 §5.4": (seal(BASE, "one.example", "s", KEY, signed="to:subject"), "fail", "pass"),
    "no c= is simple/simple, RFC 6376 §3.5": (
        seal(BASE, "one.example", "s", KEY, canonicalization="simple/simple", ams={"c": None}),
        "pass",
        "fail",
    ),
    "i= is 51, RFC 8617 §4.2.1": (seal(BASE, "one.example", "s", KEY, instance=51), "fail", "fail"),
    "t= is an hour ahead, RFC 6376 §3.5": (
        seal(BASE, "one.example", "s", KEY, seal_tags={"t": f"{NOW + 3600:.0f}"}),
        "fail",
        "pass",
    ),
    "AAR does not begin with i=, RFC 8617 §4.1.1": (
        seal(BASE, "one.example", "s", KEY, instance=1).replace(b"Results: i=1; ", b"Results: x i=1; "),
        "fail",
        "fail",
    ),
    "a second Subject that is not signed, RFC 6376 §8.15": (
        ONE.replace(b"Subject: Hello", b"Subject: Other\r\nSubject: Hello"),
        "fail",
        "pass",
    ),
    "first seal says pass, RFC 8617 §5.2 step 3": (seal(BASE, "one.example", "s", KEY, status="pass"), "fail", "fail"),
    "unknown tags in a seal, RFC 6376 §3.2": (
        seal(BASE, "one.example", "s", KEY, seal_tags={"c": "simple/simple", "q": "x"}),
        "pass",
        "fail",
    ),
    "the order in the header means nothing, RFC 8617 §5.1.1": (moved(CHAIN), "pass", "fail"),
    "a seal twice": (twice(ONE, b"ARC-Seal"), "fail", "fail"),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_odd_chains(case: str) -> None:
    message, our_result, their_result = DIFFERENCES[case]
    assert (ours(message), theirs(message)) == (our_result, their_result)


def test_fifty_sets() -> None:
    message: Any = BASE
    for number in range(50):
        message = seal(message, NAMES[number % 3], "s", KEY)
    assert (ours(message), theirs(message)) == ("pass", "pass")
    assert ours(seal(message, "one.example", "s", KEY)) == "fail"
