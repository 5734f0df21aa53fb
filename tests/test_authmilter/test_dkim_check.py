"""Whole messages: what a signature, its key, the header and the body come to."""

from __future__ import annotations

from typing import Any

import pytest

from authmilter.dkim.check import DkimCheck
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimFact, DkimResult, HeaderField
from mailcommon.dns.answer import Status
from tests.support import dkim_signer
from tests.support.dkim_signer import dns_record, make_key, public_base64, sign
from tests.support.dkim_zone import TxtTable

PASS, FAIL, POLICY = DkimResult.PASS, DkimResult.FAIL, DkimResult.POLICY
NEUTRAL, PERMERROR, TEMPERROR = DkimResult.NEUTRAL, DkimResult.PERMERROR, DkimResult.TEMPERROR
NOW = 1_700_000_000.0

FIELDS, BODY = dkim_signer.split_message(
    b"Received: from a\r\n\tby b; now\r\n"
    b"From: Joe <joe@example.com>\r\n"
    b"To: sue@example.net\r\n"
    b"Subject: =?utf-8?q?caf=C3=A9?=\r\n and \t more\r\n"
    b"X-Raw: caf\xe9 \xc3\xa4\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"\r\n"
    b"Hello  world \r\n\r\n two\t\r\n\r\n"
)
RSA, ED, OTHER = make_key(), make_key("ed25519"), make_key(serial=1)
NAME = "s._domainkey.example.com"


def verify(
    fields: list[HeaderField],
    records: Any,
    body: bytes = BODY,
    now: float = NOW,
    **settings: Any,
) -> tuple[DkimFact, ...]:
    check = DkimCheck(fields, DkimSettings(**settings), now)
    check.body(body)
    return check.finish(TxtTable(records if isinstance(records, dict) else {NAME: records}))


def one(fields: list[HeaderField], records: Any, body: bytes = BODY, **settings: Any) -> tuple[DkimResult, str]:
    (fact,) = verify(fields, records, body, **settings)
    return fact.result, fact.reason


def signed(key: dkim_signer.PrivateKey = RSA, **tags: Any) -> list[HeaderField]:
    return [sign(FIELDS, tags.pop("body", BODY), "example.com", "s", key, **tags), *FIELDS]


@pytest.mark.parametrize("key", [RSA, ED, make_key(bits=1024)], ids=["rsa", "ed25519", "rsa1024"])
@pytest.mark.parametrize("canonicalization", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_good_signatures_pass(key: dkim_signer.PrivateKey, canonicalization: str) -> None:
    fields = signed(key, canonicalization=canonicalization, signed="from:to:subject:x-raw:received:from")
    (fact,) = verify(fields, dns_record(key))
    kind = "ed25519" if key is ED else "rsa"
    assert fact == DkimFact(
        PASS,
        domain="example.com",
        selector="s",
        identity="@example.com",
        algorithm=f"{kind}-sha256",
        b=fields[0].value.partition(b"b=")[2].rpartition(b" b=")[2].replace(b"\r\n ", b"").decode(),
        key_bits=256 if key is ED else key.key_size,  # type: ignore[union-attr]  # ED is the only other kind
        signed=("from", "to", "subject", "x-raw", "received", "from"),
    )


def test_relaxed_survives_refolding_and_simple_does_not() -> None:
    changed_body = b"Hello world\r\n\r\n two \r\n"
    for canonicalization, result in (("relaxed/relaxed", PASS), ("relaxed/simple", FAIL), ("simple/relaxed", FAIL)):
        fields = signed(canonicalization=canonicalization)
        fields[4] = HeaderField(b"SUBJECT ", b"=?utf-8?q?caf=C3=A9?= and\r\n\tmore  ")
        assert one(fields, dns_record(RSA), changed_body)[0] is result


SIGNED = signed(signed="from:to:subject:x-raw", canonicalization="simple/simple")


@pytest.mark.parametrize("place", [0, 2, 3, 4, 5])
def test_every_signed_octet_counts(place: int) -> None:
    value = SIGNED[place].value
    end = value.index(b"b=", value.index(b"bh=") + 3) if place == 0 else len(value)
    for at in range(end):
        changed = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        fields = [*SIGNED[:place], HeaderField(SIGNED[place].name, changed), *SIGNED[place + 1 :]]
        assert one(fields, dns_record(RSA))[0] in (FAIL, NEUTRAL, PERMERROR), changed


def test_every_octet_of_the_body_counts() -> None:
    for at in range(len(BODY) - 2):
        body = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
        assert one(SIGNED, dns_record(RSA), body) == (FAIL, "the body hash differs")


def test_every_octet_of_the_signature_counts() -> None:
    value = SIGNED[0].value
    for at in range(value.rindex(b"b=") + 2, len(value) - 3):
        if value[at : at + 1].isalnum():
            changed = value[:at] + (b"A" if value[at : at + 1] != b"A" else b"B") + value[at + 1 :]
            fields = [HeaderField(b"DKIM-Signature", changed), *FIELDS]
            assert one(fields, dns_record(RSA)) == (FAIL, "the signature does not fit the header")


P = public_base64(RSA)
KEYS: list[tuple[Any, tuple[DkimResult, str]]] = [
    (dns_record(RSA), (PASS, "")),
    (f"p={P}", (PASS, "")),
    (f"v=DKIM1; p={public_base64(RSA, pkcs1=True)}", (PASS, "")),
    (dns_record(OTHER), (FAIL, "the signature does not fit the header")),
    (Status.NXDOMAIN, (PERMERROR, "there is no key")),  # DKIM-22
    (Status.NODATA, (PERMERROR, "there is no key")),
    (Status.SERVFAIL, (TEMPERROR, "looking up the key: servfail")),
    (Status.TIMEOUT, (TEMPERROR, "looking up the key: timeout")),
    (Status.BOGUS, (TEMPERROR, "looking up the key: bogus")),
    ("v=spf1 -all", (PERMERROR, "the record is not a key record")),
    ("v=DKIM1; k=rsa", (PERMERROR, "p= is missing in the key record")),
    ("v=DKIM1; p=", (PERMERROR, "the key is revoked")),
    (f"v=DKIM1; h=sha1; p={P}", (PERMERROR, "the key does not allow sha256")),
    (f"v=DKIM1; s=other; p={P}", (PERMERROR, "the key is not for mail")),
    (dns_record(ED), (PERMERROR, "the type of the key does not fit a=")),  # DKIM-27
    (dns_record(RSA, "t=s; "), (PASS, "")),
    (dns_record(RSA, "t=y; "), (PASS, "the key is in test mode")),  # DKIM-30
    (dns_record(OTHER, "t=y; "), (NEUTRAL, "the signature does not fit the header, and the key is in test mode")),
    # DKIM-23: several records, in any order
    (["v=spf1 -all", dns_record(RSA), "junk"], (PASS, "")),
    ([dns_record(OTHER), dns_record(RSA)], (PASS, "")),
    ([dns_record(RSA), dns_record(OTHER)], (PASS, "")),
    ([f"p={P}", "v=DKIM1; p="], (PASS, "")),
    (["v=DKIM1; p=", dns_record(OTHER)], (FAIL, "the signature does not fit the header")),
    # what is no key record does not use up the attempts
    ([f"v=DKIM1; a={number}" for number in range(10)] + [dns_record(RSA)], (PASS, "")),
    ([b"\xff\x00", b""], (PERMERROR, "the record is not a key record")),
    ([f"junk {number}" for number in range(300)] + [dns_record(RSA)], (PASS, "")),
    ([dns_record(OTHER, f"n={number}; ") for number in range(300)], (FAIL, "the signature does not fit the header")),
]


@pytest.mark.parametrize(("records", "expected"), KEYS)
def test_what_the_key_says(records: Any, expected: tuple[DkimResult, str]) -> None:
    assert one(signed(), records) == expected


def test_the_order_of_key_records_does_not_matter() -> None:
    records = [dns_record(OTHER), "v=DKIM1; p=", "v=DKIM1; s=x; p=", "junk"]
    assert len({one(signed(), records[at:] + records[:at]) for at in range(4)}) == 1


@pytest.mark.parametrize(
    ("extra", "flags", "expected"),
    [
        ("i=@sub.example.com; ", "", (PASS, "")),
        ("i=@sub.example.com; ", "t=y:s; ", (PERMERROR, "the key does not allow i= below d=")),  # DKIM-29
        ("i=joe@EXAMPLE.com; ", "t=s; ", (PASS, "")),
        ("q=x-new/y:dns/txt; ", "", (PASS, "")),  # DKIM-16
        ("q=x-new/y; ", "", (NEUTRAL, "q= has no known method")),
        ("zz=unknown; ", "", (PASS, "")),  # DKIM-2
        (f"t={NOW - 5:.0f}; x={NOW + 5:.0f}; ", "", (PASS, "")),
        (f"x={NOW - 300:.0f}; ", "", (PASS, "")),  # the clocks may differ by so much
        (f"x={NOW - 301:.0f}; ", "", (POLICY, "the signature has expired")),  # DKIM-14
        (f"t={NOW + 301:.0f}; ", "", (POLICY, "the signature is from the future")),  # DKIM-15
        (f"t={NOW:.0f}; x={NOW:.0f}; ", "", (PERMERROR, "x= is not after t=")),
    ],
)
def test_what_the_signature_says(extra: str, flags: str, expected: tuple[DkimResult, str]) -> None:
    assert one(signed(extra=extra), dns_record(RSA, flags)) == expected


@pytest.mark.parametrize(
    ("bits", "settings", "expected"),
    [
        (512, {}, (POLICY, "the key has only 512 bits")),  # DKIM-32, and DKIM-43: not pass
        (1024, {}, (PASS, "")),
        (1024, {"min_rsa_bits": 2048}, (POLICY, "the key has only 1024 bits")),
        (512, {"min_rsa_bits": 512}, (POLICY, "the key has only 512 bits")),  # RFC 8301 §3.2 is no choice
        (2048, {"max_rsa_bits": 1536}, (POLICY, "the key has 2048 bits")),
        (4096, {}, (PASS, "")),
    ],
)
def test_sizes_of_rsa_keys(bits: int, settings: dict[str, Any], expected: tuple[DkimResult, str]) -> None:
    key = make_key(bits=bits)
    assert one(signed(key), dns_record(key), **settings) == expected


def test_sha1_is_policy_whatever_the_key_says() -> None:
    assert one(signed(algorithm="rsa-sha1"), dns_record(RSA)) == (POLICY, "rsa-sha1 is not accepted")


CANONICAL = len(dkim_signer.canonical_body(BODY, relaxed=True))


@pytest.mark.parametrize(
    ("length", "settings", "expected"),
    [
        (CANONICAL, {}, (PASS, "")),
        (CANONICAL - 1, {}, (POLICY, "1 octets of the body are not signed")),  # DKIM-13
        (0, {}, (POLICY, f"{CANONICAL} octets of the body are not signed")),
        (CANONICAL - 1, {"accept_partial_body": True}, (PASS, "1 octets of the body are not signed")),
        (CANONICAL + 1, {}, (PERMERROR, "l= is larger than the body")),  # DKIM-12
        (10**75, {"accept_partial_body": True}, (PERMERROR, "l= is larger than the body")),
    ],
)
def test_body_lengths(length: int, settings: dict[str, Any], expected: tuple[DkimResult, str]) -> None:
    assert one(signed(length=length), dns_record(RSA), **settings) == expected


def test_what_is_added_to_a_body_is_not_vouched_for() -> None:
    body = BODY.rstrip() + b"\r\nCheap pills\r\n"
    fields = signed(length=len(dkim_signer.canonical_body(BODY, relaxed=True)))
    assert one(fields, dns_record(RSA), body)[0] is POLICY
    assert one(signed(), dns_record(RSA), body) == (FAIL, "the body hash differs")


@pytest.mark.parametrize(
    ("names", "extra", "settings", "expected"),
    [
        ("from:subject", b"Subject: other", {}, (POLICY, "one Subject field is not signed")),  # RFC 6376 §8.15
        ("from:subject", b"FROM : evil@example.net", {}, (POLICY, "one From field is not signed")),
        ("from:subject", b"Subject: x", {"accept_added_fields": True}, (PASS, "one Subject field is not signed")),
        ("from:from:subject:subject", b"Subject: other", {}, (FAIL, "the signature does not fit the header")),
        ("from", b"Subject: other", {}, (PASS, "")),  # nothing is claimed of it
        ("from:received", b"Received: x", {}, (PASS, "")),  # there may be several
    ],
)
def test_added_fields(names: str, extra: bytes, settings: dict[str, Any], expected: tuple[DkimResult, str]) -> None:
    fields = signed(signed=names)
    added = HeaderField(*extra.split(b":", 1))
    assert one([added, *fields], dns_record(RSA), **settings) == expected


def test_fields_that_were_there_twice_and_are_signed_twice_pass() -> None:
    doubled = [*FIELDS, HeaderField(b"To", b" another@example.net")]
    field = sign(doubled, BODY, "example.com", "s", RSA, signed="from:to:to")
    assert one([field, *doubled], dns_record(RSA)) == (PASS, "")


def test_a_signature_may_list_signatures_but_not_itself() -> None:
    first = sign(FIELDS, BODY, "example.com", "s", RSA, signed="from:dkim-signature")  # there is none yet
    second = sign([first, *FIELDS], BODY, "example.com", "s", RSA, signed="from:dkim-signature")
    facts = verify([second, first, *FIELDS], dns_record(RSA))
    assert [fact.result for fact in facts] == [PASS, FAIL]  # what was signed as absent has been added
    third = sign([first, *FIELDS], BODY, "example.com", "s", ED, signed="from:dkim-signature:dkim-signature")
    assert one([third, *FIELDS], dns_record(ED))[0] is FAIL  # the signature listed has gone
    assert one([first, *FIELDS], dns_record(RSA)) == (PASS, "")


def test_no_signature() -> None:
    check = DkimCheck(FIELDS, DkimSettings(), NOW)
    assert (check.wants_body, check.key_names, check.domains, check.skipped) == (False, (), (), 0)
    check.body(BODY)
    assert check.finish(TxtTable({})) == (DkimFact(DkimResult.NONE, reason="the message is not signed"),)
    assert DkimCheck([], DkimSettings(), NOW).finish(TxtTable({}))[0].result is DkimResult.NONE


@pytest.mark.parametrize("canonicalization", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("body", [b"", b"\r\n", b" \r\n", b"\r\n\r\n", b"x", b"\r", b"a\n\nb\r\n", b"\x00\xff"])
def test_odd_bodies(body: bytes, canonicalization: str) -> None:
    fields = signed(body=body, canonicalization=canonicalization)
    assert one(fields, dns_record(RSA), body) == (PASS, "")


@pytest.mark.parametrize("canonicalization", ["simple/simple", "relaxed/relaxed"])
def test_a_message_without_a_body(canonicalization: str) -> None:
    check = DkimCheck(signed(body=b"", canonicalization=canonicalization), DkimSettings(), NOW)  # DKIM-41
    assert check.finish(TxtTable({NAME: dns_record(RSA)}))[0].result is PASS


def test_bad_signatures_leave_good_ones_alone() -> None:
    good = signed(ED)[0]
    bad = [
        HeaderField(b"DKIM-Signature", b" rubbish"),
        HeaderField(b"dkim-signature", b" v=1; a=rsa-sha256"),
        signed(OTHER)[0],
        sign(FIELDS, b"other", "example.org", "s", RSA),
        sign(FIELDS, BODY, "example.net", "s", RSA),
    ]
    records = {
        NAME: [dns_record(ED), dns_record(RSA)],
        "s._domainkey.example.org": dns_record(RSA),
        "s._domainkey.example.net": Status.TIMEOUT,
    }
    results = [NEUTRAL, PERMERROR, FAIL, FAIL, TEMPERROR]
    for at in range(len(bad) + 1):  # DKIM-20: the order means nothing
        facts = verify([*bad[:at], good, *bad[at:], *FIELDS], records)
        assert [fact.result for fact in facts] == [*results[:at], PASS, *results[at:]]
    check = DkimCheck([*bad, good, *FIELDS], DkimSettings(), NOW)
    assert check.domains == ("example.com", "example.org", "example.net")
    assert check.key_names == (NAME, "s._domainkey.example.org", "s._domainkey.example.net")


def test_a_wrong_body_is_a_failure_even_if_dns_is_silent() -> None:
    assert one(signed(), Status.TIMEOUT, b"changed") == (FAIL, "the body hash differs")
    assert one(signed(), Status.NXDOMAIN, b"changed") == (PERMERROR, "there is no key")
    assert one(signed(), dns_record(RSA, "t=y; "), b"changed")[0] is NEUTRAL


def test_keys_are_asked_for_only_where_they_matter() -> None:
    zone = TxtTable({NAME: dns_record(RSA)})
    check = DkimCheck(signed(algorithm="rsa-sha1"), DkimSettings(), NOW)
    assert (check.key_names, check.domains, check.wants_body) == ((), (), False)
    check.finish(zone)
    assert zone.asked == []
    check = DkimCheck([*signed()[:1], *signed()], DkimSettings(), NOW)
    assert check.key_names == (NAME,)
    assert check.finish(zone) is check.finish(zone)


def test_the_body_is_wanted_until_its_lengths_are_reached() -> None:
    check = DkimCheck(signed(length=5), DkimSettings(), NOW)
    assert check.wants_body
    check.body(b"Hello")
    assert check.wants_body
    check.body(b" world")
    assert not check.wants_body
    check.body(b"ignored")
    (fact,) = check.finish(TxtTable({NAME: dns_record(RSA)}))
    assert fact.result is POLICY
    whole = DkimCheck([*signed(length=5)[:1], *signed()], DkimSettings(), NOW)
    whole.body(BODY)
    assert whole.wants_body


def many(count: int, domain: str = "junk{}.example") -> list[HeaderField]:
    value = signed()[0].value
    return [
        HeaderField(b"DKIM-Signature", value.replace(b"d=example.com", b"d=" + domain.format(number).encode()))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("above", "prefer", "found"),
    [
        (9, (), True),
        (10, (), False),  # DKIM-19
        (10, ("example.com",), True),
        (10, ("news.example.com",), True),  # names above and below may be aligned
        (10, ("com",), True),
        (10, ("example.org",), False),
        (10, ("ample.com",), False),
        (99, ("example.com",), True),
        (100, ("example.com",), False),
    ],
)
def test_which_of_too_many_signatures_are_verified(above: int, prefer: tuple[str, ...], found: bool) -> None:
    fields = [*many(above), *signed()[:1], *many(3, "more{}.example"), *FIELDS]
    check = DkimCheck(fields, DkimSettings(), NOW, prefer)
    assert check.skipped == above + 4 - 10
    check.body(BODY)
    facts = check.finish(TxtTable({NAME: dns_record(RSA)}))
    assert len(facts) == 10
    assert (PASS in [fact.result for fact in facts]) is found
    places = [fact.domain for fact in facts]
    assert places == [name for name in (f"junk{at}.example" for at in range(above)) if name in places] + [
        name for name in ("example.com", *(f"more{at}.example" for at in range(3))) if name in places
    ]


def test_facts_name_what_they_are_about() -> None:
    value = signed()[0].value
    long = HeaderField(b"DKIM-Signature", value[: value.rindex(b"b=") + 2] + b"A" * 5000)
    facts = verify([HeaderField(b"DKIM-Signature", b"v=1; d=Example.ORG; s=a; b=QU JD"), long, *FIELDS], {})
    assert (facts[0].domain, facts[0].selector, facts[0].b) == ("example.org", "a", "QUJD")
    assert len(facts[1].b) == 1400
