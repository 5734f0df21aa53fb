"""ARC through a real Postfix: what stands in the delivered header about sealed, forged and changed messages."""

from __future__ import annotations

from collections.abc import Callable

import dkim
import pytest

from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, make_key
from tests.support.gate import Gate
from tests.support.passage import Passage, pass_through
from tests.support.senders import ALUMNI, BANK, KEY, LISTS, MALLORY, SELECTOR, SHOP, ZONE, mail
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]


@pytest.fixture(scope="module")
def gate(gate_factory: Callable[..., Gate], unbound_factory: Callable[..., PrivateUnbound]) -> Gate:
    return gate_factory(settings={"workers": 1, "dmarc": {"on_reject": "accept"}}, dns=unbound_factory(ZONE))


def through_list(message: bytes = b"") -> bytes:
    """A list takes a message of the bank's, writes into its body, and seals it."""
    original = message or BANK.sign(mail(BANK.address))
    changed = original.replace(b"Hello,", b"[list] Hello,")
    return seal(changed, LISTS.domain, SELECTOR, KEY, results=f"{LISTS.domain}; dmarc=pass header.from={BANK.domain}")


def sent(gate: Gate, message: bytes) -> Passage:
    passage = pass_through(gate, message, mail_from=LISTS.address, **LISTS.client())
    assert passage.fate == "delivered", passage.reply
    return passage


def peer(passage: Passage) -> str:
    """What dkimpy says of the chain as delivered."""

    def txt(name: bytes | str, timeout: int = 5) -> str:
        return dns_record(KEY)

    content = passage.content
    while content.startswith((b"Authentication-Results:", b"Received:")):
        _, _, content = content.partition(b"\n")
        while content[:1] in (b" ", b"\t"):
            _, _, content = content.partition(b"\n")
    status, _, _ = dkim.arc_verify(content.replace(b"\n", b"\r\n"), dnsfunc=txt)
    return (status or b"fail").decode()


def test_a_sealed_message(gate: Gate) -> None:
    passage = sent(gate, through_list())
    assert passage.properties("arc") == {"smtp.remote-ip": LISTS.ip, "header.oldest-pass": "0"}
    assert (passage.results["arc"], peer(passage)) == (["pass"], "pass")
    assert "arc=pass (i=1 lists.example) header.oldest-pass=0 smtp.remote-ip=198.51.100.8;" in passage.top.replace(
        "\n\t", " "
    )
    assert passage.results["dmarc"] == ["fail"]  # evidence, and never more than that
    assert " arc=pass:lists.example " in passage.line
    assert [name for name, _ in passage.fields[2:5]] == [
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
    ]  # ARC-24: they stay


def test_two_hops(gate: Gate) -> None:
    message = seal(through_list().replace(b"[list]", b"[list] [alumni]"), ALUMNI.domain, SELECTOR, KEY)
    passage = sent(gate, message)
    assert (passage.results["arc"], peer(passage)) == (["pass"], "pass")
    assert passage.properties("arc")["header.oldest-pass"] == "2"
    assert "(i=2 alumni.example, i=1 lists.example)" in passage.top.replace("\n\t", " ")


def test_a_message_without_a_chain(gate: Gate) -> None:
    passage = pass_through(gate, SHOP.sign(mail(SHOP.address)), mail_from=SHOP.address, **SHOP.client())
    assert (passage.results["arc"], passage.properties("arc")) == (["none"], {"smtp.remote-ip": SHOP.ip})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (through_list().replace(b"bye", b"buy"), "the body hash differs"),
        (through_list().replace(b"Subject: Greetings", b"Subject: Pills"), "the signature does not fit the header"),
        (through_list().replace(b"dmarc=pass", b"dmarc=none"), "the signature does not fit the sets"),
        (seal(BANK.sign(mail(BANK.address)), LISTS.domain, SELECTOR, make_key(serial=7)), "does not fit the header"),
        (seal(mail(BANK.address), LISTS.domain, "nokey", KEY), "there is no key"),
        (seal(through_list(), MALLORY.domain, SELECTOR, KEY, status="fail"), "the chain was broken before"),
        (b"ARC-Seal: i=1; rubbish\r\n" + through_list(), "an ARC-Seal cannot be read"),
    ],
    ids=["body", "subject", "results", "forged", "no key", "broken before", "junk"],
)
def test_chains_that_fail(gate: Gate, message: bytes, reason: str) -> None:
    passage = sent(gate, message)
    assert (passage.results["arc"], passage.properties("arc")) == (["fail"], {"smtp.remote-ip": LISTS.ip})
    assert reason in passage.top.replace("\n\t", " ")
    assert " arc=" in passage.line
    assert reason in passage.line


@pytest.mark.parametrize("canonicalization", ["simple/simple", "relaxed/relaxed"])
def test_bodies_and_folds_as_the_wire_has_them(gate: Gate, canonicalization: str) -> None:
    body = ".dot\n..\n a  b \t\n" + "0123456789\n" * 20_000 + "\n\n"
    message = seal(
        mail(BANK.address, subject="folded\n\tand  more ", body=body),
        LISTS.domain,
        SELECTOR,
        KEY,
        canonicalization=canonicalization,
    )
    assert sent(gate, message).results["arc"] == ["pass"]
