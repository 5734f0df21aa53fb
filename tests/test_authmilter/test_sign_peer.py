"""Against opendkim and dkimpy: they verify what we sign and we verify what they sign, with messages that are no fun."""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim.check import DkimCheck
from authmilter.dkim.settings import DkimSettings
from tests.support import opendkim
from tests.support.dkim_signer import dns_record, make_key, pem, seed, split_message
from tests.support.dkim_zone import TxtTable
from tests.support.opendkim import OpenDkim, Signer
from tests.support.requirements import require
from tests.support.signing import Keys, sign_message

WORDS = [f"{header}/{body}" for header in ("relaxed", "simple") for body in ("relaxed", "simple")]
HEAD = (
    b"From: Alice <alice@example.org>\r\nTo: b@home.example\r\nSubject: Hello\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
)

NASTY = {
    "plain": HEAD + b"\r\nHello\r\n",
    "8-bit": HEAD
    + b"Comments: Gr\xfc\xdfe \xff\xfe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe \xff\r\n",
    "8-bit subject": HEAD.replace(b"Hello", b"\xe4\xf6\xfc \xe2\x82\xac") + b"\r\nHello\r\n",
    "long lines": HEAD
    + b"References: "
    + b"<a@b.example>" * 70
    + b"\r\n\r\n"
    + b"x" * 5000
    + b"\r\n"
    + b" y" * 2000
    + b"\r\n",
    "no final CRLF": HEAD + b"\r\nHello",
    "no final CRLF but blanks": HEAD + b"\r\nHello \t",
    "empty body": HEAD + b"\r\n",
    "only empty lines": HEAD + b"\r\n\r\n\r\n\r\n",
    "only blanks": HEAD + b"\r\n \t \r\n   \r\n",
    "lines of blanks inside": HEAD + b"\r\na\r\n \t\r\n\r\n  b  c\t\td \r\n\t\r\n\r\n",
    "folded": HEAD.replace(b"Hello", b"a\r\n b\r\n\t  c\t \r\n d") + b"\r\nHello\r\n",
    "repeated": HEAD + b"References: <1@a>\r\nList-Post: one\r\nReferences: <2@a>\r\nreferences:<3@a>\r\n\r\nHello\r\n",
    "empty values": HEAD + b"Cc:\r\nIn-Reply-To: \r\nReferences: \t \r\nSender:  \r\n\r\nHello\r\n",
    "dots": HEAD + b"\r\n.\r\n..\r\n.a\r\n...\r\n.\r\n",
    "blanks before the colon": b"From  : alice@example.org\r\nTO:b@home.example\r\nSUBJECT:\ta\r\n\r\nHello\r\n",
    "odd case": b"fROM:alice@example.org\r\nTO:b@home.example\r\nSUBJECT:\ta\r\n\r\nHello\r\n",
    "several authors": b"From: alice@example.org, bob@example.org\r\nSender: bob@example.org\r\n\r\nHello\r\n",
    "signed before": HEAD
    + b"DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=from; bh=AA==; b=AA==\r\n\r\nHello\r\n",
    "several chunks": HEAD + b"\r\n" + b"a line of text  with two blanks \r\n" * 6_000,
}


def verify_by_dkimpy(message: bytes, records: dict[str, str], count: int) -> list[bool]:
    def lookup(name: bytes, timeout: int = 5) -> bytes | None:
        found = records.get(name.decode().removesuffix("."))
        return found.encode() if found else None

    check = dkim.DKIM(message)
    return [check.verify(idx=place, dnsfunc=lookup) for place in range(count)]


def verify_here(message: bytes, records: dict[str, str]) -> list[str]:
    fields, body = split_message(message)
    check = DkimCheck(fields, DkimSettings(), time.time())
    check.body(body)
    table: Any = TxtTable(dict(records))
    return [str(fact.result) for fact in check.finish(table)]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def both(keys: Keys) -> dict[str, Any]:
    identities = {"rsa": ("example.org", "r1", "rsa"), "ed": ("example.org", "e1", "ed25519")}
    return keys.tables(identities, {"example.org": ["rsa", "ed"]})


@pytest.fixture(scope="module")
def verifier(keys: Keys, both: dict[str, Any]) -> Iterator[OpenDkim]:
    require(opendkim.missing())
    with OpenDkim(keys.records) as peer:
        yield peer


def tables_for(both: dict[str, Any], canonicalization: str) -> dict[str, Any]:
    return {"sign": {**both["sign"], "canonicalization": canonicalization}}


# what a peer reads otherwise: both see no From in "From  :"; dkimpy 1.1.8 strips blanks at the end of the body only
# before CRLF (RFC 6376 §3.4.4), and takes a value of nothing but blanks for no field
NOT_FOR_OPENDKIM = {"blanks before the colon"}
NOT_FOR_DKIMPY = {"blanks before the colon", "no final CRLF but blanks", "empty values"}


@pytest.mark.parametrize("canonicalization", WORDS)
@pytest.mark.parametrize("case", [case for case in NASTY if case not in NOT_FOR_OPENDKIM])
def test_opendkim_verifies_our_signatures(
    verifier: OpenDkim, both: dict[str, Any], case: str, canonicalization: str
) -> None:
    message = sign_message(NASTY[case], tables_for(both, canonicalization))
    assert verifier.results(message)[:2] == ["pass", "pass"], message[:1500]


def test_opendkim_sees_a_change(verifier: OpenDkim, both: dict[str, Any]) -> None:
    message = sign_message(NASTY["plain"], both)
    assert verifier.results(message + b"more\r\n") == ["fail", "fail"]
    assert verifier.results(message.replace(b"Subject: Hello", b"Subject: Jello")) == ["fail", "fail"]
    assert verifier.results(message.replace(b"To: b@", b"To: c@home.example\r\nTo: b@")) == ["fail", "fail"]


@pytest.mark.parametrize("canonicalization", WORDS)
@pytest.mark.parametrize("case", NASTY)
def test_dkimpy_and_we_verify_our_signatures(
    keys: Keys, both: dict[str, Any], case: str, canonicalization: str
) -> None:
    message = sign_message(NASTY[case], tables_for(both, canonicalization))
    if case == "blanks before the colon":  # an MTA does not show them: simple canonicalization cannot know of them
        message = message.replace(b"From  :", b"From:")
    assert verify_here(message, keys.records)[:2] == ["pass", "pass"]
    if case not in NOT_FOR_DKIMPY:
        assert verify_by_dkimpy(message, keys.records, 2) == [True, True]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("canonicalization", WORDS)
def test_we_verify_opendkims_signatures(kind: str, canonicalization: str) -> None:
    require(opendkim.missing())
    key = make_key(kind)
    records = {"o1._domainkey.example.org": dns_record(key)}
    with OpenDkim(sign=Signer("example.org", "o1", key, f"{kind}-sha256", canonicalization)) as peer:
        signed = {case: peer.sign(message) for case, message in NASTY.items() if case not in NOT_FOR_OPENDKIM}
    found = {case: verify_here(message, records)[0] for case, message in signed.items()}
    if kind == "ed25519" and canonicalization.startswith("simple"):
        # opendkim 2.11 makes signatures of this kind that nobody can verify, neither itself nor dkimpy
        with OpenDkim(records) as peer:
            assert peer.results(signed["plain"]) == ["fail"]
        assert verify_by_dkimpy(signed["plain"], records, 1) == [False]
        assert found == dict.fromkeys(found, "fail")
    else:
        assert found == dict.fromkeys(found, "pass")


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("case", [case for case in NASTY if case not in NOT_FOR_DKIMPY])
def test_we_verify_dkimpys_signatures(kind: str, case: str) -> None:
    key = make_key(kind)
    private = base64.b64encode(seed(key)) if kind == "ed25519" else pem(key)
    field = dkim.sign(
        NASTY[case],
        b"d1",
        b"example.org",
        private,
        canonicalize=(b"relaxed", b"relaxed"),
        signature_algorithm=f"{kind}-sha256".encode(),
    )
    records = {"d1._domainkey.example.org": dns_record(key)}
    assert verify_here(field + NASTY[case], records)[0] == "pass"


TEXT = st.text('ab. \t=;:"()<>\xa0\xff', max_size=30).map(lambda text: text.encode("latin-1"))
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"Subject", b"TO", b"Cc", b"x-other", b"References", b"Reply-To", b"List-Id"]),
        st.lists(TEXT, min_size=1, max_size=3).map(lambda parts: b" x" + b"\r\n y".join(parts)),
    ),
    max_size=8,
)
BODIES = st.lists(st.text("ab. \t\xa0\xff", max_size=10), max_size=8).map(
    lambda lines: b"".join(line.encode("latin-1") + b"\r\n" for line in lines)
)


@pytest.fixture(scope="module")
def generated() -> Iterator[tuple[Keys, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Path(folder))
        identities = {"rsa": ("example.org", "r1", "rsa"), "ed": ("example.org", "e1", "ed25519")}
        yield keys, keys.tables(identities, {"example.org": ["rsa", "ed"]})


@pytest.mark.parametrize("canonicalization", WORDS)
@settings(max_examples=40, deadline=None)
@given(fields=FIELDS, body=BODIES)
def test_generated_messages(
    generated: tuple[Keys, dict[str, Any]],
    canonicalization: str,
    fields: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    keys, tables = generated
    head = b"".join(name + b":" + value + b"\r\n" for name, value in fields)
    message = sign_message(b"From: alice@example.org\r\n" + head + b"\r\n" + body, tables_for(tables, canonicalization))
    assert verify_here(message, keys.records)[:2] == ["pass", "pass"]
    assert verify_by_dkimpy(message, keys.records, 2) == [True, True]
