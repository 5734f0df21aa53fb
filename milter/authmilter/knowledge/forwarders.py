"""`[trust] forwarders`: is the client, or whoever signed, a forwarder that the operator trusts?

    "192.0.2.0/24"           the client's address
    "forward.example"        the client's name, address -> name -> address, or a name below it
    "helo:forward.example"   the HELO name, or a name below it, if it leads to the client's address or its SPF passes
    "dkim:forward.example"   a DKIM signature with exactly this d= that passes

Security: HELO alone is what the client says of itself and never counts. A signature can be replayed to anyone, so
"dkim:" is as good as what the forwarder checks before it signs; and d= has to be the same, because names below a domain
are often in the hands of others who send in its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from authmilter.facts import DkimResult, IprevResult, MessageFacts, SpfFact, SpfResult
from authmilter.knowledge.networks import Networks
from mailcommon.names import is_subdomain, to_alabel

HELO, DKIM = "helo:", "dkim:"


class Forwarders:
    """The entries of the setting, which have been validated."""

    def __init__(self, entries: Sequence[str]) -> None:
        networks, names, helo_names, signers = [], [], [], set()
        for entry in entries:
            if entry.startswith(HELO):
                helo_names.append(_domain(entry.removeprefix(HELO)))
            elif entry.startswith(DKIM):
                signers.add(_domain(entry.removeprefix(DKIM)))
            elif is_network(entry):
                networks.append(entry)
            else:
                names.append(_domain(entry))
        self._networks = Networks(networks)
        self._names = tuple(names)
        self._helo_names = tuple(helo_names)
        self._signers = frozenset(signers)

    def asks_for(self, helo: str) -> str:
        """The HELO name in A-labels if a "helo:" entry has it, so that it has to be confirmed; "" if none has."""
        name = (to_alabel(helo) or "") if self._helo_names else ""
        return name if _below(name, self._helo_names) else ""

    def match(self, facts: MessageFacts) -> str:
        """What shows that a trusted forwarder sent this, "" if nothing does."""
        client, iprev = facts.client, facts.iprev
        if client.ip in self._networks:
            return client.ip
        if self._names and iprev and iprev.result is IprevResult.PASS:
            name = to_alabel(iprev.name) or ""
            if _below(name, self._names):
                return name
        if helo := self.asks_for(client.helo):
            if facts.helo and facts.helo.result is IprevResult.PASS:
                return f"HELO {helo}, which leads to {client.ip}"
            if any(check.result is SpfResult.PASS for check in _helo_checks(facts, helo)):
                return f"HELO {helo}, which passes SPF"
        for signature in facts.dkim if self._signers else ():
            if signature.result is DkimResult.PASS and signature.domain in self._signers:
                return f"signature of {signature.domain}"
        return ""

    def unknown(self, facts: MessageFacts) -> str:
        """What of this could not be looked up for the moment, "" if all could; only if `match` found nothing."""
        client, iprev = facts.client, facts.iprev
        if self._names and iprev and iprev.result is IprevResult.TEMPERROR:
            return f"whether {client.ip} is a trusted forwarder could not be looked up"
        if helo := self.asks_for(client.helo):
            failed = facts.helo is not None and facts.helo.result is IprevResult.TEMPERROR
            if failed or any(check.result is SpfResult.TEMPERROR for check in _helo_checks(facts, helo)):
                return f"whether {client.ip} is the trusted forwarder {helo} could not be looked up"
        for signature in facts.dkim if self._signers else ():
            if signature.result is DkimResult.TEMPERROR and signature.domain in self._signers:
                return f"whether the trusted forwarder {signature.domain} signed this could not be looked up"
        return ""


def is_network(entry: str) -> bool:
    """Whether an entry without a prefix is meant as a network."""
    return bool(re.search(r"[/:]|^[\d.]+$", entry))


def _domain(entry: str) -> str:
    return to_alabel(entry) or entry


def _below(name: str, domains: Sequence[str]) -> bool:
    return bool(name) and any(is_subdomain(name, domain) for domain in domains)


def _helo_checks(facts: MessageFacts, helo: str) -> list[SpfFact]:
    """The SPF checks of this HELO name; for the null sender MAIL FROM is made of it (RFC 7208 §2.4)."""
    return [check for check in facts.spf if check.domain == helo and (check.scope == "helo" or not facts.mail_from)]
