"""DKIM through a real Postfix: our verdict is dkimpy's about the message as delivered, whatever the bytes."""

from __future__ import annotations

from collections.abc import Callable

import dkim
import pytest

from tests.support.dkim_signer import dns_record
from tests.support.gate import Gate
from tests.support.passage import Passage, pass_through
from tests.support.senders import BANK, KEY, MALLORY, SELECTOR, ZONE, mail
from tests.support.smtp_client import crlf
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

HEAD = b"From: someone@bank.example\r\nTo: me@home.example\r\nSubject: Bodies\r\n\r\n"
CANONICALIZATIONS = ["simple/simple", "relaxed/relaxed"]


@pytest.fixture(scope="module")
def gate(gate_factory: Callable[..., Gate], unbound_factory: Callable[..., PrivateUnbound]) -> Gate:
    settings = {"workers": 1, "dmarc": {"on_reject": "accept"}}
    return gate_factory(settings=settings, dns=unbound_factory(ZONE))


def sent(gate: Gate, message: bytes, bdat: int = 0) -> Passage:
    """From a host that SPF knows nothing of."""
    passage = pass_through(
        gate, message, mail_from=MALLORY.address, bdat=bdat, mail_params=["BODY=8BITMIME"], **MALLORY.client()
    )
    assert passage.fate == "delivered", passage.reply
    return passage


def peer(passage: Passage) -> str:
    """What dkimpy says of the delivered message: pass or fail."""

    def txt(name: bytes | str, timeout: int = 5) -> str | None:
        asked = name.decode() if isinstance(name, bytes) else name
        return dns_record(KEY) if asked.rstrip(".") == f"{SELECTOR}._domainkey.bank.example" else None

    content = passage.content
    while content.startswith((b"Authentication-Results:", b"Received:")):
        _, _, content = content.partition(b"\n")
        while content[:1] in (b" ", b"\t"):
            _, _, content = content.partition(b"\n")
    assert content.startswith(b"DKIM-Signature:")
    return "pass" if dkim.verify(content.replace(b"\n", b"\r\n"), dnsfunc=txt) else "fail"


# as they go over the wire
BODIES: dict[str, bytes] = {
    "empty": b"",
    "one empty line": b"\r\n",
    "empty lines": b"\r\n" * 50,
    "empty lines at the end": b"text\r\n\r\n\r\n",
    "dots": b".\r\n..\r\n.text\r\n\r\n...\r\nx.\r\n",
    "dot as last line": b"text\r\n.\r\n",
    "blanks": b" \t \r\n\t\r\n a  b\t\tc \r\n  \r\n",
    "8 bit": bytes(range(128, 256)) + b"\r\n",
    "control characters": bytes(c for c in range(1, 32) if c not in b"\r\n") + b"\x7f\r\n",
    "NUL": b"a\0b\r\n\0\r\n",
    "line of 998": b"x" * 998 + b"\r\n",
    "line of 5000": b"x" * 5000 + b"\r\n",
    "a chunk to the octet": b"x" * 65533 + b"\r\n",
    "chunks": b"0123456789\r\n" * 30_000,
    "CR LF at the edge of chunks": b"x" * 997 + b"\r\n" + (b"y" * 63 + b"\r\n") * 4000,
}


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
@pytest.mark.parametrize("name", BODIES)
def test_body(gate: Gate, name: str, canonicalization: str) -> None:
    passage = sent(gate, BANK.sign(HEAD + BODIES[name], canonicalization=canonicalization))
    assert passage.results["dkim"] == ["pass"]
    assert peer(passage) == "pass"


# These reach the recipient otherwise than they were signed, or not, as Postfix likes: only agreement counts.
BARE = {
    "LF in the middle": b"one\ntwo\r\n",
    "CR in the middle": b"one\rtwo\r\n",
    "CR at the end of a line": b"one\r\r\ntwo\r\n",
    "CR before an empty line": b"one\r\n\r\r\n\r\ntwo\r\n",
    "LF and CR in the wrong order": b"one\n\rtwo\r\n",
    "LF at the end": b"one\r\n\n",
    "CR at the end": b"one\r\n\r",
    "only CR": b"\r",
    "only LF": b"\n",
    "no line end": b"one\r\ntwo",
    "blank without line end": b"one\r\n ",
    "long line": b"x" * 100_000 + b"\r\n",
}


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
@pytest.mark.parametrize("bdat", [0, 100_000])
@pytest.mark.parametrize("name", BARE)
def test_bare_line_ends(gate: Gate, name: str, bdat: int, canonicalization: str) -> None:
    # signed as written and signed as Postfix may change it: at most one can be what is delivered
    variants = {BARE[name], BARE[name].replace(b"\r", b" "), crlf(BARE[name]), crlf(BARE[name].replace(b"\r", b" "))}
    for signed_body in sorted(variants):
        signature = BANK.sign(HEAD + signed_body, canonicalization=canonicalization).partition(HEAD)[0]
        passage = sent(gate, signature + HEAD + BARE[name], bdat)
        assert passage.results["dkim"] == [peer(passage)], passage.content


# fields that simple canonicalization must see to the blank
ODD = [
    b"Subject:no blank\r\n",
    b"Subject:  two blanks \r\n",
    b"Subject:\ttab\t\r\n",
    b"Subject:\r\n folded at once\r\n",
    b"Subject: folded\r\n\ttwice \r\n   over\r\n",
    b"Subject: fold with nothing in it\r\n \r\n more\r\n",
    b"Subject:\r\n",
    b"Subject: \r\n",
    b"sUBJECT : blank before the colon\r\n",
    b"Subject: \xfc\xff\r\n",
    b"Subject: CR \r in it\r\n",
    b"Subject: LF\n in it\r\n",
    b"Subject: " + b"x" * 5000 + b"\r\n",
    b"Subject: " + b"x\r\n " * 500 + b"\r\n",
    b"Subject: a\0b\r\n",
]


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
@pytest.mark.parametrize("field", ODD, ids=lambda field: repr(field[:30]))
def test_odd_spacing_and_folds(gate: Gate, field: bytes, canonicalization: str) -> None:
    head = b"From:someone@bank.example\r\n" + field + b"To: me@home.example \r\n\r\n"
    passage = sent(gate, BANK.sign(head + b"hello\r\n", canonicalization=canonicalization))
    assert passage.results["dkim"] == [peer(passage)]


def test_signature_in_odd_spacing(gate: Gate) -> None:
    """The signature's own field is hashed as it came too (RFC 6376 §3.7)."""
    for canonicalization in CANONICALIZATIONS:
        message = BANK.sign(mail(BANK.address), canonicalization=canonicalization, extra="z=From:\r\n\t x; \r\n\t")
        passage = sent(gate, message)
        assert (passage.results["dkim"], peer(passage)) == (["pass"], "pass")


def test_fields_twice(gate: Gate) -> None:
    """RFC 6376 §5.4.2: of several fields with one name the lowest is signed first."""
    head = b"Subject: upper\r\nFrom: someone@bank.example\r\nSubject: lower\r\nTo: a@home.example\r\n\r\n"
    message = BANK.sign(head + b"hello\r\n", signed="from:subject:subject:subject")
    for added, result in ((b"", "pass"), (b"X-Other: x\r\n", "pass"), (b"Subject: x\r\n", "fail")):
        for changed in (
            message.replace(b"To: a@", added + b"To: a@"),
            message.replace(b"Subject: up", added + b"Subject: up"),
        ):
            passage = sent(gate, changed)
            assert (passage.results["dkim"], peer(passage)) == ([result], result)
    # a reader may show the one that nobody signed: arithmetic says pass, we do not
    once = sent(gate, BANK.sign(head + b"hello\r\n", signed="from:subject"))
    assert (once.results["dkim"], peer(once)) == (["policy"], "pass")


def test_header_is_cut_at_nul_for_us_and_for_the_recipient_alike(gate: Gate) -> None:
    passage = sent(
        gate, BANK.sign(b"From: someone@bank.example\r\nSubject: a\0b\r\nTo: a@home.example\r\n\r\nhello\r\n")
    )
    assert b"\0" not in passage.content
    assert (passage.results["dkim"], peer(passage)) == (["fail"], "fail")
