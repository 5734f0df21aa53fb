"""Why a domain gets the answer that it gets: everything that `tlspolicyd query` shows.

The decision is made as for Postfix, from the same facts. Beside it stand the TXT record, the policy host and its
certificate as they are now, and the TLSA records of hosts that the decision does not depend on.

Diagnostics: nothing raises but cancellation; what cannot be had is said in its place.
Security: texts are kept as they came; `explain_text` makes them safe for a terminal, JSON escapes them by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from mailcommon.dns.answer import Status
from mailcommon.dns.async_resolver import AsyncResolver
from tlspolicyd.dane.lookup import SMTP, look_up
from tlspolicyd.decide import decide
from tlspolicyd.facts import DaneFact, Decision, Facts, Level, Mode, SiteLevel, StsFact, Tlsa
from tlspolicyd.mx_names import usable_patterns
from tlspolicyd.query import POLICY, read_query
from tlspolicyd.render import policy_line, render
from tlspolicyd.sts.fetch import FetchResult, policy_host
from tlspolicyd.sts.policy import match_mx
from tlspolicyd.sts.record import record_name, select

_SHOWN_RECORDS = 5
_NO_DOMAIN = "only a domain that is resolved by MX has a policy"


class FactSource(Protocol):
    """`lookup.Lookup`."""

    async def facts(self, domain: str, port: int = SMTP) -> Facts:
        """What is known of `domain`."""
        ...


class PolicyFetcher(Protocol):
    """`sts.fetch.Fetcher`."""

    async def fetch(self, domain: str, *, with_certificate: bool = False) -> FetchResult:
        """The policy as it is published now."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    lookup: FactSource
    resolver: AsyncResolver
    fetcher: PolicyFetcher | None = None  # None: the policy host is not asked
    site_level: SiteLevel = SiteLevel.DANE  # see decide


@dataclass(frozen=True, slots=True)
class Record:
    """The TXT record as it is now."""

    name: str
    status: Status
    texts: tuple[str, ...] = ()  # of the records there
    id: str = ""
    reason: str = ""  # why MTA-STS is not asked for


@dataclass(frozen=True, slots=True)
class Explanation:
    key: str  # as it was asked for
    domain: str | None  # None: a key that has no policy, whatever it is
    decision: Decision | None = None
    facts: Facts | None = None
    record: Record | None = None
    host: str = ""  # the policy host
    addresses: tuple[str, ...] = ()  # of the policy host
    fetch: FetchResult | None = None  # the policy as it is published now; None: not fetched
    line: str | None = None  # what Postfix gets as the policy
    reply: str = ""  # the whole socketmap reply
    line_tlsrpt: str | None = None  # the same for Postfix 3.10 and newer
    matches: Mapping[str, bool] = field(default_factory=dict)  # MX host -> whether the policy allows it
    notes: tuple[str, ...] = ()  # what to know about it, sentences for people


async def explain(key: str, parts: Parts) -> Explanation:
    """All about `key`, which is what Postfix would ask for: a domain, or domain:port."""
    asked = read_query(POLICY, key)
    domain = asked.domain
    if domain is None:
        return Explanation(key, None, reply="NOTFOUND ", notes=(f"{_NO_DOMAIN}{_meant(key)}",))
    facts, record, addresses = await asyncio.gather(
        parts.lookup.facts(domain, asked.port), _record(parts.resolver, domain), _addresses(parts.resolver, domain)
    )
    fetch = None
    if parts.fetcher is not None and record.id:
        fetch = await parts.fetcher.fetch(domain, with_certificate=True)
    decision = decide(facts, parts.site_level)
    shown = facts
    if facts.dane.enabled and not facts.dane.mx_secure and facts.dane.hosts:
        # the decision did not look at them, Postfix will
        seen = await look_up(parts.resolver, domain, port=asked.port, every=True)
        shown = replace(facts, dane=replace(facts.dane, hosts=seen.hosts or facts.dane.hosts))
    if not facts.dane.enabled:
        named = await look_up(parts.resolver, domain, port=asked.port, tlsa=False)
        shown = replace(facts, dane=replace(facts.dane, hosts=named.hosts))
    reply = render(decision, tlsrpt=False)
    return Explanation(
        key,
        domain,
        decision,
        shown,
        record,
        policy_host(domain),
        addresses,
        fetch,
        policy_line(reply),
        reply.decode("ascii"),
        policy_line(render(decision, tlsrpt=True)),
        _matches(shown),
        tuple(notes(decision, shown, fetch)),
    )


def _meant(key: str) -> str:
    """A hint for what is no key of Postfix's, but something with a domain in it."""
    domain = key.rpartition("@")[2].partition("://")[2 if "://" in key else 0].partition("/")[0]
    known = read_query(POLICY, domain).domain
    return f"; did you mean {known}?" if domain != key and known is not None else ""


def notes(decision: Decision, facts: Facts, fetch: FetchResult | None = None) -> list[str]:
    """What a person should know about this decision. Pure."""
    found, dane, sts = [], facts.dane, facts.sts
    tlsa = [host.name for host in dane.hosts if host.tlsa in (Tlsa.USABLE, Tlsa.UNUSABLE)]
    if decision.level is Level.NOT_FOUND:
        found.append("Postfix uses its own smtp_tls_security_level for this domain.")
    if decision.level in (Level.DANE, Level.DANE_ONLY):
        found.append('Postfix needs "smtp_dns_support_level = dnssec" and a validating resolver for this level.')
    if dane.enabled and not dane.mx_secure and tlsa:
        found.append(
            f"The MX records are not signed, but {', '.join(tlsa)} has signed TLSA records. At the level dane Postfix "
            "itself uses them (RFC 7672 §2.2.1, smtp_tls_dane_insecure_mx_policy); dane-only would stop the mail."
        )
    matches = _matches(facts)
    if matches and not any(matches.values()):
        enforced = sts.policy is not None and sts.policy.mode is Mode.ENFORCE
        effect = "mail will be deferred" if enforced else "mail would be deferred in mode enforce"
        found.append(f"The policy allows none of the MX hosts: {effect}.")
    if sts.policy is not None and len(usable_patterns(sts.policy)) < len(set(sts.policy.mx)):
        found.append("Some mx patterns of the policy cannot be given to Postfix and are left out.")
    if fetch is not None and fetch.policy is None and sts.policy is not None:
        found.append(f"The policy cannot be fetched now ({fetch.reason}); the one that is cached stays in force.")
    elif fetch is not None and fetch.policy is not None and sts.policy is not None:
        now, then = fetch.policy, sts.policy
        if (now.mode, set(now.mx)) != (then.mode, set(then.mx)):
            found.append("The policy published now differs from the one that is cached.")
    return found


def _matches(facts: Facts) -> dict[str, bool]:
    policy = facts.sts.policy
    return {} if policy is None else {host.name: match_mx(policy.mx, host.name) for host in facts.dane.hosts}


async def _record(resolver: AsyncResolver, domain: str) -> Record:
    name = record_name(domain)
    answer = await resolver.txt(name)
    texts = tuple(text.decode("ascii", "backslashreplace") for text in answer.records[:_SHOWN_RECORDS])
    if answer.status is not Status.OK:
        return Record(name, answer.status, reason=answer.detail or answer.status.value)
    signal = select(answer.records)
    return Record(name, answer.status, texts, signal.id, signal.reason)


async def _addresses(resolver: AsyncResolver, domain: str) -> tuple[str, ...]:
    host = policy_host(domain)
    answers = await asyncio.gather(resolver.aaaa(host), resolver.a(host))
    return tuple(address for answer in answers for address in answer.records)


def sts_result(fact: StsFact) -> str:
    """One word: policy, none, unreadable, or the failure (RFC 8460 §4.3.2.2)."""
    if fact.unreadable:
        return "unreadable"
    if fact.policy is not None:
        return "policy"
    return fact.failure.value if fact.failure is not None else "none"


def dane_result(fact: DaneFact) -> str:
    """One word: off, mx-failed, null-mx, insecure, or all, some, failed, unusable, none of the hosts."""
    if not fact.enabled:
        return "off"
    if fact.mx_failed:
        return "mx-failed"
    if fact.null_mx:
        return "null-mx"
    if fact.hosts and not fact.mx_secure:
        return "insecure"
    tlsa = {host.tlsa for host in fact.hosts if host.address}
    if Tlsa.USABLE in tlsa:
        return "all" if tlsa == {Tlsa.USABLE} else "some"
    return "failed" if Tlsa.FAILED in tlsa else "unusable" if Tlsa.UNUSABLE in tlsa else "none"
