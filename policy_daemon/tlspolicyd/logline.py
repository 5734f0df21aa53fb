"""The one line that says what was decided for a domain, with everything in it."""

from __future__ import annotations

from mailcommon.log import Fields, pairs
from tlspolicyd.facts import DaneFact, Decision, Facts, StsFact


def log_fields(decision: Decision, facts: Facts, ms: float) -> Fields:
    """`decision=... domain=...`; outside text is made safe by mailcommon.log. `ms`: what the decision took."""
    sts, dane = facts.sts, facts.dane
    policy = sts.policy
    return pairs(
        decision=decision.level or "notfound",
        domain=decision.domain,
        source=decision.source,
        rule=decision.rule,
        mode=policy.mode if policy else "",
        id=sts.id,
        mx=policy.mx if policy else (),
        max_age=policy.max_age if policy else "",
        cached="yes" if sts.cached else "no",
        sts=_sts(sts),
        sts_reason=sts.reason,
        dane=_dane(dane),
        dane_reason=dane.reason,
        reason=decision.reason,
        ms=round(ms, 1),
    )


def _sts(fact: StsFact) -> str:
    if fact.unreadable:
        return "unreadable"
    if fact.failure:
        return str(fact.failure)
    if fact.policy:
        return "policy"
    return "no-policy-yet" if fact.signalled else "none"


def _dane(fact: DaneFact) -> str | tuple[str, ...]:
    if not fact.enabled:
        return "off"
    if fact.mx_failed:
        return "mx-failed"
    if fact.null_mx:
        return "null-mx"
    if fact.hosts and not fact.mx_secure:
        return "insecure-mx"
    return tuple(f"{host.name}:{'secure' if host.secure else 'insecure'}:{host.tlsa}" for host in fact.hosts)
