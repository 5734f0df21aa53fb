"""The one line that says what became of a message, with everything in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from authmilter.facts import ArcFact, BimiFact, BimiResult
from mailcommon.log import Fields, pairs

if TYPE_CHECKING:
    from authmilter.transaction import Outcome

_MASK = "..."
_LOCAL_PART = re.compile(r"[^\s@<>\"',;:()]+@")
_SHORTEST = 3  # characters of a local part that is looked for: a shorter one would be found in any word


def log_fields(outcome: Outcome, *, addresses: bool = False) -> Fields:
    """`decision=...`; outside text is made safe by mailcommon.log.

    Without `addresses` of MAIL FROM only the domain is named, and what is in front of an @ or comes from MAIL FROM is
    masked in reasons: who needs the address finds it in Postfix's own lines of the same queue id.
    """
    facts, verdict = outcome.facts, outcome.verdict
    client = facts.client
    local, at, domain = facts.mail_from.rpartition("@")

    def masked(text: str) -> str:
        return text if addresses else _without(local, text)

    return pairs(
        decision=verdict.decision,
        would_be=verdict.would_be,
        rule=verdict.rule,
        client=client.ip,
        name=client.name,
        helo=client.helo,
        mail_from=f"<{facts.mail_from if addresses else at + domain if at else _MASK if domain else ''}>",
        author=facts.author.domains,
        spf=tuple(f"{fact.scope}:{fact.domain}:{fact.result}" for fact in facts.spf),
        dkim=tuple(f"{fact.domain or '-'}:{fact.result}" for fact in facts.dkim),
        arc=_arc(facts.arc),
        dmarc=tuple(f"{fact.author_domain}:{fact.result}" for fact in facts.dmarc),
        policy=verdict.policy if verdict.author_domain else "",
        override=verdict.override,
        override_comment=masked(verdict.override_comment) if verdict.override_comment != verdict.reason else "",
        signed=tuple(f"{one.domain}:{one.selector}" for one in outcome.made.signed),
        unsigned=masked(outcome.made.unsigned),
        sealed=f"{outcome.sealed.instance}:{outcome.sealed.status}" if outcome.sealed.status else "",
        unsealed=outcome.sealed.unsealed,
        **_bimi(facts.bimi),
        removed=len(outcome.actions.headers_remove) or "",
        reason=masked(verdict.reason),
        dns_ms=round(outcome.dns_ms, 1),
        ms=round(outcome.ms, 1),
    )


def _without(local: str, text: str) -> str:
    if "@" in text:
        text = _LOCAL_PART.sub(f"{_MASK}@", text)
    # an SPF record may take the local part into the names that it asks for (RFC 7208 §7)
    return text.replace(local, _MASK) if len(local) >= _SHORTEST else text


def _arc(fact: ArcFact | None) -> str:
    """`pass:` and the sealers, the first one first; `fail:` and why."""
    if fact is None:
        return ""
    sealers = ",".join(one.domain for one in fact.sets)
    return ":".join(filter(None, (fact.result, fact.reason or sealers)))


def _bimi(fact: BimiFact | None) -> dict[str, object]:
    """Where and why, unless there was nothing to look at."""
    if fact is None or fact.result in (BimiResult.NONE, BimiResult.SKIPPED):
        return {"bimi": fact.result} if fact else {}
    return {
        "bimi": fact.result,
        "bimi_domain": fact.domain,
        "bimi_ms": round(fact.ms, 1) if fact.ms else "",
        "bimi_reason": fact.reason,
    }
