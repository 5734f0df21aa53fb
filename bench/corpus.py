"""The corpora: signed messages with their zone, and what a right verifier finds in them.

`mixed` is for rates: blocks of ten messages from one client, so that a connection can carry up to ten. `fresh` is for
the cold start: no two messages share a name or an address. `large` is one message of some megabytes.
"""

from __future__ import annotations

import email.utils
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from authmilter.facts import HeaderField
from bench import text, wire
from bench.domains import Domain, Host, Provider, make_domains, make_providers, zone
from tests.support.dkim_signer import sign

AUTHSERV_ID = "mx.bench.example"  # of every milter here
BLOCK = 10  # messages in a row from one client
_MANY_SIGNED = "from:to:subject:date:message-id:mime-version:content-type:reply-to:list-unsubscribe"
_CANONICAL = ("relaxed/relaxed",) * 7 + ("relaxed/simple",) * 2 + ("simple/simple",)
_START = 1_700_000_000  # unix seconds, of the first Date field


@dataclass(frozen=True, slots=True)
class Message:
    envelope: wire.Envelope
    fields: tuple[HeaderField, ...]
    body: bytes
    domain: Domain
    signed: bool
    authorized: bool  # by the SPF record of the envelope's domain
    aligned: bool  # the envelope's domain with the author's

    @property
    def dmarc_pass(self) -> bool:
        return self.signed or (self.authorized and self.aligned)

    @property
    def result_of_dkim(self) -> HeaderField:
        """What an earlier filter that knows DKIM only writes."""
        if not self.signed:
            return text.field("Authentication-Results", f"{AUTHSERV_ID}; dkim=none")
        name = self.domain.name
        value = (
            f"{AUTHSERV_ID};\r\n\tdkim=pass (2048-bit key; unprotected) header.d={name} header.i=@{name} "
            'header.b="AbCd1234";\r\n\tdkim-atps=neutral'
        )
        return text.field("Authentication-Results", value)


@dataclass(frozen=True)
class Corpus:
    messages: tuple[Message, ...]
    zone: str

    def packets(self, *, after_dkim: bool = False) -> bytes:
        """The corpus as the load generator reads it. `after_dkim`: a filter that writes dkim= has been there before."""
        parts = []
        client: Host | None = None
        for place, message in enumerate(self.messages):
            if message.envelope.client is not client or place % BLOCK == 0:
                client = message.envelope.client
                parts.append(wire.connection(client))
            before = (message.result_of_dkim,) if after_dkim else ()
            parts.append(wire.message(message.envelope, before + message.fields, message.body))
        return b"".join(parts)

    @cached_property
    def expected(self) -> dict[str, int]:
        """How many of the messages give dkim=pass, spf=pass for the sender, dmarc=pass, a signature by a signer."""
        return {
            "a=rsa-sha256": len(self.messages),
            "dkim=pass": sum(message.signed for message in self.messages),
            "spf=pass": sum(message.authorized for message in self.messages),
            "dmarc=pass": sum(message.dmarc_pass for message in self.messages),
        }

    def describe(self) -> str:
        """One line for people."""
        sizes = sorted(len(message.body) for message in self.messages)
        fields = [len(message.fields) for message in self.messages]
        return (
            f"{len(self.messages)} messages, {self.expected['dkim=pass']} signed (RSA-2048), "
            f"{len({message.domain.name for message in self.messages})} domains, "
            f"{len({message.envelope.client.ip for message in self.messages})} clients, "
            f"{min(fields)} to {max(fields)} header fields, bodies {sizes[0] / 1000:.1f} to {sizes[-1] / 1000:.1f} KB, "
            f"mean {sum(sizes) / len(sizes) / 1000:.1f} KB"
        )


def _make(
    rng: random.Random, number: int, client: Host, domain: Domain, *, signed: bool = True, size: int = 0
) -> Message:
    kind, body = text.body(rng, size or int(2000 * 30 ** rng.random()))
    fields = _fields(rng, number, domain, kind)
    if signed:
        canonicalization = rng.choice(_CANONICAL)
        signature = sign(
            fields,
            body,
            domain.name,
            domain.selector,
            domain.key,
            canonicalization=canonicalization,
            signed=_MANY_SIGNED if number % 3 else "",
            extra=f"t={_START + number}; ",
        )
        fields.insert(0, signature)
    fields[:0] = text.received(rng, domain.name, email.utils.formatdate(_START + number))
    aligned = not signed or number % 7 != 3
    sender_domain = domain.name if aligned else f"bounce.{domain.provider.name}"
    envelope = wire.Envelope(
        client, f"return-{number}@{sender_domain}", f"user{number % 20}@receiver.example", f"4X{number:08X}"
    )
    return Message(envelope, tuple(fields), body, domain, signed, client in domain.provider.hosts, aligned)


def _fields(rng: random.Random, number: int, domain: Domain, kind: str) -> list[HeaderField]:
    fields = [
        text.field("From", f'"{text.words(rng, 2).title()}" <person{number % 5}@{domain.name}>'),
        text.field("To", f"User <user{number % 20}@receiver.example>"),
        text.field("Subject", text.words(rng, rng.randint(3, 9)).capitalize()),
        text.field("Date", email.utils.formatdate(_START + number)),
        text.field("Message-ID", f"<{rng.randrange(1 << 60):x}.{number}@{domain.name}>"),
        text.field("MIME-Version", "1.0"),
        text.field("Content-Type", kind),
    ]
    return fields + text.optional_fields(rng, domain.name)[: rng.randint(3, 13)]


def mixed(blocks: int = 24, domain_count: int = 50) -> Corpus:
    """`blocks` times ten messages of 2 to 60 KB; every tenth is unsigned, about half of these from a wrong host."""
    rng = random.Random(20)
    providers = make_providers(10)
    domains = make_domains(providers, domain_count, prefix="sender", keys=domain_count, includes=True)
    hosts = [(provider, host) for provider in providers for host in provider.hosts]
    messages: list[Message] = []
    for block in range(blocks):
        provider, client = hosts[block % len(hosts)]
        for place in range(BLOCK):
            signed = place != 7
            # not where HELO passes: then spf=pass in what a milter writes can only be the sender's
            forged = not signed and not client.publishes and block % 3 > 0
            choice = [domain for domain in domains if (domain.provider is provider) != forged]
            messages.append(_make(rng, len(messages), client, rng.choice(choice), signed=signed))
    return Corpus(tuple(messages), zone(providers, domains))


def unsigned(count: int = 240, domain_count: int = 50) -> tuple[Corpus, list[Domain]]:
    """`count` messages of 2 to 60 KB for a signer, and the domains that they are to be signed for."""
    rng = random.Random(23)
    providers = make_providers(10)
    domains = make_domains(providers, domain_count, prefix="own", keys=domain_count, includes=False)
    hosts = [host for provider in providers for host in provider.hosts]
    messages = [
        _make(rng, number, hosts[number // BLOCK % len(hosts)], rng.choice(domains), signed=False)
        for number in range(count)
    ]
    return Corpus(tuple(messages), zone(providers, domains)), domains


def fresh(count: int = 40) -> Corpus:
    """`count` messages, each with a domain, a provider and a client of its own; SPF records without include."""
    rng = random.Random(21)
    providers = make_providers(count)
    domains = make_domains(providers, count, prefix="fresh", keys=8, includes=False)
    messages = [
        _make(rng, number, domain.provider.hosts[0], domain, size=10_000) for number, domain in enumerate(domains)
    ]
    return Corpus(tuple(messages), zone(providers, domains))


def large(megabytes: int) -> Corpus:
    """One message of so many million octets."""
    rng = random.Random(22)
    providers: Sequence[Provider] = make_providers(1)
    domains = make_domains(list(providers), 1, prefix="large", keys=1, includes=False)
    small = _make(rng, 0, providers[0].hosts[0], domains[0], size=3000, signed=False)
    body = text.base64_lines(os.urandom(megabytes * 1_000_000 * 76 // 78 * 3 // 4))
    fields = [field for field in small.fields if field.name != b"Received"]
    signature = sign(fields, body, domains[0].name, domains[0].selector, domains[0].key)
    signed = Message(small.envelope, (signature, *fields), body, domains[0], True, True, True)
    return Corpus((signed,), zone(providers, domains))
