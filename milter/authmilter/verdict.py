"""The decision: facts and other knowledge in, one verdict out. No I/O, no clock.

RFC 9989 §7.4 wants more than p=reject before a message is rejected. What else is known comes in as `Knowledge`, and
this table, from the top, says what follows:

| DMARC                    | other knowledge             | decision                  | rule           |
|--------------------------|-----------------------------|---------------------------|----------------|
| not judged: own mail     |                             | accept                    | own            |
| not judged, but no key   |                             | `on_missing_key`          | no-key         |
| header too large         |                             | reject                    | header-size    |
| > 200 fields pass for ours |                           | reject                    | forged-fields  |
| any but pass             | client is trusted forwarder | accept                    | forwarder      |
| too many Author Domains  |                             | reject                    | author-domains |
| From cannot be used      |                             | `on_bad_from`             | bad-from       |
| fail, reject/quarantine  | came through a mailing list | `on_mailing_list` [1]     | mailing-list   |
| fail, reject/quarantine  | unknown for the moment      | hold or defer [2]         | unknown        |
| fail, p=reject           |                             | `on_reject`               | policy         |
| fail, p=quarantine       |                             | `on_quarantine`           | policy         |
| temperror                | deferred < `max_deferral`   | `on_temperror`            | temperror      |
| temperror                | deferred for longer         | accept                    | temperror      |
| fail, temperror, p=none  |                             | accept                    | policy-none    |
| none, permerror          |                             | accept                    | no-policy      |
| pass                     |                             | accept                    | pass           |

[1] if it is milder than `on_reject` or `on_quarantine` would be; else the row below it.
[2] a look-up about a forwarder, a list or SPF's ptr failed: not rejected, since that is DNS's fault, and not
delivered, since a sender can break his own DNS. Deferred if `on_temperror` says so, else held.

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
class Knowledge:
    """What is known besides DMARC (RFC 9989 §7.4); "" means nothing."""

    trusted_forwarder: str = ""
    mailing_list: str = ""
    unknown: str = ""  # what of the above could not be looked up for the moment
    deferred_for: float = 0.0  # seconds since the same mail was first deferred here


@dataclass(frozen=True, slots=True)
class Verdict:
    decision: Decision
    rule: str  # the word of the table's last column
    reason: str  # for people
    author_domain: str = ""  # the one that decided
    policy: Policy = Policy.NONE  # what its owner asked for
    override: str = ""  # RFC 9990 §3.1.1.14: why the policy was not applied, "" if it was
    would_be: Decision | None = None  # with dry_run: what would have been done


def decide(facts: MessageFacts, knowledge: Knowledge, rules: Rules) -> Verdict:
    """Apply the table above."""
    verdict = _decide(facts, knowledge, rules)
    if rules.dry_run and verdict.decision is not Decision.ACCEPT:
        return replace(verdict, decision=Decision.ACCEPT, would_be=verdict.decision, override="local_policy")
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
        override = "trusted_forwarder" if strictest.policy is not Policy.NONE else ""
        return replace(strictest, decision=Decision.ACCEPT, rule="forwarder", reason=reason, override=override)
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
    wanted = Decision(rules.on_reject if fact.policy is Policy.REJECT else rules.on_quarantine)
    asked = Decision.REJECT if fact.policy is Policy.REJECT else Decision.QUARANTINE
    on_list = Decision(rules.on_mailing_list)
    if knowledge.mailing_list and _STRICTNESS[on_list] < _STRICTNESS[wanted]:
        # RFC 9989 §7.4: with evidence of indirect mail p=reject alone must not reject
        return Verdict(on_list, "mailing-list", knowledge.mailing_list, domain, fact.policy, "mailing_list")
    if knowledge.unknown and wanted is not Decision.ACCEPT:
        reason = f"{fact.reason}; {knowledge.unknown}"
        deferred = rules.on_temperror == "tempfail" and knowledge.deferred_for < rules.max_deferral
        decision = Decision.TEMPFAIL if deferred else Decision.QUARANTINE
        return Verdict(decision, "unknown", reason, domain, fact.policy, "" if decision is asked else "local_policy")
    return Verdict(wanted, "policy", fact.reason, domain, fact.policy, "" if wanted is asked else "local_policy")
