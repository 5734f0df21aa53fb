"""The domains of the demonstration: who they are, what they publish, and the keys with which they sign."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.signing import pkcs8

HOME = "home.example"
SELECTOR = "s1"


@dataclass(frozen=True, slots=True)
class Sender:
    """One domain that sends mail from one host."""

    domain: str
    ip: str
    policy: str = ""  # p= of its DMARC record, "" = it has none
    signs: bool = False
    brand: str = ""  # its BIMI record, "" = it has none

    @property
    def host(self) -> str:
        """The name of its mail host, forward and reverse."""
        return f"mail.{self.domain}"

    def records(self) -> list[str]:
        """What it has in the DNS."""
        reverse = ".".join(reversed(self.ip.split(".")))
        lines = [
            f"{self.host}. 300 IN A {self.ip}",
            f"{reverse}.in-addr.arpa. 300 IN PTR {self.host}.",
            f'{self.domain}. 300 IN TXT "v=spf1 ip4:{self.ip} -all"',
            f'{self.host}. 300 IN TXT "v=spf1 a -all"',
            f"{self.domain}. 300 IN MX 10 {self.host}.",
        ]
        if self.policy:
            lines.append(
                f'_dmarc.{self.domain}. 300 IN TXT "v=DMARC1; p={self.policy}; rua=mailto:dmarc@{self.domain}"'
            )
        if self.brand:
            lines.append(f'default._bimi.{self.domain}. 300 IN TXT "{self.brand}"')
        if self.signs:
            lines.append(f'{SELECTOR}._domainkey.{self.domain}. 300 IN TXT "{dns_record(make_key())}"')
        return lines

    def sign(self, message: bytes) -> bytes:
        """The message with this domain's DKIM signature on top."""
        fields, body = split_message(message)
        return join_message([sign(fields, body, self.domain, SELECTOR, make_key()), *fields], body)


BANK = Sender("bank.example", "192.0.2.10", "reject", signs=True)
SHOP = Sender("shop.example", "192.0.2.20", "quarantine", signs=True)
MALLORY = Sender("mallory.example", "203.0.113.66")
ALUMNI = Sender("alumni.example", "198.51.100.7")
BRAND_HOST = "brand.gallery.example"
LOGO_URI = f"https://{BRAND_HOST}/logo.svg"
MARK_URI = f"https://{BRAND_HOST}/mark.pem"
GALLERY = Sender(
    "gallery.example", "192.0.2.30", "reject", signs=True, brand=f"v=BIMI1; l={LOGO_URI}; a={MARK_URI}; avp=brand"
)
LISTS = Sender("lists.example", "198.51.100.8", signs=True)
OWN = Sender(HOME, "198.51.100.50", signs=True)  # a host of ours


def through_list(message: bytes, author_domain: str) -> bytes:
    """What lists.example makes of a message: another subject, a footer, its signature, and an ARC set on top."""
    changed = message.replace(b"Subject: ", b"Subject: [talk] ", 1) + b"-- \r\nto leave the list: ...\r\n"
    signed = LISTS.sign(f"List-Id: Talk <talk.{LISTS.domain}>\r\n".encode() + changed)
    results = f"{LISTS.host}; dmarc=pass header.from={author_domain}"
    return seal(signed, LISTS.domain, SELECTOR, make_key(), results=results)


def settings(folder: Path) -> dict[str, Any]:
    """What the milter of home.example is told besides where its resolver is; its key is put into `folder`."""
    file = folder / f"{HOME}.pem"
    file.write_bytes(pkcs8(make_key()))
    file.chmod(0o600)
    return {
        "trust": {"networks": [f"{OWN.ip}/32"], "arc_sealers": [LISTS.domain]},
        "sign": {
            "keys": {"own": {"domain": HOME, "selector": SELECTOR, "file": str(file)}},
            "table": {HOME: ["own"]},
        },
    }


def zone() -> str:
    """The whole tree as zone text."""
    senders = (BANK, SHOP, MALLORY, ALUMNI, GALLERY, LISTS, OWN)
    return "\n".join(line for sender in senders for line in sender.records()) + "\n"
