"""The one line that says what became of a message, with everything in it."""

from __future__ import annotations

from authmilter.facts import ArcFact, BimiFact, BimiResult
from authmilter.transaction import Outcome
from mailcommon.log import pairs


def log_line(outcome: Outcome, queue_id: str) -> str:
    """`QUEUEID: decision=...`; outside text is made safe by mailcommon.log."""
    facts, verdict = outcome.facts, outcome.verdict
    client = facts.client
    return f"{queue_id or '-'}: " + pairs(
        decision=verdict.decision,
        would_be=verdict.would_be,
        rule=verdict.rule,
        client=client.ip,
        name=client.name,
        helo=client.helo,
        mail_from=f"<{facts.mail_from}>",
        author=",".join(facts.author.domains),
        spf=",".join(f"{fact.scope}:{fact.domain}:{fact.result}" for fact in facts.spf),
        dkim=",".join(f"{fact.domain or '-'}:{fact.result}" for fact in facts.dkim),
        arc=_arc(facts.arc),
        dmarc=",".join(f"{fact.author_domain}:{fact.result}" for fact in facts.dmarc),
        policy=verdict.policy if verdict.author_domain else "",
        override=verdict.override,
        override_comment=verdict.override_comment if verdict.override_comment != verdict.reason else "",
        signed=",".join(f"{one.domain}:{one.selector}" for one in outcome.made.signed),
        unsigned=outcome.made.unsigned,
        sealed=f"{outcome.sealed.instance}:{outcome.sealed.status}" if outcome.sealed.status else "",
        unsealed=outcome.sealed.unsealed,
        **_bimi(facts.bimi),
        removed=len(outcome.actions.headers_remove) or "",
        reason=verdict.reason,
        ms=f"{outcome.ms:.1f}",
    )


def _arc(fact: ArcFact | None) -> str:
    """`pass:` and the sealers, the first one first; `fail:` and why."""
    if fact is None:
        return ""
    sealers = ",".join(one.domain for one in fact.sets)
    return ":".join(filter(None, (fact.result, fact.reason or sealers)))


def _bimi(fact: BimiFact | None) -> dict[str, str]:
    """Where and why, unless there was nothing to look at."""
    if fact is None or fact.result in (BimiResult.NONE, BimiResult.SKIPPED):
        return {"bimi": fact.result} if fact else {}
    return {
        "bimi": fact.result,
        "bimi_domain": fact.domain,
        "bimi_ms": f"{fact.ms:.1f}" if fact.ms else "",
        "bimi_reason": fact.reason,
    }
