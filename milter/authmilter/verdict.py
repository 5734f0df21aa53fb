"""The decision: facts and other knowledge in, one verdict out. No I/O, no clock.

RFC 9989 §7.4 wants more than p=reject before a message is rejected. What else is known comes in as `Knowledge`, and
this table, from the top, says what follows:

| rule | DMARC | other knowledge | decision | override |
| --- | --- | --- | --- | --- |
| `no-key` | not judged: own mail | its key for signing cannot be used | `on_missing_key` | |
| `own` | not judged: own mail | | accept | |
| `header-size` | not looked at: the header is too large | | reject | |
| `forged-fields` | more than 200 fields pass for ours | | reject | |
| `forwarder` | any but pass | a trusted forwarder sent it | accept | trusted_forwarder [1] |
| `author-domains` | too many Author Domains | | reject | |
| `bad-from` | the From cannot be used | | `on_bad_from` | |
| `arc` | fail, quarantine or reject | a trusted ARC sealer saw it pass | accept | local_policy |
| `mailing-list` | fail, quarantine or reject | a mailing list sent it | `on_mailing_list` [2] | mailing_list [4] |
| `unknown` | fail, quarantine or reject | cannot be told for the moment | hold or defer [3] | local_policy [4] |
| `policy` | fail, reject | | `on_reject` | local_policy [4] |
| `policy` | fail, quarantine | | `on_quarantine` | local_policy [4] |
| `temperror` | temperror | deferred for less than `max_deferral` | `on_temperror` | |
| `temperror` | temperror | deferred for longer | accept | |
| `policy-none` | fail or temperror, none | | accept | |
| `no-policy` | none, permerror | | accept | |
| `pass` | pass | | accept | |

[1] if the policy is quarantine or reject.
[2] if it is milder than `on_reject` or `on_quarantine` would be; else the row below it.
[3] a look-up about a forwarder, a sealer, a list or SPF's ptr failed: not rejected, since that is DNS's fault, and not
delivered, since a sender can break his own DNS. Deferred if `on_temperror` says so, else held.
[4] if it is not what the domain asks for.

The override is the reason for the reports why the domain's policy was not applied (RFC 9990 §3.1.1.14).
Several Author Domains: each is decided alone and the strictest decision counts. `dry_run` turns every decision into
accept and keeps what it would have been.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from authmilter.facts import DmarcFact, DmarcResult, MessageFacts, Policy


class Decision(enum.StrEnum):
    """What happens to the message, mildest first."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    TEMPFAIL = "tempfail"
    REJECT = "reject"


_STRICTNESS = {decision: place for place, decision in enumerate(Decision)}


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's choices; the words are those of `Decision`."""

    on_reject: str = "reject"
    on_quarantine: str = "quarantine"
    on_temperror: str = "accept"
    on_bad_from: str = "reject"
    on_mailing_list: str = "quarantine"
    max_author_domains: int = 4
    max_deferral: int = 14_400  # seconds
    dry_run: bool = False
    domains: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # Author Domain -> key -> word

    def for_domain(self, author_domain: str) -> Rules:
        """These rules with what was set for `author_domain` or the nearest name above it."""
        if not self.domains:
            return self
        name = author_domain
        while name:
            if name in self.domains:
                return replace(self, **self.domains[name])  # type: ignore[arg-type]  # the keys are those of DomainRules
            name = name.partition(".")[2]
        return self


@dataclass(frozen=True, slots=True)
class SealedPass:
    """A trusted ARC sealer saw DMARC pass for an Author Domain, and only trusted ones sealed it since."""

    reason: str  # for people
    comment: str  # for the reports (RFC 8617 §7.2.2)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known besides DMARC (RFC 9989 §7.4); "" means nothing."""

    trusted_forwarder: str = ""
    sealed: Mapping[str, SealedPass] = field(default_factory=dict)  # Author Domain -> evidence
    mailing_list: str = ""
    unknown: str = ""  # what of the above could not be looked up for the moment
    deferred_for: float = 0.0  # seconds since the same mail was first deferred here


@dataclass(frozen=True, slots=True)
class Verdict:
    decision: Decision
    rule: str  # the word of the table's first column
    reason: str  # for people
    author_domain: str = ""  # the one that decided
    policy: Policy = Policy.NONE  # what its owner asked for
    override: str = ""  # RFC 9990 §3.1.1.14: why the policy was not applied, "" if it was
    override_comment: str = ""  # more about it, for the reports and the log
    would_be: Decision | None = None  # with dry_run: what would have been done


def decide(facts: MessageFacts, knowledge: Knowledge, rules: Rules) -> Verdict:
    """Apply the table above."""
    verdict = _decide(facts, knowledge, rules)
    if rules.dry_run and verdict.decision is not Decision.ACCEPT:
        return replace(
            verdict,
            decision=Decision.ACCEPT,
            would_be=verdict.decision,
            override="local_policy",
            override_comment="dry run",
        )
    return verdict


def _decide(facts: MessageFacts, knowledge: Knowledge, rules: Rules) -> Verdict:
    if not facts.judged:
        return Verdict(Decision.ACCEPT, "own", "mail of our own users or networks is not judged")
    author = facts.author
    verdicts = [_decide_domain(fact, knowledge, rules.for_domain(fact.author_domain)) for fact in facts.dmarc]
    strictest = max(verdicts, key=lambda verdict: _STRICTNESS[verdict.decision], default=None)
    if knowledge.trusted_forwarder:
        reason = f"trusted forwarder {knowledge.trusted_forwarder}"
        if strictest is None or strictest.rule == "pass":
            return strictest or Verdict(Decision.ACCEPT, "forwarder", reason)
        override, comment = ("trusted_forwarder", reason) if strictest.policy is not Policy.NONE else ("", "")
        return replace(
            strictest,
            decision=Decision.ACCEPT,
            rule="forwarder",
            reason=reason,
            override=override,
            override_comment=comment,
        )
    found = []
    if len(author.domains) > rules.max_author_domains:
        reason = f"it names {len(author.domains)} domains, at most {rules.max_author_domains} are taken"
        found.append(Verdict(Decision.REJECT, "author-domains", reason))
    if author.problem:
        # RFC 9989 §11.5: a From that cannot be evaluated is never a quiet "none"
        found.append(Verdict(Decision(rules.on_bad_from), "bad-from", author.problem))
    if strictest:
        found.append(strictest)
    # the first of equals explains best: what is wrong with the From comes before the policy
    return max(found, key=lambda verdict: _STRICTNESS[verdict.decision], default=_NOTHING)


_NOTHING = Verdict(Decision.ACCEPT, "no-policy", "no Author Domain was evaluated")


def _decide_domain(fact: DmarcFact, knowledge: Knowledge, rules: Rules) -> Verdict:
    domain = fact.author_domain
    match fact.result:
        case DmarcResult.PASS:
            return Verdict(Decision.ACCEPT, "pass", fact.reason, domain, fact.policy)
        case DmarcResult.NONE | DmarcResult.PERMERROR:
            return Verdict(Decision.ACCEPT, "no-policy", fact.reason, domain)
        case DmarcResult.TEMPERROR if not (fact.published and fact.policy is Policy.NONE):
            if rules.on_temperror == "tempfail" and knowledge.deferred_for >= rules.max_deferral:
                reason = f"{fact.reason}; no longer deferred after {rules.max_deferral} s"
                return Verdict(Decision.ACCEPT, "temperror", reason, domain, fact.policy)
            return Verdict(Decision(rules.on_temperror), "temperror", fact.reason, domain, fact.policy)
    if fact.policy is Policy.NONE:
        # RFC 9989 §5.4: p=none must not change handling
        return Verdict(Decision.ACCEPT, "policy-none", fact.reason, domain)
    if sealed := knowledge.sealed.get(domain):
        # RFC 8617 §7.2.1: "As a matter of local policy", which is the list of trusted sealers
        return _departed(
            Verdict(Decision.ACCEPT, "arc", sealed.reason, domain, fact.policy), "local_policy", sealed.comment
        )
    reject = fact.policy is Policy.REJECT
    wanted = Decision(rules.on_reject if reject else rules.on_quarantine)
    on_list = Decision(rules.on_mailing_list)
    if knowledge.mailing_list and _STRICTNESS[on_list] < _STRICTNESS[wanted]:
        # RFC 9989 §7.4: with evidence of indirect mail p=reject alone must not reject
        verdict = Verdict(on_list, "mailing-list", knowledge.mailing_list, domain, fact.policy)
        return _departed(verdict, "mailing_list", knowledge.mailing_list)
    if knowledge.unknown and wanted is not Decision.ACCEPT:
        reason = f"{fact.reason}; {knowledge.unknown}"
        deferred = rules.on_temperror == "tempfail" and knowledge.deferred_for < rules.max_deferral
        decision = Decision.TEMPFAIL if deferred else Decision.QUARANTINE
        verdict = Verdict(decision, "unknown", reason, domain, fact.policy)
        return _departed(verdict, "local_policy", knowledge.unknown)
    verdict = Verdict(wanted, "policy", fact.reason, domain, fact.policy)
    return _departed(verdict, "local_policy", f"{'on_reject' if reject else 'on_quarantine'} = {wanted}")


def _departed(verdict: Verdict, override: str, comment: str) -> Verdict:
    """`verdict` with the reason for not doing what the domain asks for, if it is not that."""
    asked = Decision.REJECT if verdict.policy is Policy.REJECT else Decision.QUARANTINE
    return verdict if verdict.decision is asked else replace(verdict, override=override, override_comment=comment)
