"""What is known of a message besides DMARC: trusted forwarders and signs of a mailing list (RFC 9989 §7.4).

Pure. A sign of a list counts only with an authenticated domain behind it: anybody can write List-Id.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence

from authmilter.facts import Client, DkimResult, IprevFact, IprevResult, MessageFacts, SpfFact, SpfResult
from authmilter.verdict import Knowledge
from mailcommon.names import is_subdomain, to_alabel

_LIST_ID = re.compile(r"<\s*([^<>\s@]{1,255})\s*>\s*(?:\([^()]*\)\s*)?\Z")


class Networks:
    """Networks of the settings, which have been validated. An address is looked for once; the last ones are kept."""

    def __init__(self, values: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(value) for value in values)
        self._known = functools.lru_cache(maxsize=4096)(self._find)

    def __contains__(self, ip: str) -> bool:
        """Whether the address, as text, lies in one of the networks; "" never does."""
        return bool(self._networks) and bool(ip) and self._known(ip)

    def _find(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip)
        return any(address in network for network in self._networks if network.version == address.version)


class Forwarders:
    """`[trust] forwarders`: networks, and domains of which the client's verified name is part."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._networks = Networks(entry for entry in entries if _is_network(entry))
        self._domains = tuple(to_alabel(entry) or entry for entry in entries if not _is_network(entry))

    @property
    def by_name(self) -> bool:
        """Whether the client's name is asked for."""
        return bool(self._domains)

    def match(self, client: Client, iprev: IprevFact | None) -> str:
        """The name or address by which the client is a trusted forwarder, "" if it is none."""
        if client.ip in self._networks:
            return client.ip
        if self._domains and iprev and iprev.result is IprevResult.PASS:
            name = to_alabel(iprev.name) or ""
            if any(is_subdomain(name, domain) for domain in self._domains):
                return name
        return ""


def _is_network(entry: str) -> bool:
    return bool(re.search(r"[/:]|^[\d.]+$", entry))


def list_domain_of(facts: MessageFacts) -> str:
    """The list identifier of List-Id in A-labels, "" if there is none (RFC 2919 §2)."""
    match = _LIST_ID.search(facts.list_id)
    return (to_alabel(match[1]) or "") if match else ""


def list_evidence(facts: MessageFacts) -> str:
    """Which mailing list this came through, "" without authenticated signs of one."""
    list_domain = list_domain_of(facts)
    if not list_domain:
        return ""
    for signature in facts.dkim:
        if signature.result is DkimResult.PASS and _related(list_domain, signature.domain):
            return f"mailing list {list_domain}, signed by {signature.domain}"
    for check in facts.spf:
        if check.scope == "mfrom" and check.result is SpfResult.PASS and _related(list_domain, check.domain):
            return f"mailing list {list_domain}, sent by {check.domain}"
    return ""


def _related(list_domain: str, domain: str) -> bool:
    """List-Id is made of a host or domain of the list's owner with labels in front (RFC 2919 §2)."""
    owner = list_domain.partition(".")[2]
    return "." in domain and (is_subdomain(list_domain, domain) or ("." in owner and is_subdomain(domain, owner)))


def unknown_for_now(facts: MessageFacts, forwarders: Forwarders) -> str:
    """What besides DMARC cannot be told because a look-up failed for the moment, "" if all can."""
    iprev = facts.iprev
    if forwarders.by_name and iprev and iprev.result is IprevResult.TEMPERROR:
        return f"whether {facts.client.ip} is a trusted forwarder could not be looked up"
    list_domain = list_domain_of(facts)
    if list_domain:
        failed = [fact.domain for fact in facts.dkim if fact.result is DkimResult.TEMPERROR]
        failed += [fact.domain for fact in facts.spf if fact.scope == "mfrom" and _is_open(fact)]
        if any(_related(list_domain, domain) for domain in failed):
            return f"whether the mailing list {list_domain} sent this could not be looked up"
    for fact in facts.spf:
        if (
            fact.undecided
            and fact.scope == "mfrom"
            and any(_one_tree(fact.domain, name) for name in facts.author.domains)
        ):
            return f"the client's names, which the SPF record of {fact.domain} asks for, could not be looked up"
    return ""


def _one_tree(one: str, other: str) -> bool:
    return is_subdomain(one, other) or is_subdomain(other, one)


def _is_open(fact: SpfFact) -> bool:
    return fact.undecided or fact.result is SpfResult.TEMPERROR


def knowledge_of(facts: MessageFacts, forwarders: Forwarders, deferred_for: float = 0.0) -> Knowledge:
    """All of it for one message."""
    return Knowledge(
        forwarders.match(facts.client, facts.iprev),
        list_evidence(facts),
        unknown_for_now(facts, forwarders),
        deferred_for,
    )
