"""The form of ARC's signatures, tag by tag and octet by octet (RFC 8617 §4.1, RFC 6376 §3): what may differ, what not.

Sealed by the sealer of tests/support in the form in question, so that only the form can be what is wrong.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from authmilter.facts import ArcFact, ArcResult
from tests.support.arc_sealer import Form, seal
from tests.support.dkim_signer import dns_record, make_key
from tests.test_authmilter.test_arc_check import KEY, NAMES, PLAIN, ZONE, chain, validate

BOTH = ["ams", "seal_tags"]


def passes(message: bytes, zone: Any = None) -> None:
    fact = validate(message, zone)
    assert (fact.result, fact.reason) == (ArcResult.PASS, "")


def judged(fact: ArcFact, reason: str) -> None:
    """That it failed for what `reason` ends in, or passed if that is empty."""
    assert fact.result is (ArcResult.FAIL if reason else ArcResult.PASS)
    assert fact.reason.endswith(reason)
    assert bool(fact.reason) == bool(reason)


@pytest.mark.parametrize("message", [b"\r\n", b"\r\nbody\r\n", b"From: a@b.example\r\n\r\n", b"From: a@b.example\r\n"])
def test_messages_without_a_header_or_a_body(message: bytes) -> None:
    assert validate(message) == ArcFact(ArcResult.NONE)


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b"no line end"])
@pytest.mark.parametrize("how", ["relaxed/relaxed", "relaxed/simple"])
def test_bodies_of_every_kind(body: bytes, how: str) -> None:
    passes(chain(2, PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body, canonicalization=how))


@pytest.mark.parametrize(
    ("how", "before", "after", "same"),
    [
        ("relaxed/relaxed", b"Hello  world ", b"Hello \t world", True),  # runs and ends of lines
        ("relaxed/relaxed", b"world \r\n", b"world\r\n\r\n\r\n", True),
        ("relaxed/relaxed", b"Hello", b" Hello", False),
        ("relaxed/simple", b"\r\n\r\n\r\n", b"\r\n\r\n", True),
        ("relaxed/simple", b"Hello  world", b"Hello world", False),
        ("relaxed/simple", b"world \r\n", b"world\r\n", False),
    ],
)
def test_what_may_happen_to_the_body(how: str, before: bytes, after: bytes, same: bool) -> None:
    head, _, body = chain(1, canonicalization=how).partition(b"\r\n\r\n")
    changed = head + b"\r\n\r\n" + (body + b"\r\n").replace(before, after)
    assert changed != head + b"\r\n\r\n" + body + b"\r\n"
    assert (validate(changed).result is ArcResult.PASS) == same


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: Hello", b"SUBJECT: Hello"),
        (b"Subject: Hello", b"Subject:Hello"),
        (b"Subject: Hello", b"Subject : \t Hello  "),
        (b"Subject: Hello", b"Subject:\r\n Hello"),
    ],
)
def test_what_may_happen_to_signed_fields(before: bytes, after: bytes) -> None:
    message = chain(2).replace(before, after)
    assert after in message
    passes(message)
    simple = chain(2, canonicalization="simple/simple").replace(before, after)
    assert validate(simple).result is ArcResult.FAIL


@pytest.mark.parametrize("place", BOTH)
@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"a": None, "a ": "\trsa-sha256 "}, ""),  # blanks around "=" and ";"
        ({"zz": "x y"}, ""),
        ({"t": None}, ""),
        ({"s": None, "S": "s"}, "s= is missing"),  # names of tags have a letter case
        ({"!": "x"}, "cannot be read"),
        ({"": "x"}, "cannot be read"),
        ({"q1": "x; ; y=1"}, "cannot be read"),
        ({"a": ""}, "a= cannot be read"),
        ({"a": "rsa-sha257"}, "a= is not known"),
        ({"a": "rsa sha256"}, "a= cannot be read"),
        ({"d": ""}, "d= cannot be read"),
        ({"d": "one..example"}, "d= cannot be read"),
        ({"d": "one .example"}, "d= cannot be read"),
        ({"s": ""}, "s= cannot be read"),
        ({"t": ""}, "t= cannot be read"),
        ({"t": "-1"}, "t= cannot be read"),
        ({"i": ""}, "cannot be read"),
        ({"i": None}, "cannot be read"),
    ],
)
def test_tags_of_both(place: str, tags: dict[str, str | None], reason: str) -> None:
    options: dict[str, Any] = {place: tags}
    judged(validate(chain(1, **options)), reason)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"c": ""}, "c= cannot be read"),
        ({"c": "RELAXED/Relaxed"}, ""),
        ({"bh": ""}, "bh= cannot be read"),
        ({"bh": "=?="}, "bh= cannot be read"),
        ({"bh": "AAAA"}, "the body hash differs"),
        ({"h": ""}, "From is not signed"),
        ({"h": "from::to"}, "h= cannot be read"),
    ],
)
def test_tags_of_the_message_signature(tags: dict[str, str | None], reason: str) -> None:
    judged(validate(chain(1, ams=tags)), reason)


def test_without_c_it_is_simple() -> None:
    """RFC 6376 §3.5, to which RFC 8617 §4.1.2 adds nothing."""
    passes(chain(1, canonicalization="simple/simple", ams={"c": None}))
    assert validate(chain(1, ams={"c": None})).result is ArcResult.FAIL


@pytest.mark.parametrize(
    "form", [Form(" "), Form("\r\n\t"), Form("\t"), Form(tail=";"), Form(tail="; \r\n "), Form(tail="; zz=1")]
)
def test_b_may_be_written_with_blanks_and_stand_anywhere(form: Form) -> None:
    passes(chain(2, form=form))


@pytest.mark.parametrize("name", ["ARC-Seal", "ARC-Message-Signature"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "b= cannot be read"),
        (b"!!!!", "b= cannot be read"),
        (b"AAAA", "the signature does not fit"),
        (None, "b= is missing"),
    ],
)
def test_b_that_is_no_signature(name: str, value: bytes | None, reason: str) -> None:
    found = re.search(rb"%s:.*?\n( b=\S+)" % name.encode(), chain(1), re.DOTALL)
    assert found
    changed = chain(1).replace(found[1], b" zz=1" if value is None else b" b=" + value)
    fact = validate(changed)
    assert fact.result is ArcResult.FAIL
    assert reason in fact.reason


@pytest.mark.parametrize(
    ("names", "after", "same"),
    [
        ("From : TO:\r\n  subject", "", True),
        ("from:to:subject:subject:x-none:x-none", "", True),
        ("from:subject:mime-version", "MIME-Version: 1.0\r\n", False),  # signed as absent, and then added
        ("subject:from:to", "", True),
        ("from:to:subject:arc-message-signature", "", True),
    ],
)
def test_names_in_h(names: str, after: str, same: bool) -> None:
    message = after.encode() + chain(1, signed=names)
    assert (validate(message).result is ArcResult.PASS) == same


def test_fields_of_one_name_are_signed_from_the_bottom_up() -> None:
    plain = b"X-A: upper\r\nX-A: lower\r\n" + PLAIN
    message = seal(plain, "one.example", "s", KEY, signed="from:x-a")
    passes(message.replace(b"X-A: upper", b"X-A: other"))
    assert validate(message.replace(b"X-A: lower", b"X-A: other")).result is ArcResult.FAIL
    both = seal(plain, "one.example", "s", KEY, signed="from:x-a:x-a")
    swapped = both.replace(b"X-A: upper\r\nX-A: lower", b"X-A: lower\r\nX-A: upper")
    assert validate(swapped).result is ArcResult.FAIL


def test_the_two_signatures_may_have_different_keys() -> None:
    large = make_key(bits=2048)
    message = seal(PLAIN, "one.example", "s", KEY)
    message = seal(message, "two.example", "s", large, ams={"d": "three.example", "s": "other"})
    keys = {"s._domainkey.two.example": dns_record(large), "other._domainkey.three.example": dns_record(large)}
    passes(message, {**ZONE, **keys})
    assert validate(message, {**ZONE, **keys}).sets[-1].domain == "two.example"  # who seals is who has sealed


@pytest.mark.parametrize("changed", [b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal"])
def test_a_set_is_sealed_as_it_stands(changed: bytes) -> None:
    """All octets but blanks count, in each field of each set, for the seals above it."""
    message = chain(2)
    place = message.rindex(changed + b":")
    end = message.index(b";", place)
    assert validate(message[:end] + b"; zz=1" + message[end:]).result is ArcResult.FAIL
    assert NAMES[0].encode() in message
