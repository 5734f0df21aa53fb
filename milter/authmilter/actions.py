"""What the MTA is asked to do: facts and verdict in, one value out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from authmilter.facts import HeaderField, MessageFacts, SpfResult
from authmilter.headers.bimi_fields import bimi_fields
from authmilter.headers.claims import BIMI, claimed_fields, stripped_fields
from authmilter.headers.received_spf import render_received_spf
from authmilter.headers.results_field import render_results
from authmilter.reply import Reply, safe_reply_text
from authmilter.verdict import Decision, Verdict


@dataclass(frozen=True, slots=True)
class Actions:
    """`headers_add` in the order in which they stand from the top; `headers_remove` highest occurrence first."""

    decision: Decision
    headers_add: tuple[tuple[str, str], ...] = ()
    headers_remove: tuple[tuple[str, int], ...] = ()
    reply: Reply | None = None
    quarantine: str = ""  # the reason that Postfix logs with HOLD


@dataclass(frozen=True, slots=True)
class Names:
    """How this host calls itself."""

    authserv_id: str
    own_ids: tuple[str, ...] = ()  # further ids that nobody outside may claim (RFC 8601 §5)
    say_auth: bool = False
    received_spf: bool = False
    keep_indicators: bool = False  # hosts whose results stay have written BIMI fields too


def forged_fields(fields: Sequence[HeaderField], names: Names) -> tuple[tuple[str, int], ...]:
    """What pretends to be ours and is not: (name, occurrence), highest occurrence of each name first."""
    claimed = claimed_fields(fields, (names.authserv_id, *names.own_ids))
    return (*claimed, *stripped_fields(fields, BIMI))


def after(fields: Sequence[HeaderField], actions: Actions) -> list[HeaderField]:
    """The header from the top as it is once the actions are carried out, `fields` being that which was received."""
    gone = {(name.lower(), occurrence) for name, occurrence in actions.headers_remove}
    seen: dict[str, int] = {}
    kept = []
    for field in fields:
        name = field.name.decode("utf-8", "surrogateescape").rstrip(" \t").lower()
        seen[name] = seen.get(name, 0) + 1
        if (name, seen[name]) not in gone:
            kept.append(field)
    added = [
        HeaderField(name.encode(), b" " + value.replace("\n", "\r\n").encode()) for name, value in actions.headers_add
    ]
    return added + kept


def plan(
    facts: MessageFacts, fields: Sequence[HeaderField], verdict: Verdict, names: Names, *, keep_claims: bool = False
) -> Actions:
    """All that follows from the verdict. `keep_claims`: fields with our id come from a host of ours and stay."""
    if keep_claims:
        remove = () if names.keep_indicators else tuple(stripped_fields(fields, BIMI))
    else:
        remove = forged_fields(fields, names)
    add: list[tuple[str, str]] = []
    if facts.judged or (names.say_auth and facts.client.auth_user):
        add.append(("Authentication-Results", render_results(names.authserv_id, facts, _note(verdict))))
    if names.received_spf and facts.judged:
        add += [
            ("Received-SPF", render_received_spf(fact, facts.client, names.authserv_id, facts.smtputf8))
            for fact in facts.spf
            if fact.scope == "mfrom"
        ]
    add += bimi_fields(facts.bimi)
    return Actions(
        verdict.decision,
        tuple(add),
        remove,
        _reply(verdict, facts),
        safe_reply_text(f"DMARC: {verdict.reason}")[:100] if verdict.decision is Decision.QUARANTINE else "",
    )


def _note(verdict: Verdict) -> str:
    """The comment beside dmarc=: what was done, if it says more than the result."""
    if verdict.would_be:
        return f"dry run, would be {verdict.would_be}: {verdict.rule}"
    if verdict.rule in ("pass", "no-policy", "own"):
        return ""
    return f"{verdict.decision} by {verdict.rule}"


def _reply(verdict: Verdict, facts: MessageFacts) -> Reply | None:
    if verdict.decision is Decision.TEMPFAIL:
        # RFC 7372 §3.2: X.7.24 is SPF's own code for an error of the look-up
        spf = any(fact.scope == "mfrom" and fact.result is SpfResult.TEMPERROR for fact in facts.spf)
        text = f"DMARC of {verdict.author_domain} cannot be evaluated now: {verdict.reason}; try again later"
        return Reply("451", "4.7.24" if spf else "4.7.1", safe_reply_text(text))
    if verdict.decision is not Decision.REJECT:
        return None
    if verdict.rule in ("author-domains", "bad-from"):
        return Reply("550", "5.7.1", safe_reply_text(f"The From header field cannot be accepted: {verdict.reason}"))
    domain = verdict.author_domain
    text = (
        f"DMARC: mail with a From address in {domain} must be authenticated by {domain} (its policy: {verdict.policy})"
        f", but {verdict.reason}. Send it through the mail servers of {domain}, or ask its postmaster"
    )
    return Reply("550", "5.7.26", safe_reply_text(text))  # RFC 7372 §3.3: multiple authentication checks failed
