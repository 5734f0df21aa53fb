"""The ARC chain, rule by rule (RFC 8617 §4, §5.2), over chains made by the sealer of tests/support."""

from __future__ import annotations

import re
from typing import Any

import pytest

from authmilter.arc.chain import read
from authmilter.arc.check import MAX_OLDER, ArcCheck
from authmilter.arc.settings import ArcSettings
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.check import DkimCheck
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import ArcFact, ArcResult, ArcSet, DkimResult, HeaderField
from mailcommon.dns.answer import Status
from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.dkim_zone import TxtTable

KEY, OTHER, ED = make_key(bits=1024), make_key(bits=1024, serial=1), make_key("ed25519")
NOW = 1_790_000_000.0
PLAIN = (
    b"From: author@origin.example\r\nTo: list@one.example\r\nSubject: Hello\r\nDate: today\r\n\r\nHello  world \r\n\r\n"
)
NAMES = ["one.example", "two.example", "three.example", "four.example", "five.example"]
ZONE: dict[str, Any] = {f"s._domainkey.{name}": dns_record(KEY) for name in NAMES}


def chain(count: int, message: bytes = PLAIN, **options: Any) -> bytes:
    """`message` sealed by one.example, two.example, ...; `options` are those of the newest set."""
    for number in range(count):
        newest = options if number == count - 1 else {}
        message = seal(message, NAMES[number % 5], "s", KEY, **newest)
    return message


def validate(
    message: bytes, zone: Any = None, limits: ArcSettings | None = None, cuts: int = 7, **dkim: Any
) -> ArcFact:
    fields, body = split_message(message)
    bodies = Bodies()
    check = ArcCheck(Header(fields), bodies, limits or ArcSettings(), DkimSettings(**dkim), NOW)
    for at in range(0, len(body), cuts):
        bodies.update(body[at : at + cuts])
    return check.finish(TxtTable(ZONE if zone is None else zone))


def failed(message: bytes, *args: Any, **options: Any) -> str:
    fact = validate(message, *args, **options)
    assert (fact.result, fact.sets, fact.oldest_pass, fact.undecided) == (ArcResult.FAIL, (), 0, False), fact
    return fact.reason


def test_no_chain() -> None:
    assert validate(PLAIN) == ArcFact(ArcResult.NONE)  # ARC-1


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_good_chains(count: int) -> None:
    sets = tuple(ArcSet(n + 1, NAMES[n], "s", f"{NAMES[n]}; none") for n in range(count))
    assert validate(chain(count)) == ArcFact(ArcResult.PASS, sets)


@pytest.mark.parametrize("canonicalization", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_both_algorithms_and_all_canonicalizations(canonicalization: str) -> None:
    message = seal(chain(2), "two.example", "ed", ED, canonicalization=canonicalization)
    zone = {**ZONE, "ed._domainkey.two.example": dns_record(ED)}
    assert validate(message, zone).result is ArcResult.PASS


def test_fifty_sets_and_no_more() -> None:
    """ARC-1, ARC-4: 50 are a chain, 51 are none."""
    message = chain(50)
    fact = validate(message)
    assert (fact.result, len(fact.sets)) == (ArcResult.PASS, 50)
    assert fact.oldest_pass == 50 - MAX_OLDER  # as far down as it is looked
    assert failed(seal(message, "one.example", "s", KEY)) == "there are more than 50 sets"
    assert failed(chain(3), limits=ArcSettings(max_sets=2)) == "there are more than 2 sets"
    assert failed(chain(3), limits=ArcSettings(max_keys=2)) == "it needs more than 2 keys"
    assert validate(chain(5), limits=ArcSettings(max_keys=5)).result is ArcResult.PASS


def test_keys_are_not_tried_without_end() -> None:
    """One name may have four keys, of which the last one fits."""
    others = [dns_record(make_key(bits=1024, serial=n)) for n in (1, 2, 3)]
    worst = sorted([dns_record(KEY), *others])
    fitting = max(worst)  # they are tried in this order
    key = next(k for k in (KEY, *(make_key(bits=1024, serial=n) for n in (1, 2, 3))) if dns_record(k) == fitting)
    for count, result in ((25, ArcResult.PASS), (26, ArcResult.FAIL)):
        message = PLAIN
        for _ in range(count):
            message = seal(message, "one.example", "s", key)
        fact = validate(message, {"s._domainkey.one.example": worst})
        assert fact.result is result
        assert fact.reason in ("", "ARC-Seal 1: more than 100 keys would have to be tried")


def test_a_chain_that_says_that_it_was_broken() -> None:
    """ARC-2: fail, and no key is asked for."""
    zone = TxtTable(ZONE)
    fields, _ = split_message(chain(2, status="fail"))
    check = ArcCheck(Header(fields), Bodies(), ArcSettings(), DkimSettings(), NOW)
    fact = check.finish(zone)
    assert (fact.result, fact.reason) == (ArcResult.FAIL, "set 2 says that the chain was broken before")
    assert (zone.asked, check.key_names, check.chain.ended, check.chain.highest) == ([], (), True, 2)
    # it cannot be healed by going on
    again = seal(chain(2, status="fail"), "three.example", "s", KEY)
    assert failed(again) == "cv= of ARC-Seal 2 is not pass, it is fail"


def drop(message: bytes, *names: str) -> bytes:
    """`message` without the ARC fields "ARC-Seal 1" and the like."""
    fields, body = split_message(message)
    kept = [
        field
        for field in fields
        if not any(
            field.name.decode() == name.split()[0] and f"i={name.split()[1]};".encode() in field.value for name in names
        )
    ]
    assert len(kept) == len(fields) - len(names)
    return join_message(kept, body)


@pytest.mark.parametrize("name", ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"])
def test_structure(name: str) -> None:
    """ARC-3: each set has one of each, and no number is left out or there twice."""
    for instance in (1, 2, 3):
        message = drop(chain(3), f"{name} {instance}")
        assert failed(message) == f"there is no {name} with i={instance}"
        fields, body = split_message(chain(3))
        (field,) = set(fields) - set(split_message(message)[0])
        doubled = join_message([field, *fields], body)
        assert failed(doubled) == f"there are two {name} with i={instance}"
    middle = drop(chain(3), "ARC-Seal 2", "ARC-Message-Signature 2", "ARC-Authentication-Results 2")
    assert failed(middle) == "there is no ARC-Authentication-Results with i=2"


@pytest.mark.parametrize(
    "raw", ["", "0", "51", "99", "100", "1" * 100, "-1", "+1", "1.0", "0x1", "one", "\u0661", "1 1", "1,2", "1:", " "]
)
@pytest.mark.parametrize("name", ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"])
def test_instances(name: str, raw: str) -> None:
    """ARC-4."""
    fields, body = split_message(chain(1))
    changed = [
        HeaderField(field.name, field.value.replace(b" i=1", b" i=" + raw.encode()))
        if field.name.decode() == name
        else field
        for field in fields
    ]
    assert changed != fields
    assert failed(join_message(changed, body)) == f"an {name} cannot be read"


@pytest.mark.parametrize(
    ("value", "claims"),
    [
        (b" i=1; mx.example; spf=pass", "mx.example; spf=pass"),
        (b"i=1;mx.example; none", "mx.example; none"),
        (b" (a) i (b) = (c(d)) 1 (e) ; mx.example;\r\n\tspf=pass", "mx.example;\tspf=pass"),
        (b"\r\n\ti=01; x", "x"),
        (b" i=1;", ""),
        (b" i=1; \xff\x00junk (", "\ufffd\x00junk ("),  # RFC 8617 §3.4: its syntax does not touch the chain
        (b" i=1; m\xc3\xbc.example; none", "m\u00fc.example; none"),
        (b" I=1; x", None),
        (b" i=1", None),
        (b" i=1 x;", None),
        (b" mx.example; i=1; spf=pass", None),  # ARC-5
        (b" ; i=1; x", None),
        (b" (i=1; x", None),
        (b" i=1 (; x", None),
        (b"", None),
        (b" i=1; " + b"x" * 70_000, None),
    ],
)
def test_results_fields(value: bytes, claims: str | None) -> None:
    """ARC-5: "i=N;" in front of the id; all behind it is somebody's word."""
    fields, _ = split_message(chain(1))
    changed = [
        HeaderField(field.name, value) if field.name == b"ARC-Authentication-Results" else field for field in fields
    ]
    found = read(Header(changed))
    if claims is None:
        assert (found.links, found.problem) == ((), "an ARC-Authentication-Results cannot be read")
    else:
        assert (found.links[0].claims, found.problem) == (claims, "")


def test_statuses() -> None:
    """ARC-3: none for the first, pass for the others, nothing else."""
    for status in ("pass", "fail", "", "None", "bad"):
        message = chain(1, status="none", seal_tags={"cv": status})
        reason = failed(message)
        assert "cv=" in reason or "broken before" in reason, reason
    assert failed(chain(1, seal_tags={"cv": None})) == "cv= of ARC-Seal 1 is not none, it cannot be read"
    assert failed(chain(2, seal_tags={"cv": "none"})) == "cv= of ARC-Seal 2 is not pass, it is none"


def test_the_newest_message_signature_must_verify() -> None:
    """ARC-6."""
    message = chain(2)
    assert failed(message.replace(b"Hello  world", b"Hello  World")) == (
        "ARC-Message-Signature 2: the body hash differs"
    )
    assert failed(message.replace(b"Subject: Hello", b"Subject: Bye")) == (
        "ARC-Message-Signature 2: the signature does not fit the header"
    )
    assert validate(message.replace(b"Hello  world ", b"Hello world")).result is ArcResult.PASS  # relaxed


@pytest.mark.parametrize(
    ("changes", "oldest"),
    [({}, 0), ({1: b"a"}, 2), ({2: b"a"}, 3), ({3: b"a"}, 4), ({1: b"a", 3: b"b"}, 4)],
)
def test_oldest_pass(changes: dict[int, bytes], oldest: int) -> None:
    """ARC-14: `changes` happen to the subject after that many sets."""
    message = PLAIN
    for number in range(4):
        message = seal(message, NAMES[number], "s", KEY)
        if number + 1 in changes:
            message = message.replace(b"Subject: ", b"Subject: " + changes[number + 1])
    fact = validate(message)
    assert (fact.result, fact.oldest_pass) == (ArcResult.PASS, oldest)


def test_oldest_pass_ends_at_what_is_not_looked_at() -> None:
    partial = seal(chain(1, length=5), "two.example", "s", KEY)
    assert validate(partial, accept_partial_body=True).oldest_pass == 2
    other = seal(chain(1), "two.example", "s", KEY, ams={"d": "nokey.example"})
    fact = validate(seal(other, "three.example", "s", KEY))
    assert (fact.result, fact.oldest_pass) == (ArcResult.PASS, 3)  # its key is not there
    assert validate(chain(3), limits=ArcSettings(max_keys=3)).oldest_pass == 0
    zone = {**ZONE, "old._domainkey.one.example": dns_record(KEY)}
    # the message signature of set 1 has a key of its own, for which there is no room
    separate = seal(seal(PLAIN, "one.example", "s", KEY, ams={"s": "old"}), "two.example", "s", KEY)
    assert validate(separate, zone).oldest_pass == 0
    assert validate(separate, zone, limits=ArcSettings(max_keys=2)).oldest_pass == 2


@pytest.mark.parametrize("instance", [1, 2, 3])
def test_every_seal_must_verify(instance: int) -> None:
    """ARC-7, ARC-9."""
    fields, body = split_message(chain(3))
    for name in (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"):
        for place, field in enumerate(fields):
            if field.name != name or f"i={instance};".encode() not in field.value:
                continue
            added = field.value.replace(b"t=17", b"t=16") if name == b"ARC-Seal" else field.value + b"; z=1"
            changed = [*fields[:place], HeaderField(name, added), *fields[place + 1 :]]
            reason = failed(join_message(changed, body))
            # what is changed spoils all seals from its own set on, and the newest one is looked at first
            newest = name == b"ARC-Message-Signature" and instance == 3
            assert reason == (
                "ARC-Message-Signature 3: the signature does not fit the header"
                if newest
                else "ARC-Seal 3: the signature does not fit the sets"
            )


def test_an_older_seal_that_is_forged() -> None:
    forged = seal(PLAIN, "one.example", "s", OTHER)
    message = seal(forged, "two.example", "s", KEY)
    assert failed(message) == "ARC-Seal 1: the signature does not fit the sets"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"h": "from"}, "ARC-Seal 1 has h="),  # ARC-8
        ({"a": "rsa-sha1"}, "ARC-Seal 1: rsa-sha1 is not accepted"),  # ARC-11
        ({"a": None}, "ARC-Seal 1: a= is missing"),
        ({"d": None}, "ARC-Seal 1: d= is missing"),
        ({"s": None}, "ARC-Seal 1: s= is missing"),
        ({"d": "-"}, "ARC-Seal 1: d= cannot be read"),
        ({"t": "yesterday"}, "ARC-Seal 1: t= cannot be read"),
        ({"t": str(int(NOW) + 4000)}, "ARC-Seal 1: the signature is from the future"),
        ({"s": "gone"}, "ARC-Seal 1: there is no key"),
        ({"zz": "unknown", "c": "simple/simple", "l": "junk", "bh": "!", "x": "1"}, ""),  # they mean nothing in a seal
    ],
)
def test_tags_of_seals(tags: dict[str, str | None], reason: str) -> None:
    fact = validate(chain(1, seal_tags=tags))
    assert (fact.result, fact.reason) == (ArcResult.FAIL if reason else ArcResult.PASS, reason)


@pytest.mark.parametrize(
    ("tags", "options", "reason"),
    [
        # ARC-10
        ({"v": "2"}, {}, ""),
        ({"zz": "x"}, {}, ""),
        ({}, {"signed": "from:arc-authentication-results:authentication-results"}, ""),
        ({}, {"signed": "from:arc-seal"}, "ARC-Seal is in h="),
        ({}, {"signed": "to:subject"}, "From is not signed"),
        ({"h": None}, {}, "h= is missing"),
        ({"bh": None}, {}, "bh= is missing"),
        ({"a": "rsa-sha1"}, {}, "rsa-sha1 is not accepted"),
        ({"a": "rsa-md5"}, {}, "a= is not known"),
        ({"c": "bare"}, {}, "c= cannot be read"),
        ({"d": "example"}, {}, "d= cannot be read"),
        ({"q": "x/y"}, {}, "q= has no known method"),
        ({"x": str(int(NOW) - 1000)}, {}, "the signature has expired"),
        ({}, {"length": 5}, "10 octets of the body are not signed"),
        ({"l": "9999"}, {}, "l= is larger than the body"),
    ],
)
def test_tags_of_message_signatures(tags: dict[str, str | None], options: dict[str, Any], reason: str) -> None:
    fact = validate(chain(1, ams=tags, **options))
    expected = f"ARC-Message-Signature 1: {reason}" if reason else ""
    assert (fact.result, fact.reason) == (ArcResult.FAIL if reason else ArcResult.PASS, expected)


def test_what_was_added_beside_the_message_signature() -> None:
    message = chain(1).replace(b"Subject: Hello", b"Subject: Other\r\nSubject: Hello")
    assert failed(message) == "ARC-Message-Signature 1: one Subject field is not signed"


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature"])
def test_duplicate_tags(name: bytes) -> None:
    """ARC-11."""
    message = chain(1).replace(name + b": i=1;", name + b": i=1; i=1;")
    assert failed(message) == f"an {name.decode()} cannot be read"


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (dns_record(OTHER), "the signature does not fit the sets"),
        ([dns_record(OTHER), dns_record(KEY)], ""),
        ("v=DKIM1; p=", "the key is revoked"),
        ("v=spf1 -all", "the record is not a key record"),
        (dns_record(ED), "the type of the key does not fit a="),
        (dns_record(KEY, "t=s; "), ""),  # there is no AUID that could lie below d=
        (Status.NXDOMAIN, "there is no key"),
        (Status.NODATA, "there is no key"),
        (dns_record(make_key(bits=512)), "the key has only 512 bits"),  # ARC-11
    ],
)
def test_keys_of_seals(records: Any, reason: str) -> None:
    message = seal(PLAIN, "one.example", "s", KEY, seal_tags={"s": "seal"})
    fact = validate(message, {**ZONE, "seal._domainkey.one.example": records})
    assert (fact.result, fact.reason) == ((ArcResult.FAIL, f"ARC-Seal 1: {reason}") if reason else (ArcResult.PASS, ""))


@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.TIMEOUT, Status.BOGUS])
def test_dns_faults(status: Status) -> None:
    """ARC-12: a failure like any other, but nobody may be refused for it; so it is told apart."""
    for missing in ("one.example", "two.example"):
        fact = validate(chain(2), {**ZONE, f"s._domainkey.{missing}": status})
        assert (fact.result, fact.undecided, len(fact.sets), fact.oldest_pass) == (ArcResult.FAIL, True, 2, 0)
        assert f"looking up the key: {status.value}" in fact.reason
    # what is wrong besides counts more
    zone = {**ZONE, "s._domainkey.two.example": status}
    assert failed(chain(2).replace(b"Hello  world", b"x"), zone) == "ARC-Message-Signature 2: the body hash differs"
    forged = seal(seal(PLAIN, "one.example", "s", OTHER), "two.example", "s", KEY)
    assert failed(forged, zone) == "ARC-Seal 1: the signature does not fit the sets"


def test_every_signed_octet_counts() -> None:
    message = chain(2)
    _, body = split_message(message)
    for at in range(len(message) - len(body) - 2):
        octet = message[at : at + 1]
        if octet.isalnum() and message[at + 1 : at + 2] != b"=":  # the last digit of base64 has bits to spare
            changed = message[:at] + (b"q" if octet.lower() != b"q" else b"z") + message[at + 1 :]
            assert validate(changed).result is ArcResult.FAIL, changed[at - 40 : at + 40]


def test_order_in_the_header_does_not_matter() -> None:
    fields, body = split_message(chain(3))
    arc = [field for field in fields if field.name.startswith(b"ARC-")]
    rest = [field for field in fields if not field.name.startswith(b"ARC-")]
    for order in (arc[::-1], arc[4:] + arc[:4], arc[1::2] + arc[::2]):
        assert validate(join_message([*order, *rest], body)).result is ArcResult.PASS
        assert validate(join_message([*rest, *order], body)).result is ArcResult.PASS


def test_names_in_any_letter_case_and_refolded_seals() -> None:
    message = re.sub(rb"ARC-[A-Za-z-]+(?=:)", lambda match: match[0].upper() + b" ", chain(2))
    assert validate(message).result is ArcResult.PASS
    assert validate(chain(2).replace(b";\r\n cv=", b";\r\n\t  cv=")).result is ArcResult.PASS


def test_the_body_is_hashed_once_for_dkim_and_arc() -> None:
    fields, body = split_message(PLAIN)
    signature = sign(fields, body, "one.example", "s", KEY)
    fields, body = split_message(chain(3, join_message([signature, *fields], body)))
    bodies, header = Bodies(), Header(fields)
    dkim = DkimCheck(fields, DkimSettings(), NOW, header=header, bodies=bodies)
    arc = ArcCheck(header, bodies, ArcSettings(), DkimSettings(), NOW)
    bodies.update(body)
    assert len(bodies._open or ()) == 1
    assert dkim.finish(TxtTable(ZONE))[0].result is DkimResult.PASS
    assert arc.finish(TxtTable(ZONE)).result is ArcResult.PASS
    assert arc.finish(TxtTable({})) is arc.finish(TxtTable({}))


def test_keys_are_asked_for_at_the_end_of_the_header_and_no_others() -> None:
    fields, body = split_message(chain(3))
    bodies, zone = Bodies(), TxtTable(ZONE)
    check = ArcCheck(Header(fields), bodies, ArcSettings(), DkimSettings(), NOW)
    assert check.key_names == tuple(f"s._domainkey.{name}" for name in reversed(NAMES[:3]))
    bodies.update(body)
    check.finish(zone)
    assert set(zone.asked) == set(check.key_names)
    for hopeless in (drop(chain(2), "ARC-Seal 1"), chain(2, ams={"c": "x"}), chain(2, status="fail")):
        bodies = Bodies()
        check = ArcCheck(Header(split_message(hopeless)[0]), bodies, ArcSettings(), DkimSettings(), NOW)
        assert (check.key_names, bodies.wants_body) == ((), False)
