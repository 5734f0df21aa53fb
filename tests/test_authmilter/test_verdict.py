"""The decision table, row by row."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from authmilter.facts import Author, Client, DmarcFact, DmarcResult, MessageFacts, Policy
from authmilter.verdict import Decision, Knowledge, Rules, SealedPass, decide

STRANGER = Client("192.0.2.1")
NOTHING = Knowledge()
FORWARDER = Knowledge(trusted_forwarder="198.51.100.1")
SEALED = Knowledge(sealed={"bank.example": SealedPass("seen by lists.example", "arc=pass as[1].d=lists.example")})
UNKNOWN = Knowledge(unknown="a look-up failed")
EVERYTHING = dataclasses.replace(SEALED, mailing_list="a list", unknown="a look-up failed")
LIST = Knowledge(mailing_list="mailing list dev.lists.example, signed by lists.example")


def dmarc(result: DmarcResult, policy: Policy = Policy.NONE, domain: str = "bank.example") -> DmarcFact:
    return DmarcFact(result, domain, domain, policy, reason="nothing authenticated")


def message(*facts: DmarcFact, problem: str = "", judged: bool = True) -> MessageFacts:
    author = Author(tuple(fact.author_domain for fact in facts), problem)
    return MessageFacts(STRANGER, "a@b.example", author=author, dmarc=facts, judged=judged)


FAIL_REJECT = dmarc(DmarcResult.FAIL, Policy.REJECT)
FAIL_QUARANTINE = dmarc(DmarcResult.FAIL, Policy.QUARANTINE)
FAIL_NONE = dmarc(DmarcResult.FAIL, Policy.NONE)
SHOP_REJECT = dmarc(DmarcResult.FAIL, Policy.REJECT, "shop.example")
PASS = dmarc(DmarcResult.PASS, Policy.REJECT)
TEMPERROR = dmarc(DmarcResult.TEMPERROR)
TEMPFAIL = Rules(on_temperror="tempfail")


@pytest.mark.parametrize(
    ("facts", "knowledge", "rules", "decision", "rule", "override"),
    [
        (message(FAIL_REJECT, judged=False), NOTHING, Rules(), "accept", "own", ""),
        (message(FAIL_REJECT), FORWARDER, Rules(), "accept", "forwarder", "trusted_forwarder"),
        (message(FAIL_NONE), FORWARDER, Rules(), "accept", "forwarder", ""),
        (message(PASS), FORWARDER, Rules(), "accept", "pass", ""),
        (message(problem="no From"), FORWARDER, Rules(), "accept", "forwarder", ""),
        (message(problem="no From"), NOTHING, Rules(), "reject", "bad-from", ""),
        (message(problem="no From"), NOTHING, Rules(on_bad_from="quarantine"), "quarantine", "bad-from", ""),
        (message(PASS, problem="two From fields"), NOTHING, Rules(), "reject", "bad-from", ""),
        (message(FAIL_REJECT, problem="x"), NOTHING, Rules(on_bad_from="accept"), "reject", "policy", ""),
        (message(FAIL_REJECT), SEALED, Rules(), "accept", "arc", "local_policy"),
        (message(FAIL_QUARANTINE), SEALED, Rules(on_quarantine="reject"), "accept", "arc", "local_policy"),
        (message(FAIL_REJECT, problem="two From fields"), SEALED, Rules(), "reject", "bad-from", ""),
        (message(FAIL_NONE), SEALED, Rules(), "accept", "policy-none", ""),
        (message(TEMPERROR), SEALED, TEMPFAIL, "tempfail", "temperror", ""),
        (message(PASS), SEALED, Rules(), "accept", "pass", ""),
        (message(SHOP_REJECT), SEALED, Rules(), "reject", "policy", ""),  # sealed for another domain
        (message(FAIL_REJECT, SHOP_REJECT), SEALED, Rules(), "reject", "policy", ""),
        (message(FAIL_REJECT), EVERYTHING, Rules(), "accept", "arc", "local_policy"),
        (message(FAIL_REJECT), UNKNOWN, Rules(), "quarantine", "unknown", "local_policy"),
        (message(FAIL_QUARANTINE), UNKNOWN, Rules(), "quarantine", "unknown", ""),
        (message(FAIL_REJECT), UNKNOWN, TEMPFAIL, "tempfail", "unknown", "local_policy"),
        (message(FAIL_REJECT), LIST, Rules(), "quarantine", "mailing-list", "mailing_list"),
        (message(FAIL_REJECT), LIST, Rules(on_mailing_list="accept"), "accept", "mailing-list", "mailing_list"),
        (message(FAIL_REJECT), LIST, Rules(on_mailing_list="reject"), "reject", "policy", ""),
        (message(FAIL_QUARANTINE), LIST, Rules(), "quarantine", "policy", ""),
        (message(FAIL_QUARANTINE), LIST, Rules(on_mailing_list="accept"), "accept", "mailing-list", "mailing_list"),
        (message(FAIL_REJECT), LIST, Rules(on_reject="accept"), "accept", "policy", "local_policy"),
        (message(FAIL_REJECT), NOTHING, Rules(), "reject", "policy", ""),
        (message(FAIL_REJECT), NOTHING, Rules(on_reject="quarantine"), "quarantine", "policy", "local_policy"),
        (message(FAIL_REJECT), NOTHING, Rules(on_reject="accept"), "accept", "policy", "local_policy"),
        (message(FAIL_QUARANTINE), NOTHING, Rules(), "quarantine", "policy", ""),
        (message(FAIL_QUARANTINE), NOTHING, Rules(on_quarantine="accept"), "accept", "policy", "local_policy"),
        (message(FAIL_QUARANTINE), NOTHING, Rules(on_quarantine="reject"), "reject", "policy", "local_policy"),
        (message(TEMPERROR), NOTHING, Rules(), "accept", "temperror", ""),
        (message(TEMPERROR), NOTHING, TEMPFAIL, "tempfail", "temperror", ""),
        (message(TEMPERROR), Knowledge(deferred_for=14_399), TEMPFAIL, "tempfail", "temperror", ""),
        (message(TEMPERROR), Knowledge(deferred_for=14_400), TEMPFAIL, "accept", "temperror", ""),
        (message(TEMPERROR), FORWARDER, TEMPFAIL, "accept", "forwarder", ""),
        (message(FAIL_NONE), NOTHING, Rules(), "accept", "policy-none", ""),
        (message(dmarc(DmarcResult.NONE)), NOTHING, Rules(), "accept", "no-policy", ""),
        (message(dmarc(DmarcResult.PERMERROR)), NOTHING, Rules(), "accept", "no-policy", ""),
        (message(PASS), NOTHING, Rules(), "accept", "pass", ""),
    ],
)
def test_each_row(
    facts: MessageFacts, knowledge: Knowledge, rules: Rules, decision: str, rule: str, override: str
) -> None:
    verdict = decide(facts, knowledge, rules)
    assert (verdict.decision, verdict.rule, verdict.override) == (decision, rule, override)


@pytest.mark.parametrize(
    ("policy", "knowledge", "rules", "comment"),
    [
        (Policy.REJECT, FORWARDER, Rules(), "trusted forwarder 198.51.100.1"),
        (Policy.REJECT, SEALED, Rules(), "arc=pass as[1].d=lists.example"),
        (Policy.REJECT, LIST, Rules(), "mailing list dev.lists.example, signed by lists.example"),
        (Policy.REJECT, UNKNOWN, Rules(), "a look-up failed"),
        (Policy.REJECT, NOTHING, Rules(on_reject="accept"), "on_reject = accept"),
        (Policy.QUARANTINE, NOTHING, Rules(on_quarantine="reject"), "on_quarantine = reject"),
        (Policy.REJECT, NOTHING, Rules(dry_run=True), "dry run"),
        # what the domain asks for is no override
        (Policy.REJECT, NOTHING, Rules(), ""),
        (Policy.QUARANTINE, LIST, Rules(on_quarantine="reject"), ""),
        (Policy.NONE, FORWARDER, Rules(), ""),
    ],
)
def test_an_override_says_why(policy: Policy, knowledge: Knowledge, rules: Rules, comment: str) -> None:
    verdict = decide(message(dmarc(DmarcResult.FAIL, policy)), knowledge, rules)
    assert (verdict.policy, verdict.override_comment) == (policy, comment)
    assert bool(verdict.override) is bool(comment)


def test_the_strictest_of_several_author_domains_counts() -> None:
    other = dmarc(DmarcResult.FAIL, Policy.REJECT, "shop.example")
    for facts in itertools.permutations((PASS, FAIL_QUARANTINE, other)):
        verdict = decide(message(*facts), NOTHING, Rules())
        assert (verdict.decision, verdict.author_domain) == (Decision.REJECT, "shop.example")


def test_more_author_domains_than_allowed_are_refused_even_if_all_pass() -> None:
    facts = message(*(dmarc(DmarcResult.PASS, Policy.REJECT, f"d{n}.example") for n in range(5)))
    verdict = decide(facts, NOTHING, Rules())
    assert (verdict.decision, verdict.rule) == (Decision.REJECT, "author-domains")
    assert decide(facts, NOTHING, Rules(max_author_domains=5)).decision is Decision.ACCEPT


@pytest.mark.parametrize("name", ["bank.example", "mail.bank.example"])
def test_override_for_a_domain_and_what_is_below_it(name: str) -> None:
    rules = Rules(domains={"bank.example": {"on_reject": "accept"}, "example": {"on_reject": "quarantine"}})
    assert decide(message(dmarc(DmarcResult.FAIL, Policy.REJECT, name)), NOTHING, rules).decision is Decision.ACCEPT
    other = message(dmarc(DmarcResult.FAIL, Policy.REJECT, "notbank.example"))
    assert decide(other, NOTHING, rules).decision is Decision.QUARANTINE


def test_dry_run_does_nothing_and_says_what_it_would_have_done() -> None:
    verdict = decide(message(FAIL_REJECT), NOTHING, Rules(dry_run=True))
    assert (verdict.decision, verdict.would_be) == (Decision.ACCEPT, Decision.REJECT)
    assert decide(message(PASS), NOTHING, Rules(dry_run=True)).would_be is None


def test_a_dns_failure_never_rejects() -> None:
    """Whatever the settings: temperror alone is accept or tempfail."""
    words = ("reject", "quarantine", "accept")
    for on_reject, on_quarantine, on_list, on_temperror in itertools.product(
        words, words, words, ("accept", "tempfail")
    ):
        rules = Rules(on_reject, on_quarantine, on_temperror, on_mailing_list=on_list)
        for knowledge in (NOTHING, LIST, FORWARDER, SEALED, UNKNOWN):
            assert decide(message(TEMPERROR), knowledge, rules).decision in (Decision.ACCEPT, Decision.TEMPFAIL)
