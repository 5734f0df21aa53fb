"""Spoofs of a p=reject domain by a stranger whose own SPF, DKIM and DMARC are perfect, through a real Postfix.

Each message was made so that a verifier and a mail client may see different authors: the forms of "Composition Kills"
(A1 to A19) and those by which other verifiers were bypassed. None may reach a mailbox with a field of ours that says
pass or none for the spoofed domain, or that judges another domain while a reader is shown the spoofed one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.dkim_signer import sign, split_message
from tests.support.gate import gate_settings
from tests.support.milter_daemon import MilterDaemon
from tests.support.passage import Inbound, Passage, settle
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.senders import KEY, MALLET, MALLORY, OPTIONS, SELECTOR, ZONE, Sender
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

VICTIM = b"bank.example"
CEO = b"ceo@bank.example"
ME = b"me@mallory.example"
REFUSED = "refused"


def encoded(text: bytes, kind: str = "B") -> bytes:
    """An encoded word (RFC 2047 §2)."""
    raw = base64.b64encode(text) if kind == "B" else b"".join(b"=%02X" % octet for octet in text)
    return b"=?utf-8?" + kind.encode() + b"?" + raw + b"?="


@dataclass(frozen=True, slots=True)
class Trick:
    """A header, and what has to become of the message: `REFUSED`, or the domains as which it is judged."""

    header: bytes  # fields with CRLF line ends
    outcome: str | list[str] = REFUSED
    mail_from: bytes = ME
    helo: bytes = b""  # "" = that of the host
    sender: Sender = MALLORY
    signed: bool = True  # with a good signature of `sender`, From and what there is
    refused_at: str = "message"  # or the command that Postfix refuses by itself
    mentions: bool = (
        False  # the victim's name may stand in what is delivered as From: no reader takes it for the author
    )


# From fields, alone in the message
FROM: dict[str, Trick] = {
    "plain": Trick(b"From: " + CEO),
    "in angle brackets": Trick(b"From: CEO <" + CEO + b">"),
    "in capitals": Trick(b"FROM: CEO@BANK.EXAMPLE"),
    "dot at the end of the domain": Trick(b"From: ceo@bank.example."),
    "A8: two fields": Trick(b"From: " + ME + b"\r\nFrom: " + CEO),
    "A8: two fields, the other way round": Trick(b"From: " + CEO + b"\r\nFrom: " + ME),
    "A8: two fields, names in other case": Trick(b"From: " + ME + b"\r\nfRoM: " + CEO),
    "A8: two fields of one author who is genuine": Trick(b"From: " + ME + b"\r\nFrom: " + ME),
    "A9: blank before the name, first": Trick(b" From: " + CEO + b"\r\nFrom: " + ME, signed=False),
    "A9: blank before the name, below the signature": Trick(
        b" From: " + CEO + b"\r\nFrom: " + ME, ["mallory.example"], mentions=True
    ),
    "A9: blank before the name, after another field": Trick(
        b"To: a@home.example\r\n From: " + CEO + b"\r\nFrom: " + ME, ["mallory.example"], mentions=True
    ),
    "A9: blank before the name, alone": Trick(b"To: a@home.example\r\n From: " + CEO),
    "A9: blank before the name, after From": Trick(b"From: " + ME + b"\r\n From: " + CEO),
    "A10: blank behind the name": Trick(b"From : " + CEO + b"\r\nFrom: " + ME),
    "A10: blank behind the name, below": Trick(b"From: " + ME + b"\r\nFrom : " + CEO),
    "A10: blank behind the name, alone": Trick(b"From : " + CEO),
    "A10: tab behind the name": Trick(b"From: " + ME + b"\r\nFrom\t: " + CEO),
    "A11: folded name": Trick(b"From\r\n : " + CEO + b"\r\nFrom: " + ME),
    "A11: folded name, below": Trick(b"From: " + ME + b"\r\nFrom\r\n : " + CEO, ["mallory.example"]),
    "A11: folded name, alone": Trick(b"From\r\n : " + CEO),
    "name with a control character": Trick(b"From: " + ME + b"\r\nFrom\x01: " + CEO, ["mallory.example"]),
    "name with NUL": Trick(b"From: " + ME + b"\r\nFrom\0: " + CEO, ["mallory.example"]),
    "name with eight bits": Trick(b"From: " + ME + b"\r\nFrom\xa0: " + CEO, ["mallory.example"]),
    "name without a colon": Trick(b"From: " + ME + b"\r\nFrom " + CEO, ["mallory.example"]),
    "A12: Sender beside an odd From": Trick(b"From: x\r\nSender: " + CEO),
    "A12: Sender and no From": Trick(b"Sender: " + CEO),
    "A12: Sender beside a good From": Trick(b"From: " + ME + b"\r\nSender: " + CEO, ["mallory.example"]),
    "A13: Resent-From beside an odd From": Trick(b"From: <>\r\nResent-From: " + CEO),
    "A13: Resent-From and no From": Trick(b"Resent-From: " + CEO),
    "Reply-To and no From": Trick(b"Reply-To: " + CEO),
    "X-From and no From": Trick(b"X-From: " + CEO),
    "no From": Trick(b"Subject: none"),
    "empty From": Trick(b"From:"),
    "From of blanks and folds": Trick(b"From: \r\n \t\r\n "),
    "A14: several addresses": Trick(b"From: " + ME + b", " + CEO),
    "A14: several addresses, the other way round": Trick(b"From: <" + CEO + b">, <" + ME + b">"),
    "A14: five domains": Trick(b"From: " + b", ".join(b"x@d%d.mallory.example" % n for n in range(5))),
    "A15: encoded address": Trick(b"From: " + encoded(b"<" + CEO + b">") + b", <" + ME + b">"),
    "A15: encoded address alone": Trick(b"From: " + encoded(CEO)),
    "A15: encoded address in angle brackets": Trick(b"From: <" + encoded(CEO) + b">"),
    "A15: encoded local part that ends the address": Trick(b"From: <" + encoded(CEO + b">") + b"@mallory.example>"),
    "A15: encoded local part by Q": Trick(b"From: " + encoded(CEO, "Q") + b"@mallory.example"),
    "A15: encoded domain": Trick(b"From: ceo@" + encoded(VICTIM)),
    "A15: encoded name that ends in an address": Trick(
        b"From: " + encoded(b"CEO <" + CEO + b">") + b" <" + ME + b">", ["mallory.example"]
    ),
    "A15: encoded name with line ends": Trick(
        b"From: " + encoded(b"x\r\nFrom: " + CEO + b"\r\n") + b" <" + ME + b">", ["mallory.example"]
    ),
    "A15: encoded name with NUL": Trick(b"From: " + encoded(CEO + b"\0") + b" <" + ME + b">", ["mallory.example"]),
    "A16: source route to the victim": Trick(b"From: <@mallory.example,@any.example:" + CEO + b">"),
    "A16: source route over the victim": Trick(
        b"From: <@bank.example:" + ME + b">", ["mallory.example"], mentions=True
    ),
    "A16: source route without colon": Trick(b"From: <@bank.example," + ME + b">"),
    "A17: quoted pair": Trick(b"From: <" + CEO + b">\\, <" + ME + b">"),
    "A17: quoted pair, the other way round": Trick(b"From: <" + ME + b">\\, <" + CEO + b">"),
    "A17: quoted pair in the domain": Trick(b"From: <ceo@bank\\.example>"),
    "A18: bare address before one in angle brackets": Trick(b"From: " + CEO + b",<" + ME + b">"),
    "A18: bare address as name": Trick(b"From: " + CEO + b" <" + ME + b">"),
    "A18: bare address as name, in comment marks": Trick(b"From: (" + ME + b") " + CEO),
    "A19: address behind the valid one": Trick(b"From: <" + ME + b">" + CEO),
    "A19: address in brackets behind the valid one": Trick(b"From: <" + ME + b"> <" + CEO + b">"),
    "A19: name behind the address": Trick(b"From: <" + ME + b"> bank.example"),
    "display name holding an address": Trick(b'From: "' + CEO + b'" <' + ME + b">", ["mallory.example"], mentions=True),
    "display name holding an address in brackets": Trick(
        b'From: "CEO <' + CEO + b'>" <' + ME + b">", ["mallory.example"], mentions=True
    ),
    "display name with a quote and an address": Trick(
        b'From: "\\"' + CEO + b'\\"" <' + ME + b">", ["mallory.example"], mentions=True
    ),
    "address in a comment": Trick(b"From: " + ME + b" (" + CEO + b")", ["mallory.example"], mentions=True),
    "empty group": Trick(b"From: ceo@bank.example:;"),
    "empty group, an address beside it": Trick(b"From: x:;, " + CEO),
    "group": Trick(b"From: The bank: " + ME + b", " + CEO + b";"),
    "group that is not closed": Trick(b"From: The bank: " + CEO),
    "group whose name is an address": Trick(b"From: " + CEO + b": " + ME + b";"),
    "quote that is not closed": Trick(b'From: "CEO <' + CEO + b">"),
    "quote that is not closed, behind": Trick(b"From: <" + CEO + b'> "'),
    "quote in the middle": Trick(b'From: <me@mallory.example"' + CEO + b">"),
    "bracket that is not closed": Trick(b"From: CEO <" + CEO),
    "bracket that is not open": Trick(b"From: " + CEO + b">"),
    "bracket twice": Trick(b"From: <<" + CEO + b">>"),
    "bracket in a bracket": Trick(b"From: <" + ME + b"<" + CEO + b">>"),
    "comment that is not closed": Trick(b"From: " + CEO + b" (x"),
    "comment that is not closed, in the domain": Trick(b"From: ceo@bank.example(.mallory.example"),
    "comment in the domain": Trick(b"From: ceo@bank.example(.mallory.example)"),
    "quote in the domain": Trick(b"From: ceo@bank.example'.mallory.example"),
    "quoted domain": Trick(b'From: ceo@"bank.example"'),
    "address literal": Trick(b"From: ceo@[bank.example]"),
    "two signs": Trick(b"From: me@mallory.example@bank.example"),
    "two signs, the other way round": Trick(b"From: ceo@bank.example@mallory.example"),
    "quoted local part that is an address": Trick(
        b'From: "' + CEO + b'"@mallory.example', ["mallory.example"], mentions=True
    ),
    "quoted local part with a name": Trick(
        b'From: "CEO <ceo@bank.example>"@mallory.example', ["mallory.example"], mentions=True
    ),
    "open comment in the local part": Trick(b"From: <(" + CEO + b">"),
    "closed comment in the local part": Trick(b"From: <(ceo@mallory.example)" + CEO + b">"),
    "percent route": Trick(b"From: ceo%bank.example@mallory.example", ["mallory.example"], mentions=True),
    "blank in the domain": Trick(b"From: ceo@bank.example mallory.example"),
    "blank before the domain": Trick(b"From: ceo@ bank.example"),
    "semicolon as separator": Trick(b"From: " + ME + b"; " + CEO),
    "fold in the address": Trick(b"From: ceo@bank\r\n .example"),
    "fold with tab before the address": Trick(b"From:\r\n\t" + CEO),
    "LF in the field": Trick(b"From: " + ME + b"\nFrom: " + CEO),
    "CR in the field": Trick(b"From: " + ME + b"\rFrom: " + CEO),
    "CR in front": Trick(b"From: " + ME + b"\r\n\rFrom: " + CEO),
    "NUL at the end": Trick(b"From: " + CEO + b"\0"),
    "NUL, then the stranger": Trick(b"From: " + CEO + b"\0.mallory.example"),
    "NUL, then the victim": Trick(b"From: " + ME + b"\0, <" + CEO + b">", ["mallory.example"]),
    "NUL, then the victim's brackets": Trick(b"From: me@mallory.example\0 <" + CEO + b">", ["mallory.example"]),
    "control characters": Trick(b"From: \x01\x02 <" + CEO + b">"),
    "delete and backspace": Trick(b"From: <" + ME + b"\x08\x7f" + CEO + b">"),
    "latin-1 byte": Trick(b"From: J\xfcrgen <" + CEO + b">"),
    "byte that is not UTF-8 in the domain": Trick(b"From: ceo@bank\xff.example"),
    "full-width sign": Trick("From: ceo＠bank.example".encode()),
    "full-width domain": Trick("From: ceo@ｂａｎｋ.example".encode()),
    "ideographic full stop": Trick("From: ceo@bank。example".encode()),
    "zero-width space in the domain": Trick("From: ceo@ba\u200bnk.example".encode()),
    "soft hyphen in the domain": Trick("From: ceo@ba\u00adnk.example".encode()),
    "right-to-left override": Trick("From: \u202eelpmaxe.knab@oec <me@mallory.example>".encode()),
    "A1: sub-domain that does not exist": Trick(b"From: ceo@no.such.bank.example"),
    "long name before the address": Trick(b"From: " + b"x" * 5000 + b" <" + CEO + b">"),
    "beyond header_size_limit": Trick(b"From: " + ME + b" (" + b"x " * 60_000 + b"), " + CEO),
    "thousand addresses, the victim last": Trick(b"From: " + b",\r\n ".join([ME] * 1000 + [CEO])),
}

# The trick is in the envelope or in the signature: the From is that of the victim
PLAIN = b"From: " + CEO
AROUND: dict[str, Trick] = {
    "A1: MAIL FROM in a sub-domain that does not exist": Trick(PLAIN, mail_from=b"a@no.such.bank.example"),
    "A2: MAIL FROM in an open comment": Trick(PLAIN, mail_from=b"(any@bank.example"),
    "A2: MAIL FROM with an open comment in its local part": Trick(PLAIN, mail_from=b"any(@bank.example"),
    "A2: null sender, HELO of the victim": Trick(PLAIN, mail_from=b"", helo=b"bank.example"),
    "A2: null sender, HELO of the stranger": Trick(PLAIN, mail_from=b""),
    "A5: MAIL FROM with a parenthesis in its domain": Trick(
        PLAIN, mail_from=b"any@bank.example(.mallet.example", sender=MALLET
    ),
    "A6: MAIL FROM with a quote in its domain": Trick(
        PLAIN, mail_from=b"any@bank.example'a.mallet.example", sender=MALLET, refused_at="MAIL"
    ),
    "A6: MAIL FROM with a double quote in its domain": Trick(
        PLAIN, mail_from=b'any@bank.example"a.mallet.example', sender=MALLET, refused_at="MAIL"
    ),
    "A7: MAIL FROM with a source route over the victim": Trick(PLAIN, mail_from=b"@bank.example:me@mallory.example"),
    "A7: MAIL FROM with a source route over two": Trick(
        PLAIN, mail_from=b"@bank.example,@any.example:me@mallory.example"
    ),
    "A7: MAIL FROM with a source route to the victim": Trick(PLAIN, mail_from=b"@mallory.example:ceo@bank.example"),
    "MAIL FROM with a quoted local part": Trick(PLAIN, mail_from=b'"ceo@bank.example"@mallory.example'),
    "MAIL FROM with two signs": Trick(PLAIN, mail_from=b"me@mallory.example@bank.example"),
    "MAIL FROM without a domain": Trick(PLAIN, mail_from=b"bank.example"),
    "MAIL FROM with a percent sign": Trick(PLAIN, mail_from=b"ceo%bank.example@mallory.example"),
    "HELO with a parenthesis": Trick(PLAIN, helo=b"bank.example(.mallory.example"),
    "HELO of the victim": Trick(PLAIN, helo=b"bank.example"),
    "sub-domain of the stranger that looks like the victim": Trick(
        PLAIN, mail_from=b"a@bank.example.mallet.example", sender=MALLET
    ),
}

# d=, s= and i= of a signature by the stranger's key
SIGNATURES: dict[str, dict[str, str | None]] = {
    "A3: NUL in s=": {"d": "bank.example", "s": "s1._domainkey.mallory.example.\0.any"},
    "A3: s= that leads out of the domain": {"d": "bank.example", "s": "s1._domainkey.mallory.example"},
    "A4: parenthesis in d=": {"d": "bank.example(.mallory.example"},
    "A4: parentheses in d=": {"d": "bank.example(.mallory.example)"},
    "A4: quote in d=": {"d": "bank.example'.mallory.example"},
    "A4: double quotes in d=": {"d": '"bank.example".mallory.example'},
    "A4: semicolon and result in d=": {"d": "mallory.example; dmarc=pass header.from=bank.example"},
    "line end in d=": {"d": "mallory.example\r\n bank.example"},
    "NUL in d=": {"d": "bank.example\0.mallory.example"},
    "blank in d=": {"d": "bank.example mallory.example"},
    "two d=": {"s": "s1; d=bank.example"},
    "i= of the victim": {"i": "ceo@bank.example"},
    "i= with a result": {"i": "x@mallory.example(; dmarc=pass"},
    "d= is a top-level domain": {"d": "example"},
    "empty d=": {"d": ""},
    "no d=": {"d": None},
    "wildcard in d=": {"d": "*.example"},
    "l=0": {"l": "0", "d": "bank.example"},
}

SEEN: dict[str, str] = {}  # what became of each, for the curious: pytest -s


@pytest.fixture(scope="module")
def dns(unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE, options=OPTIONS)


@pytest.fixture(scope="module")
def gate(
    postfix_factory: Callable[..., PrivatePostfix], milter_process: Callable[..., MilterDaemon], dns: PrivateUnbound
) -> Iterator[Inbound]:
    postfix = postfix_factory(milter=MILTER_SPEC, listeners={"dry": {"smtpd_milters": "unix:milter/dry.sock"}})
    settings = gate_settings(dns.address, {"workers": 1})
    dry = gate_settings(dns.address, {"workers": 1, "dmarc": {"dry_run": True}})
    milter_process(dry, socket=f"unix:{postfix.milter_socket.with_name('dry.sock')}")
    yield Inbound(postfix, milter_process(settings, socket=f"unix:{postfix.milter_socket}"))
    for name, seen in SEEN.items():
        print(f"{name:60} {seen}")


@pytest.fixture(scope="module")
def strict_gate(postfix_factory: Callable[..., PrivatePostfix], gate: Inbound) -> Inbound:
    """One whose Postfix refuses NUL, with the same milter."""
    settings = {"message_reject_characters": r"\0"}
    return Inbound(postfix_factory(milter=f"unix:{gate.postfix.milter_socket}", settings=settings), gate.milter)


def attempt(gate: Inbound, name: str, trick: Trick, listener: str = "smtp") -> Passage:
    """Send the message of a trick and note what became of it."""
    message = trick.header + b"\r\nMessage-ID: <1@x>\r\n\r\nPay at once.\r\n"
    if trick.signed:
        fields, body = split_message(message)
        signature = sign(fields, body, trick.sender.domain, SELECTOR, KEY)
        message = signature.name + b":" + signature.value + b"\r\n" + message
    return transmit(gate, name, message, trick, listener)


def transmit(gate: Inbound, name: str, message: bytes, trick: Trick, listener: str = "smtp") -> Passage:
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    client = trick.sender.client()
    with gate.postfix.session(**client, listener=listener) as session:
        if trick.helo:
            session.command(b"EHLO " + trick.helo)
        exchange = session.send(trick.mail_from.decode("latin-1"), [rcpt], message, raw=True)
    passage = settle(gate, exchange, rcpt, mark)
    shown = f"{passage.judged_as} {shown_as_from(passage.content)!r}" if passage.content else str(passage.reply)
    SEEN[name] = f"{passage.fate}: {shown[:160]}"
    return passage


def shown_as_from(content: bytes) -> bytes:
    """All that stands in what even a careless reader could take for a From field of a delivered message.

    Careless: blanks, control characters and NUL in or around the name are nothing, and a lone CR ends a line.
    """
    head = content.partition(b"\n\n")[0]
    unfolded = re.sub(rb"\n[ \t]+", b" ", head)
    lines = [*unfolded.split(b"\n"), *re.split(rb"[\r\n]", head)]
    return b"\n".join(line for line in lines if re.match(rb"[^a-z:]*from[^a-z0-9:-]*:", line, re.IGNORECASE))


def check(passage: Passage, trick: Trick) -> None:
    """No spoof gets through, and what became of this one is what was foreseen."""
    if passage.fate == "delivered":
        assert passage.judged_as, "delivered without a result"
        for result, domain in passage.judged_as:
            assert result == "fail" or not f".{domain}".endswith(".bank.example")
        shown = shown_as_from(passage.content)
        assert b"mallory.example" in shown
        assert trick.mentions or VICTIM not in shown.lower(), shown
    if trick.outcome == REFUSED:
        assert passage.fate == "refused", passage.top
        assert passage.reply.enhanced in ("5.7.26", "5.7.1", "5.1.7")
        assert passage.exchange.steps[-1][0] == trick.refused_at
    else:
        assert passage.fate == "delivered", passage.reply
        assert passage.judged_as == [("pass", domain) for domain in trick.outcome]


@pytest.mark.parametrize("name", FROM)
def test_from(gate: Inbound, name: str) -> None:
    check(attempt(gate, name, FROM[name]), FROM[name])


@pytest.mark.parametrize("name", AROUND)
def test_envelope(gate: Inbound, name: str) -> None:
    check(attempt(gate, name, AROUND[name]), AROUND[name])


def forged_signature(name: str) -> bytes:
    """A message from the victim with a signature by the stranger's key that says what SIGNATURES says."""
    message = PLAIN + b"\r\nMessage-ID: <1@x>\r\n\r\nPay at once.\r\n"
    fields, body = split_message(message)
    length = 0 if "l" in SIGNATURES[name] else None
    signature = sign(fields, body, MALLORY.domain, SELECTOR, KEY, replace=SIGNATURES[name], length=length)
    return signature.name + b":" + signature.value + b"\r\n" + message


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(gate: Inbound, name: str) -> None:
    passage = transmit(gate, name, forged_signature(name), Trick(PLAIN))
    check(passage, Trick(PLAIN))
    assert passage.reply.enhanced == "5.7.26"


@pytest.mark.parametrize("name", [*SIGNATURES, *(name for name in AROUND if AROUND[name].refused_at == "message")])
def test_nothing_is_smuggled_into_the_results(gate: Inbound, name: str) -> None:
    """What was refused above, where nothing is refused: another reader finds our results and no others."""
    trick = AROUND.get(name, Trick(PLAIN))
    if name in SIGNATURES:
        passage = transmit(gate, f"{name}, dry run", forged_signature(name), trick, "dry")
    else:
        passage = attempt(gate, f"{name}, dry run", trick, "dry")
    assert passage.fate == "delivered"
    assert "dry run, would be reject: policy" in passage.top
    methods = [method for method, _, _ in passage.entries]
    assert methods == ["iprev", *["spf"] * (2 if trick.mail_from else 1), "dkim", "arc", "dmarc"]
    assert passage.judged_as == [("fail", "bank.example")]
    for method, result, properties in passage.entries:
        named = [value for name, value in properties.items() if name != "header.from"]
        assert result != "pass" or not any(re.search(r"(?:^|[@.])bank\.example$", value) for value in named), method


@pytest.mark.parametrize("name", [name for name in FROM if b"\0" in FROM[name].header])
def test_nul_where_postfix_refuses_it(strict_gate: Inbound, name: str) -> None:
    passage = attempt(strict_gate, f"{name}, message_reject_characters", FROM[name])
    assert (passage.fate, passage.reply.code) == ("refused", 550)
