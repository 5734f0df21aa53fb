"""Against dkimpy, the other implementation in this language: each verifies what the other signs.

The last table lists standard cases in which dkimpy 1.1.8 answers otherwise, each with the rule that it misses. It is
the reason why the verifier here is our own and dkimpy is a dependency of the tests alone.
"""

from __future__ import annotations

import base64
import time
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim.check import DkimCheck
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimResult, HeaderField
from mailcommon.dns.answer import Status
from tests.support import dkim_signer
from tests.support.dkim_signer import dns_record, join_message, make_key, public_base64, sign, split_message
from tests.support.dkim_zone import TxtTable

RSA, ED = make_key(bits=1024), make_key("ed25519")  # dkimpy takes long over larger ones
NAME = "s._domainkey.example.com"
NOW = time.time()
WORDS = ["simple", "relaxed"]


def ours(message: bytes, record: Any) -> DkimResult:
    fields, body = split_message(message)
    check = DkimCheck(fields, DkimSettings(), time.time())
    check.body(body)
    return check.finish(TxtTable({NAME: record}))[0].result


def theirs(message: bytes, record: Any) -> str:
    def lookup(name: bytes, timeout: int = 5) -> bytes | None:
        if record is Status.TIMEOUT:
            raise dkim.DnsTimeoutError("timeout")
        return record.encode() if name == NAME.encode() + b"." else None

    try:
        return "pass" if dkim.verify(message, dnsfunc=lookup) else "no pass"
    except ValueError:
        return "exception"


FIELD_VALUES = st.lists(
    st.sampled_from(
        [b" ", b"\t", b"\r\n ", b"\r\n\t  ", b"word", b"=?utf-8?q?=C3=A4?=", b"\xe9", b":", b";", b"=", b"b=x"]
    ),
    max_size=8,
).map(lambda parts: b"".join(parts) + b"x")
HEADERS = st.lists(st.tuples(st.sampled_from([b"Subject", b"TO", b"X-A", b"x-b"]), FIELD_VALUES), max_size=6)
BODIES = st.lists(st.text("ab \t\xa0\xff", max_size=10), max_size=8).map(
    lambda lines: b"".join(line.encode("latin-1") + b"\r\n" for line in lines)
)
SIGNED_NAMES = ["from", "subject", "to", "x-a", "x-a", "subject", "missing"]


def message_of(lines: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    return join_message([HeaderField(b"From", b" a@example.com"), *(HeaderField(*line) for line in lines)], body)


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("body_word", WORDS)
@pytest.mark.parametrize("header_word", WORDS)
@settings(max_examples=20, deadline=None)
@given(lines=HEADERS, body=BODIES)
def test_their_signatures_verify_here(
    key: dkim_signer.PrivateKey, header_word: str, body_word: str, lines: list[tuple[bytes, bytes]], body: bytes
) -> None:
    message = message_of(lines, body)
    private = base64.b64encode(dkim_signer.seed(key)) if key is ED else dkim_signer.pem(key)
    field = dkim.sign(
        message,
        b"s",
        b"example.com",
        private,
        canonicalize=(header_word.encode(), body_word.encode()),
        signature_algorithm=b"ed25519-sha256" if key is ED else b"rsa-sha256",
        include_headers=SIGNED_NAMES,
    )
    result = ours(field + message, dns_record(key))
    # a second Subject or To that dkimpy did not sign is a reason of ours not to accept the signature
    doubled = any(
        sum(line[0].lower() == name for line in lines) > count for name, count in ((b"subject", 2), (b"to", 1))
    )
    assert result is (DkimResult.POLICY if doubled else DkimResult.PASS)


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("canonicalization", [f"{header}/{body}" for header in WORDS for body in WORDS])
@settings(max_examples=20, deadline=None)
@given(lines=HEADERS, body=BODIES)
def test_our_signatures_verify_there(
    key: dkim_signer.PrivateKey, canonicalization: str, lines: list[tuple[bytes, bytes]], body: bytes
) -> None:
    fields, body = split_message(message_of(lines, body))
    field = sign(
        fields, body, "example.com", "s", key, canonicalization=canonicalization, signed=":".join(SIGNED_NAMES)
    )
    assert theirs(join_message([field, *fields], body), dns_record(key)) == "pass"


FIELDS, BODY = split_message(b"From: a@example.com\r\nSubject: Hello\r\nX-A: b\r\n\r\nHello\r\n")


def signed(
    record: str = dns_record(RSA),
    fields: list[HeaderField] = FIELDS,
    body: bytes = BODY,
    added: bytes = b"",
    **tags: Any,
) -> tuple[bytes, Any]:
    """A message signed for example.com, `added` to its body afterwards, and its key record."""
    return join_message([sign(fields, body, "example.com", "s", RSA, **tags), *fields], body + added), record


def with_sha1() -> tuple[bytes, str]:
    field = HeaderField(
        b"DKIM-Signature", b" v=1; a=rsa-sha1; d=example.com; s=s; h=from; bh=uoq1oCgLlTqpdDX/iUbLy7J1Wic=; b="
    )
    data = b"From: a@example.com\r\n" + field.name + b":" + field.value
    made = base64.b64encode(RSA.sign(data, PKCS1v15(), SHA1()))  # type: ignore[call-arg]  # RSA is an RSA key
    return join_message([HeaderField(field.name, field.value + made), *FIELDS], b"\r\n"), dns_record(RSA)


def with_blank_after_b() -> tuple[bytes, str]:
    """b= is followed by a blank, which goes when the value of b= goes."""
    start = sign(FIELDS, BODY, "example.com", "s", RSA, canonicalization="simple/simple").value
    before = start[: start.rindex(b"b=") + 2]
    data = b"From: a@example.com\r\nSubject: Hello\r\nDKIM-Signature:" + before + b"; t=1"
    made = base64.b64encode(dkim_signer.raw_signature(RSA, data))
    return join_message([HeaderField(b"DKIM-Signature", before + made + b" ; t=1"), *FIELDS], BODY), dns_record(RSA)


P = public_base64(RSA)
PASS, POLICY, FAIL = DkimResult.PASS, DkimResult.POLICY, DkimResult.FAIL
NEUTRAL, PERMERROR, TEMPERROR = DkimResult.NEUTRAL, DkimResult.PERMERROR, DkimResult.TEMPERROR
ODD_BODY = b"a \n b\nc\r\n"

DIFFERENCES = {
    # what it is: (message and key record, our result, what dkimpy does)
    "key h= without sha256, RFC 6376 §6.1.2 step 6": (signed(f"v=DKIM1; h=sha1; p={P}"), PERMERROR, "pass"),
    "key s= is a list, RFC 6376 §3.6.1": (signed(f"v=DKIM1; s=email:x; p={P}"), PASS, "no pass"),
    "key t=s and i= below d=, RFC 6376 §3.6.1": (
        signed(f"v=DKIM1; t=s; p={P}", extra="i=@x.example.com; "),
        PERMERROR,
        "pass",
    ),
    "key v= is not first, RFC 6376 §3.6.1": (signed(f"p={P}; v=DKIM1"), PERMERROR, "pass"),
    "key k= without letter case, RFC 5234 §2.3": (signed(f"v=DKIM1; k=RSA; p={P}"), PASS, "no pass"),
    "i= has no @, RFC 6376 §3.5": (signed(extra="i=joe.example.com; "), NEUTRAL, "pass"),
    "i= is encoded, RFC 6376 §2.11": (signed(extra="i=joe=40example.com; "), PASS, "no pass"),
    "q= lists several methods, RFC 6376 §3.5": (signed(extra="q=x/y:dns/txt; "), PASS, "no pass"),
    "c= without letter case, RFC 5234 §2.3": (signed(replace={"c": "Relaxed/Relaxed"}), PASS, "no pass"),
    "x= passed an hour ago, RFC 6376 §6.1.1": (signed(extra=f"x={NOW - 3600:.0f}; "), POLICY, "pass"),
    "x= equals t=, RFC 6376 §3.5": (signed(extra=f"t={NOW:.0f}; x={NOW:.0f}; "), PERMERROR, "pass"),
    "t= is an hour ahead, RFC 6376 §3.5": (signed(extra=f"t={NOW + 3600:.0f}; "), POLICY, "pass"),
    "l= is larger than the body, RFC 6376 §3.5": (signed(replace={"l": "9999"}), PERMERROR, "pass"),
    "l= is empty, RFC 6376 §3.5": (signed(replace={"l": ""}), NEUTRAL, "exception"),
    "the body goes on beyond l=, RFC 6376 §8.2": (signed(length=7, added=b"Pills\r\n"), POLICY, "pass"),
    "rsa-sha1, RFC 8301 §3.1": (with_sha1(), POLICY, "pass"),
    "d= has one label, RFC 6376 §3.5": (
        (signed()[0].replace(b"d=example.com", b"d=com"), dns_record(RSA)),
        NEUTRAL,
        "no pass",
    ),
    "h= lists the signature itself, RFC 6376 §3.5": (signed(signed="from:dkim-signature"), PASS, "no pass"),
    "a blank after the value of b=, RFC 6376 §3.7": (with_blank_after_b(), PASS, "no pass"),
    "LF is no end of a line, RFC 6376 §2.8": (signed(body=ODD_BODY), PASS, "no pass"),
    "a form feed is no blank, RFC 6376 §2.8": (
        signed(fields=[*FIELDS[:2], HeaderField(b"X-A", b" b\x0c")], signed="from:x-a"),
        PASS,
        "no pass",
    ),
    "DNS does not answer, RFC 6376 §6.1.2 step 2": ((signed()[0], Status.TIMEOUT), TEMPERROR, "no pass"),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_where_dkimpy_differs(case: str) -> None:
    (message, record), our_result, their_result = DIFFERENCES[case]
    assert (ours(message, record), theirs(message, record)) == (our_result, their_result)
