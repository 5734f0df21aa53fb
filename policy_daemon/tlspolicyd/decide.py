"""The decision: what is known of a domain's TLS policy -> the security level that Postfix is told. Pure.

The first row that fits decides. A host counts if mail can go there, that is, if it may have an address; "usable",
"unusable", "none" and "failed" are what its TLSA look-up came to (facts.Tlsa). The rows about hosts hold only where
the resolver validates and the MX records are signed (or there are none and the domain is its own host). "Known
policy": MTA-STS has an unexpired policy of mode enforce, or one is known to exist and cannot be read.

    rule                    when                                                          level
    dane-all                every host is usable                                          dane-only
    dane-some-enforce       some hosts are usable; known policy                           dane-only
    dane-some               some hosts are usable; no known policy                        dane
    dane-failed             none usable, some failed; no known policy                     dane
    sts-beside-failed-dane  none usable, some failed, the policy allows an other  secure, those others only
    sts-unreadable          none usable, some failed, some not; policy cannot be read     temp
    dane-failed-enforce     none usable, some failed; known policy                        dane-only
    dane-unusable           none usable, none failed, some unusable; no known policy      dane
    sts-no-usable-mx        an unexpired enforce policy, no name Postfix can use       secure, made to fail
    sts-enforce             an unexpired policy of mode enforce                           secure
    sts-unreadable          an enforce policy is known to exist and cannot be read        temp
    mx-failed               the MX look-up failed or is bogus                             (site default)
    null-mx                 the domain takes no mail                                      (site default)
    sts-testing             an unexpired policy of mode testing                           (site default)
    sts-none                an unexpired policy of mode none                              (site default)
    sts-failed              a policy is signalled but could not be had                    (site default)
    insecure-mx             MX records are not signed, no policy                          (site default)
    no-policy               nothing of the above                                          (site default)

Why so:
- `dane-only` makes Postfix pass over each host without usable TLSA records. So it is said only where one usable host is
  known, or where any other answer would let mail escape a policy. With unsigned MX records Postfix takes `dane-only` as
  an error for every host: it is never said then.
- `dane` makes Postfix look at each host itself: usable TLSA records authenticate it, unusable ones ask for TLS without
  authentication, a failed look-up passes over this host alone, and a host without TLSA records gets TLS if it offers
  it. The last is why a known policy never gets `dane`: the hosts without TLSA would escape it.
- Failed look-ups count as DANE hosts: MTA-STS is never put over them (RFC 8461 §2), or an attacker who drops TLSA
  answers could choose the weaker check. With "sts-beside-failed-dane" only the names of the other hosts are given, so
  that one broken host does not stop the mail that the others take.
- Unusable TLSA records ask for TLS without authentication (RFC 7672 §2.2). MTA-STS authenticates, so an enforce policy
  is more, and overrides no DANE check.
- Unsigned MX records: RFC 7672 §2.2.1 lets a client use DANE for signed hosts that it found so, but whoever forges the
  MX records names hosts of his own. Postfix does it by itself at the level `dane`, as far as
  smtp_tls_dane_insecure_mx_policy says; no answer leaves that in charge. MTA-STS names the hosts, so an enforce policy
  is put over it: this does not override DANE, which cannot hold for a domain whose MX records anyone may have written.
- A failed MX look-up: Postfix fails as well and defers, or its next look-up works and its own level applies. With an
  enforce policy known the answer is `secure` (row sts-enforce), or an attacker could switch the policy off by dropping
  one DNS answer. That could stand in for DANE only if Postfix's own look-up, in the few seconds for which this answer
  holds, works and finds signed hosts, and the impostor has a certificate of a public CA for a name in the policy.
- TEMP stops a domain's mail, so it is left for the policy that is known and cannot be read.
- No answer is weaker than the site's own level, smtp_tls_security_level: what the second table does not allow becomes
  NOT_FOUND, which leaves that level in charge. With some levels a policy that cannot be read needs no TEMP either.

The second table: the answers that are not weaker than the site's own level.

    site level      answers                         why
    none            secure, dane-only, dane, temp   nothing is demanded
    may             secure, dane-only, dane, temp   nothing is demanded
    dane            secure, dane-only, dane, temp   it is the level dane itself
    encrypt         secure, dane-only, temp         TLS for all, which dane leaves to hosts without TLSA records
    verify          secure, dane-only, temp         each host is authenticated, which both answers do
    secure          secure, dane-only, temp         each host is authenticated, which both answers do
    dane-only       dane-only                       TLSA records or nothing: the word of a public CA is not enough
    fingerprint     none                            certificates that the site has named, and nobody else's word

Standards: RFC 7672 §2.2, RFC 8461 §2, §5; standards.md's PFX-40, PFX-41.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tlspolicyd.facts import (
    DaneFact,
    Decision,
    Facts,
    Failure,
    Level,
    Mode,
    MxHost,
    Policy,
    SiteLevel,
    Source,
    StsFact,
    Tlsa,
)
from tlspolicyd.mx_names import usable_patterns
from tlspolicyd.sts.policy import match_mx

_SHOWN = 3  # host names in a reason


_ANY = frozenset((Level.SECURE, Level.DANE_ONLY, Level.DANE, Level.TEMP))
_DEMANDING = _ANY - {Level.DANE}
# the second table; NOT_FOUND is always allowed
NOT_WEAKER: Mapping[SiteLevel, frozenset[Level]] = {
    SiteLevel.NONE: _ANY,
    SiteLevel.MAY: _ANY,
    SiteLevel.DANE: _ANY,
    SiteLevel.ENCRYPT: _DEMANDING,
    SiteLevel.VERIFY: _DEMANDING,
    SiteLevel.SECURE: _DEMANDING,
    SiteLevel.DANE_ONLY: frozenset((Level.DANE_ONLY,)),
    SiteLevel.FINGERPRINT: frozenset(),
}


def decide(facts: Facts, site_level: SiteLevel = SiteLevel.DANE) -> Decision:
    """The level for `facts`, by the tables above."""
    decision = _by_dane(facts) or _by_sts(facts)
    if decision.level is Level.NOT_FOUND or decision.level in NOT_WEAKER[site_level]:
        return decision
    reason = f"{decision.reason}; the site's own level {site_level} is stricter"
    return replace(decision, level=Level.NOT_FOUND, source=Source.NONE, reason=reason)


def _by_dane(facts: Facts) -> Decision | None:
    dane, sts = facts.dane, facts.sts
    if not dane.enabled or dane.mx_failed or dane.null_mx or not dane.mx_secure:
        return None
    hosts = [host for host in dane.hosts if host.address]
    usable = _named(hosts, Tlsa.USABLE)
    failed = _named(hosts, Tlsa.FAILED)
    policy = _enforced(sts)
    known = policy is not None or sts.unreadable
    if usable:
        if len(usable) == len(hosts):
            return _dane(facts, Level.DANE_ONLY, "dane-all", "every MX host has usable TLSA records")
        has = f"{_list(usable)} has usable TLSA records, {_list(_others(hosts, usable))} has not"
        if known:
            return _dane(facts, Level.DANE_ONLY, "dane-some-enforce", f"{has}, and an MTA-STS policy is in force")
        return _dane(facts, Level.DANE, "dane-some", has)
    if failed:
        what = f"the TLSA records of {_list(failed)} could not be looked up"
        if not known:
            return _dane(facts, Level.DANE, "dane-failed", what)
        others = _others(hosts, failed)
        if policy is not None:
            return _beside_failed(facts, policy, others, what)
        if others:
            return _unreadable(facts, f"{what}, {sts.reason or 'the policy cannot be read'}")
        return _dane(facts, Level.DANE_ONLY, "dane-failed-enforce", f"{what}, and an MTA-STS policy is in force")
    unusable = _named(hosts, Tlsa.UNUSABLE)
    if unusable and not known:
        reason = f"the TLSA records of {_list(unusable)} cannot be used: TLS without authentication"
        return _dane(facts, Level.DANE, "dane-unusable", reason)
    return None


def _beside_failed(facts: Facts, policy: Policy, others: list[str], what: str) -> Decision:
    """A known policy, hosts whose TLSA look-up failed, and `others` that have no usable TLSA records."""
    allowed = tuple(name for name in others if match_mx(policy.mx, name))
    narrowed = replace(policy, mx=allowed)
    if not usable_patterns(narrowed):
        reason = f"{what}, and the MTA-STS policy allows no other host"
        return _dane(facts, Level.DANE_ONLY, "dane-failed-enforce", reason)
    reason = f"{what}; MTA-STS holds for {_list(list(allowed))}"
    sts = replace(facts.sts, policy=narrowed)
    return Decision(facts.domain, Level.SECURE, Source.MTA_STS, "sts-beside-failed-dane", reason, sts)


def _by_sts(facts: Facts) -> Decision:
    sts, dane = facts.sts, facts.dane
    policy = _enforced(sts)
    if policy is not None:
        # also with a null MX or a failed look-up: Postfix may see other records than we do
        if not usable_patterns(policy):
            failing = replace(sts, failure=Failure.INVALID)
            reason = "the MTA-STS policy names no host that a certificate can be checked against"
            return Decision(facts.domain, Level.SECURE, Source.MTA_STS, "sts-no-usable-mx", reason, failing)
        reason = "MTA-STS policy of mode enforce" + (f"; {dane.reason}" if dane.reason else "")
        return Decision(facts.domain, Level.SECURE, Source.MTA_STS, "sts-enforce", reason, sts)
    if sts.unreadable:
        return _unreadable(facts, sts.reason or "an MTA-STS policy is in force and cannot be read")
    rule, reason = _why_nothing(sts, dane)
    return Decision(facts.domain, Level.NOT_FOUND, Source.NONE, rule, reason, sts)


def _why_nothing(sts: StsFact, dane: DaneFact) -> tuple[str, str]:
    """Rule and reason where the site's default applies."""
    if dane.enabled and dane.mx_failed:
        return "mx-failed", dane.reason or "the MX look-up failed"
    if dane.enabled and dane.null_mx:
        return "null-mx", "the domain takes no mail"
    if sts.policy is not None:
        if sts.policy.mode is Mode.TESTING:
            return "sts-testing", "MTA-STS policy of mode testing: nothing is enforced"
        return "sts-none", "MTA-STS policy of mode none"
    if sts.failure is not None:
        return "sts-failed", sts.reason or "the MTA-STS policy could not be had"
    if dane.enabled and dane.hosts and not dane.mx_secure:
        return "insecure-mx", dane.reason or "the MX records are not signed, and there is no MTA-STS policy"
    return "no-policy", sts.reason or "neither TLSA records nor an MTA-STS policy"


def _enforced(sts: StsFact) -> Policy | None:
    return sts.policy if sts.policy is not None and sts.policy.mode is Mode.ENFORCE else None


def _dane(facts: Facts, level: Level, rule: str, reason: str) -> Decision:
    return Decision(facts.domain, level, Source.DANE, rule, reason, facts.sts)


def _unreadable(facts: Facts, reason: str) -> Decision:
    return Decision(facts.domain, Level.TEMP, Source.MTA_STS, "sts-unreadable", reason, facts.sts)


def _named(hosts: list[MxHost], tlsa: Tlsa) -> list[str]:
    return [host.name for host in hosts if host.tlsa is tlsa]


def _others(hosts: list[MxHost], names: list[str]) -> list[str]:
    return [host.name for host in hosts if host.name not in names]


def _list(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
