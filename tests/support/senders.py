"""Domains below .example that send mail: who they are, what they publish, how they sign. Zone text and bytes.

BANK     p=reject, has an IPv6 address too     SHOP     p=quarantine          NEWS     p=none
PLAIN    no DMARC record                       BOOKS    IDN, p=reject         MALLORY  a stranger who does all right
ALUMNI   forwards mail                         LISTS    runs mailing lists    MALLET   a stranger with a wildcard SPF
BROKEN   every look-up gives SERVFAIL (`OPTIONS` must be given to the resolver)
NAMELESS its address has no PTR record         WRONG    its PTR does not lead back

PrivateUnbound(ZONE, options=OPTIONS)
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from tests.support.dkim_signer import PrivateKey, dns_record, join_message, make_key, sign, split_message
from tests.support.smtp_client import crlf

SELECTOR = "s1"
_NOWHERE = "192.0.2.254"

# broken.example is delegated to an address that unbound may not ask, so that it says SERVFAIL at once
OPTIONS = (f"do-not-query-address: {_NOWHERE}",)


@dataclass(frozen=True, slots=True)
class Sender:
    """One domain that sends mail from one host."""

    domain: str  # A-labels
    ip: str
    policy: str = ""  # p= of its DMARC record, "" = it has none
    ip6: str = ""
    reverse: bool = True  # whether its address has a PTR record

    @property
    def host(self) -> str:
        """The name of its mail host."""
        return f"mail.{self.domain}"

    @property
    def address(self) -> str:
        """A sender's address."""
        return f"someone@{self.domain}"

    def records(self) -> list[str]:
        """What it has in the DNS."""
        addresses = [ip for ip in (self.ip, self.ip6) if ip]
        terms = " ".join(f"ip{ipaddress.ip_address(ip).version}:{ip}" for ip in addresses)
        lines = [
            f'{self.domain}. 300 IN TXT "v=spf1 {terms} -all"',
            f'{self.host}. 300 IN TXT "v=spf1 a -all"',
            f'{SELECTOR}._domainkey.{self.domain}. 300 IN TXT "{dns_record(KEY)}"',
        ]
        for ip in addresses:
            address = ipaddress.ip_address(ip)
            lines.append(f"{self.host}. 300 IN {'A' if address.version == 4 else 'AAAA'} {ip}")
            if self.reverse:
                lines.append(f"{address.reverse_pointer}. 300 IN PTR {self.host}.")
        if self.policy:
            lines.append(f'_dmarc.{self.domain}. 300 IN TXT "v=DMARC1; p={self.policy}"')
        return lines

    def client(self, ip: str = "") -> dict[str, Any]:
        """The arguments with which `PrivatePostfix.send` and `session` play this domain's host."""
        return {"client_ip": ip or self.ip, "client_name": self.host if self.reverse else "", "helo": self.host}

    def sign(self, message: bytes, **options: Any) -> bytes:
        """The message, which has CRLF lines, with this domain's DKIM signature on top; options as for `sign`."""
        return signed(message, self.domain, **options)


def signed(message: bytes, domain: str, selector: str = SELECTOR, **options: Any) -> bytes:
    """`message` with a DKIM signature that says d=`domain`; options as for `dkim_signer.sign`."""
    fields, body = split_message(message)
    return join_message([sign(fields, body, domain, selector, KEY, **options), *fields], body)


def mail(author: str, *, subject: str = "Greetings", extra: str = "", body: str = "Hello,\n.dot\n\nbye\n") -> bytes:
    """A plain message with CRLF lines. `extra`: further header fields, each with its line end, above the others."""
    head = f"{extra}From: {author}\nTo: me@home.example\nSubject: {subject}\nDate: Tue, 24 Nov 2026 10:00:00 +0000\n"
    return crlf(f"{head}Message-ID: <1@a.example>\n\n{body}".encode())


KEY: PrivateKey = make_key()  # one for all: they are told apart by the names under which it is published

BANK = Sender("bank.example", "192.0.2.10", "reject", ip6="2001:db8:10::25")
SHOP = Sender("shop.example", "192.0.2.20", "quarantine")
NEWS = Sender("news.example", "192.0.2.30", "none")
PLAIN = Sender("plain.example", "192.0.2.40")
BOOKS = Sender("xn--bcher-kva.example", "192.0.2.50", "reject")  # bücher.example
ALUMNI = Sender("alumni.example", "198.51.100.7")
LISTS = Sender("lists.example", "198.51.100.8")
NAMELESS = Sender("nameless.example", "198.51.100.9", reverse=False)
WRONG = Sender("wrong.example", "198.51.100.10", reverse=False)
MALLORY = Sender("mallory.example", "203.0.113.66", "reject")
MALLET = Sender("mallet.example", "203.0.113.67", "reject")
BROKEN = Sender("broken.example", "192.0.2.60")

_SENDERS = (BANK, SHOP, NEWS, PLAIN, BOOKS, ALUMNI, LISTS, NAMELESS, WRONG, MALLORY, MALLET)

ZONE = "\n".join(
    [
        *(line for sender in _SENDERS for line in sender.records()),
        # whatever is asked below these two says what suits them
        f'*.{MALLORY.domain}. 300 IN TXT "{dns_record(KEY)}"',
        f'*.{MALLET.domain}. 300 IN TXT "v=spf1 ip4:{MALLET.ip} -all"',
        f"{ipaddress.ip_address(WRONG.ip).reverse_pointer}. 300 IN PTR {BANK.host}.",
        f"{BROKEN.domain}. 300 IN NS ns.{BROKEN.domain}.",
        f"ns.{BROKEN.domain}. 300 IN A {_NOWHERE}",
        "",
    ]
)
