"""What one message adds to the aggregate reports (RFC 9990): facts and verdict in, rows out. Pure.

Equal rows are counted together, so they hold nothing of a single message: no time, no queue id, no recipient.

Not counted: mail of our own users; mail without a policy that asks for reports; mail that was deferred, since it comes
again. And so that two hosts do not report about each other's reports for ever: mail that passes DMARC and is such a
report, or has the null sender.
Limits: 50 signatures of a message; 250 characters of a value.
Standards: RFC 9990 §3.1.1 (elements), §3.1.3 (signatures), §3.1.6 (reasons).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from authmilter.facts import DkimFact, DkimResult, DmarcFact, DmarcResult, MessageFacts, Policy, SpfFact
from authmilter.reports.text import xml_text
from authmilter.verdict import Decision, Verdict
from mailcommon.names import is_subdomain, to_alabel

MAX_SIGNATURES = 50  # RFC 9990 §3.1.3: "no more than 100"


class PublishedFacts(NamedTuple):
    """A policy as it was found: one report is about one of them (RFC 9990 §3.3)."""

    domain: str  # the policy domain
    p: str
    sp: str
    np: str
    adkim: str
    aspf: str
    fo: str
    testing: bool
    error: str  # what was wrong with the record
    rua: tuple[str, ...]


class Signature(NamedTuple):
    domain: str
    selector: str
    result: str
    text: str


class Spf(NamedTuple):
    domain: str
    result: str
    text: str


class RowFacts(NamedTuple):
    """All of one record but the number of messages."""

    source_ip: str
    disposition: str
    dkim: str  # "pass" or "fail": aligned or not
    spf: str
    reasons: tuple[tuple[str, str], ...]  # type and comment
    header_from: str
    envelope_from: str  # "" for the null sender
    signatures: tuple[Signature, ...]
    checked: Spf | None


def observations(facts: MessageFacts, verdict: Verdict) -> Iterator[tuple[PublishedFacts, RowFacts]]:
    """One for each Author Domain that wants reports."""
    if not facts.judged or verdict.decision is Decision.TEMPFAIL or not facts.client.ip:
        return
    for fact in facts.dmarc:
        if (
            fact.published
            and fact.published.rua
            and fact.result in (DmarcResult.PASS, DmarcResult.FAIL, DmarcResult.TEMPERROR)
            and not (fact.result is DmarcResult.PASS and (facts.report or not facts.mail_from))
        ):
            yield _published(fact), _row(fact, facts, verdict)


def _published(fact: DmarcFact) -> PublishedFacts:
    tags = fact.published
    assert tags
    # RFC 9990 §3.1.1.5: "the discovered or default value"; RFC 9989 §4.7: sp defaults to p, np to sp
    sp = tags.sp or tags.p
    return PublishedFacts(
        fact.policy_domain,
        tags.p.value,
        sp.value,
        (tags.np or sp).value,
        tags.adkim,
        tags.aspf,
        tags.fo,
        tags.testing,
        xml_text(fact.record_error),
        tags.rua,
    )


def _row(fact: DmarcFact, facts: MessageFacts, verdict: Verdict) -> RowFacts:
    sender = facts.mail_from.rpartition("@")[2]
    return RowFacts(
        facts.client.ip,
        _disposition(fact, verdict),
        _word(fact.dkim_aligned),
        _word(fact.spf_aligned),
        tuple(_reasons(fact, verdict)),
        fact.author_domain,
        to_alabel(sender) or "",
        _signatures(facts.dkim, fact),
        next((_spf(check) for check in facts.spf if check.scope == "mfrom" and check.domain), None),
    )


def _word(aligned: bool) -> str:
    return "pass" if aligned else "fail"


_APPLIED = {Decision.ACCEPT: "none", Decision.QUARANTINE: "quarantine", Decision.REJECT: "reject"}


def _disposition(fact: DmarcFact, verdict: Verdict) -> str:
    """RFC 9990 §3.1.1.9: what was done, which is not always what was asked for."""
    if fact.result is DmarcResult.PASS:
        return "none" if fact.policy is Policy.NONE else "pass"
    return _APPLIED[verdict.decision]


def _reasons(fact: DmarcFact, verdict: Verdict) -> Iterator[tuple[str, str]]:
    """RFC 9990 §3.1.1.9: there MUST be one if nothing is aligned and something else was done than is published."""
    if fact.result is DmarcResult.PASS:
        return
    if _tested(fact):
        yield "policy_test_mode", ""  # RFC 9990 §3.1.6
    if _APPLIED[verdict.decision] == fact.policy.value:
        return
    if fact.result is DmarcResult.TEMPERROR and not verdict.override:
        # RFC 9989 §5.3.6: neither pass nor fail, so that the policy was not applied
        yield "other", "a DNS look-up failed for the moment"
        return
    yield verdict.override or "local_policy", xml_text(_comment(verdict))


def _comment(verdict: Verdict) -> str:
    if verdict.override:
        return verdict.override_comment or verdict.rule
    return f"another reason: {verdict.rule}"


def _tested(fact: DmarcFact) -> bool:
    """Whether t=y has made the policy milder (RFC 9989 §4.7)."""
    tags = fact.published
    if not tags or not tags.testing:
        return False
    sp = tags.sp or tags.p
    asked = {tags.p} if fact.author_domain == fact.policy_domain else {sp, tags.np or sp}
    return asked != {Policy.NONE}


def _signatures(signatures: tuple[DkimFact, ...], fact: DmarcFact) -> tuple[Signature, ...]:
    """RFC 9990 §3.1.3: which come first. Those that name no domain or selector cannot be reported."""
    readable = [each for each in signatures if each.domain and each.selector]
    if len(readable) > 1:
        readable.sort(key=lambda each: _rank(each, fact))
    return tuple(
        Signature(
            each.domain,
            xml_text(each.selector),
            each.result.value,
            "" if each.result is DkimResult.PASS else xml_text(each.reason),
        )
        for each in readable[:MAX_SIGNATURES]
    )


def _rank(signature: DkimFact, fact: DmarcFact) -> int:
    if signature.result is not DkimResult.PASS:
        return 3
    if signature.domain == fact.author_domain:
        return 0
    related = is_subdomain(signature.domain, fact.policy_domain) or is_subdomain(fact.author_domain, signature.domain)
    return 1 if related else 2


def _spf(check: SpfFact) -> Spf:
    # the reason says what was wrong, the mechanism only what matched
    return Spf(check.domain, check.result.value, xml_text(check.reason))
