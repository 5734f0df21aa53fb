"""The messages of the demonstration, and what has to become of each."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from demo.brand import LOGO, MARK_TYPE
from demo.world import ALUMNI, BANK, GALLERY, HOME, LISTS, MALLORY, MARK_URI, OWN, SHOP, Sender, through_list
from tests.support.postfix_config import HOSTNAME

Fields = list[tuple[str, str]]

_FORGED_BRAND = "BIMI-Location: v=BIMI1; l=https://mallory.example/bank.svg\nBIMI-Indicator: PHN2Zy8+"
FORGED = "dmarc=pass header.from=bank.example"  # what the forger claims in our name


@dataclass(frozen=True, slots=True)
class Case:
    """One message: who sends it, and what is expected."""

    title: str
    story: str
    client: Sender  # whose host connects
    mail_from: str
    message: bytes
    fate: str  # delivered, held or refused
    reply: str  # how the SMTP reply begins
    results: tuple[str, ...] = ()  # what our Authentication-Results must say
    gone: str = ""  # what must no longer stand in the header
    kept: str = ""  # what must still stand there
    brand: bytes = b""  # the logo that it must carry
    signed: bool = False  # mail of our own: signed, and not judged
    rcpt: str = f"me@{HOME}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message."""

    reply: str  # SMTP reply to the message
    fate: str  # delivered, held, refused or deferred
    why: str  # the milter's reason
    fields: Fields  # header as delivered or held, else empty


def _message(author: str, subject: str, extra: str = "") -> bytes:
    lines = [
        *extra.splitlines(),
        f"From: {author}",
        f"To: me@{HOME}",
        f"Subject: {subject}",
        "Date: Tue, 24 Nov 2026 09:00:00 +0000",
        f"Message-ID: <{subject.lower().replace(' ', '.')}@{author.rpartition('@')[2].strip('>')}>",
        "",
        "Hello,",
        "this is what I wanted to say.",
        "",
    ]
    return "\r\n".join(lines).encode()


def cases() -> list[Case]:
    """The messages in the order in which they are sent."""
    forged = f"Authentication-Results: {HOSTNAME}; {FORGED}\n"
    forged += f"authentication-RESULTS : (trust me) {HOSTNAME.upper()} 1;\n\t{FORGED}\n"
    forged += "Authentication-Results: relay.elsewhere.example; spf=pass smtp.mailfrom=mallory.example"
    return [
        Case(
            "genuine",
            "bank.example writes from its own host and signs",
            BANK,
            "news@bank.example",
            BANK.sign(_message("Bank <news@bank.example>", "Your statement")),
            "delivered",
            "250 2.0.0",
            results=("spf=pass", "dkim=pass", "dmarc=pass"),
        ),
        Case(
            "spoof, p=reject",
            "somebody else writes in the name of bank.example",
            MALLORY,
            "x@mallory.example",
            _message("Bank <news@bank.example>", "Urgent"),
            "refused",
            "550 5.7.26",
        ),
        Case(
            "spoof, p=quarantine",
            "somebody else writes in the name of shop.example",
            MALLORY,
            "x@mallory.example",
            _message("Shop <sale@shop.example>", "Sale"),
            "held",
            "250 2.0.0",
            results=("dmarc=fail",),
        ),
        Case(
            "forged results",
            "mallory.example brings Authentication-Results in our name",
            MALLORY,
            "x@mallory.example",
            _message("Mallory <x@mallory.example>", "Trust me", forged),
            "delivered",
            "250 2.0.0",
            results=("spf=pass", "dmarc=none"),
            gone=FORGED,
            kept="relay.elsewhere.example",
        ),
        Case(
            "forwarded",
            "alumni.example passes on what shop.example wrote and signed",
            ALUMNI,
            "sale@shop.example",
            SHOP.sign(_message("Shop <sale@shop.example>", "Your order")),
            "delivered",
            "250 2.0.0",
            results=("spf=fail", "dkim=pass", "dmarc=pass"),
        ),
        Case(
            "brand indicator",
            "gallery.example has a logo with a mark certificate, and brings a forged one along",
            GALLERY,
            "art@gallery.example",
            GALLERY.sign(_message("Gallery <art@gallery.example>", "New pictures", _FORGED_BRAND)),
            "delivered",
            "250 2.0.0",
            results=("dmarc=pass", f"bimi=pass ({MARK_TYPE})", "policy.authority=pass"),
            brand=LOGO,
        ),
        Case(
            "through a list",
            "lists.example, whose ARC seals are trusted, changed what shop.example signed",
            LISTS,
            f"talk-bounces@{LISTS.domain}",
            through_list(SHOP.sign(_message("Shop <sale@shop.example>", "Our view")), SHOP.domain),
            "delivered",
            "250 2.0.0",
            results=("dkim=fail", "arc=pass", "dmarc=fail", "accept by arc"),
        ),
        Case(
            "our own",
            "a user of home.example writes, from a network of ours",
            OWN,
            f"alice@{HOME}",
            _message(f"Alice <alice@{HOME}>", "Lunch"),
            "delivered",
            "250 2.0.0",
            signed=True,
        ),
    ]


def ours(fields: Fields) -> list[str]:
    """Values of the Authentication-Results fields that carry our name, however it is written."""
    found = [value for name, value in fields if name.lower() == "authentication-results"]
    return [value for value in found if HOSTNAME in value.lower().partition(";")[0]]


def checks(case: Case, result: Result) -> list[tuple[str, bool]]:
    """What was to be and whether it is."""
    found = [
        (case.fate, result.fate == case.fate),
        (f"reply {case.reply}", result.reply.startswith(case.reply)),
    ]
    if case.signed:
        name, value = result.fields[0] if result.fields else ("", "")
        found.append((f"signed by {HOME}, on top", name == "DKIM-Signature" and f"d={HOME};" in value))
        found.append(("not judged", not ours(result.fields)))
    elif case.fate != "refused":
        own = ours(result.fields)
        found.append(("one field in our name, on top", len(own) == 1 and result.fields[0][1] == own[0]))
        found += [(f"it says {word}", any(word in value for value in own)) for word in case.results]
    everything = " ".join(value for _, value in result.fields)
    if case.gone:
        found.append(("the forged results are gone", case.gone not in everything))
    if case.kept:
        found.append((f"what {case.kept} wrote is kept", case.kept in everything))
    if case.brand:
        locations = [value for name, value in result.fields if name.lower() == "bimi-location"]
        found.append(
            ("BIMI-Location is ours alone", [value.split()[1:] for value in locations] == [[f"a={MARK_URI};"]])
        )
        found.append(("BIMI-Indicator is the logo in the certificate", _logos(result.fields) == [case.brand]))
    return found


def _logos(fields: Fields) -> list[bytes]:
    found = []
    for name, value in fields:
        if name.lower() == "bimi-indicator":
            try:
                found.append(base64.b64decode("".join(value.split()), validate=True))
            except binascii.Error:
                found.append(b"")
    return found
