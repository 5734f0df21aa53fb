"""What a message adds to the reports: a table of dispositions and reasons, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from authmilter.facts import Client, DkimFact, DkimResult, DmarcResult, MessageFacts, Policy, SpfFact, SpfResult
from authmilter.reports.observation import MAX_SIGNATURES, PublishedFacts, RowFacts, Signature, observations
from authmilter.verdict import Decision, Verdict
from tests.support.report_rows import ACCEPT, dmarc, message, messages, tags

PASS, FAIL, TEMPERROR = DmarcResult.PASS, DmarcResult.FAIL, DmarcResult.TEMPERROR
NONE, QUARANTINE, REJECT = Policy.NONE, Policy.QUARANTINE, Policy.REJECT


def row(facts: MessageFacts, verdict: Verdict = ACCEPT) -> RowFacts:
    ((_, found),) = observations(facts, verdict)
    return found


def published(**changes: Any) -> PublishedFacts:
    ((found, _),) = observations(message(dmarc(**changes)), ACCEPT)
    return found


def test_a_plain_message() -> None:
    assert row(message(dmarc())) == RowFacts(
        "192.0.2.10",
        "pass",
        "fail",
        "pass",
        (),
        "shop.example",
        "bounce.shop.example",
        (Signature("shop.example", "s1", "pass", ""),),
        ("bounce.shop.example", "pass", ""),  # type: ignore[arg-type]  # a tuple equals a named one
    )


def verdict(decision: Decision, rule: str = "policy", override: str = "", dry: bool = False) -> Verdict:
    if dry:
        return Verdict(decision, rule, "", "", REJECT, override, "dry run", Decision.REJECT)
    return Verdict(decision, rule, "", override=override)


A, Q, R = Decision.ACCEPT, Decision.QUARANTINE, Decision.REJECT


@pytest.mark.parametrize(
    ("result", "policy", "made", "disposition", "reasons"),
    [
        # RFC 9990's schema: "pass" is for a domain that enforces something
        (PASS, REJECT, verdict(A, "pass"), "pass", ()),
        (PASS, QUARANTINE, verdict(A, "pass"), "pass", ()),
        (PASS, NONE, verdict(A, "pass"), "none", ()),
        (PASS, REJECT, verdict(R, "bad-from"), "pass", ()),  # refused for another reason
        (FAIL, REJECT, verdict(R), "reject", ()),
        (FAIL, QUARANTINE, verdict(Q), "quarantine", ()),
        (FAIL, NONE, verdict(A, "policy-none"), "none", ()),
        (FAIL, REJECT, verdict(Q, "policy", "local_policy"), "quarantine", (("local_policy", "policy"),)),
        (FAIL, REJECT, verdict(A, "mailing-list", "mailing_list"), "none", (("mailing_list", "mailing-list"),)),
        (FAIL, REJECT, verdict(A, "forwarder", "trusted_forwarder"), "none", (("trusted_forwarder", "forwarder"),)),
        (
            FAIL,
            REJECT,
            verdict(A, "policy", "local_policy", dry=True),
            "none",
            (("local_policy", "dry run"),),
        ),
        # RFC 9990 §3.1.1.9: MUST have a reason; here another Author Domain's policy decided
        (FAIL, NONE, verdict(R), "reject", (("local_policy", "another reason: policy"),)),
        (TEMPERROR, REJECT, verdict(A, "temperror"), "none", (("other", "a DNS look-up failed for the moment"),)),
        (TEMPERROR, NONE, verdict(A, "policy-none"), "none", ()),
    ],
)
def test_dispositions_and_reasons(
    result: DmarcResult, policy: Policy, made: Verdict, disposition: str, reasons: tuple[tuple[str, str], ...]
) -> None:
    found = row(message(dmarc(result, policy=policy)), made)
    assert (found.disposition, found.reasons) == (disposition, reasons)


TEST_MODE = ("policy_test_mode", "")


@pytest.mark.parametrize(
    ("changes", "author", "policy", "reasons"),
    [
        ({"p": REJECT}, "shop.example", QUARANTINE, (TEST_MODE,)),
        ({"p": QUARANTINE}, "shop.example", NONE, (TEST_MODE,)),
        ({"p": NONE}, "shop.example", NONE, ()),
        ({"p": REJECT, "sp": NONE}, "a.shop.example", NONE, ()),
        ({"p": NONE, "sp": REJECT}, "shop.example", NONE, ()),
        ({"p": NONE, "sp": REJECT}, "a.shop.example", QUARANTINE, (TEST_MODE,)),
        ({"p": NONE, "np": QUARANTINE}, "a.shop.example", NONE, (TEST_MODE,)),
    ],
)
def test_test_mode(
    changes: dict[str, Policy], author: str, policy: Policy, reasons: tuple[tuple[str, str], ...]
) -> None:
    """RFC 9990 §3.1.6: t=y made the policy milder."""
    fact = dmarc(FAIL, author_domain=author, policy=policy, published=tags(testing=True, **changes))
    decision = Q if policy is QUARANTINE else A
    assert row(message(fact), verdict(decision)).reasons == reasons


def test_defaults_of_the_policy_are_filled_in() -> None:
    assert published(published=tags(sp=None, np=None))[:4] == ("shop.example", "reject", "reject", "reject")
    assert published(published=tags(sp=QUARANTINE, np=None))[2:4] == ("quarantine", "quarantine")
    assert published(published=tags(sp=QUARANTINE, np=NONE))[2:4] == ("quarantine", "none")
    assert published(record_error="its p\x00 cannot be read").error == "its p  cannot be read"


def test_one_row_for_each_author_domain() -> None:
    other = dmarc(FAIL, author_domain="b.example", policy_domain="b.example", policy=NONE, published=tags(p=NONE))
    found = list(observations(message(dmarc(), other), ACCEPT))
    assert [(policy.domain, row.header_from) for policy, row in found] == [
        ("shop.example", "shop.example"),
        ("b.example", "b.example"),
    ]


@pytest.mark.parametrize(
    "facts",
    [
        message(dmarc(), judged=False),
        message(dmarc(published=None)),
        message(dmarc(published=tags(rua=()))),
        message(dmarc(DmarcResult.NONE)),
        message(dmarc(DmarcResult.PERMERROR)),
        message(dmarc(), client=Client("")),
        message(dmarc(), report=True),
        message(dmarc(), mail_from=""),
        message(),
    ],
)
def test_what_is_not_counted(facts: MessageFacts) -> None:
    assert list(observations(facts, ACCEPT)) == []


def test_what_was_deferred_comes_again() -> None:
    assert list(observations(message(dmarc(TEMPERROR)), verdict(Decision.TEMPFAIL, "temperror"))) == []


def test_nobody_hides_a_forgery_from_the_reports() -> None:
    """A subject like that of a report, or the null sender, leaves out only what has authenticated itself."""
    assert row(message(dmarc(FAIL), report=True), verdict(R)).disposition == "reject"
    found = row(message(dmarc(FAIL), mail_from=""), verdict(R))
    assert found.envelope_from == ""


def test_signatures_in_the_order_of_the_standard() -> None:
    def signed(domain: str, result: DkimResult = DkimResult.PASS, selector: str = "s") -> DkimFact:
        return DkimFact(result, domain, selector, reason="why" if result is not DkimResult.PASS else "")

    facts = message(
        dmarc(author_domain="news.shop.example"),
        dkim=(
            signed("", DkimResult.NEUTRAL),
            signed("shop.example", DkimResult.FAIL),
            signed("esp.example"),
            signed("shop.example"),
            signed("news.shop.example"),
            signed("noselector.example", selector=""),
        ),
    )
    assert row(facts).signatures == (
        Signature("news.shop.example", "s", "pass", ""),  # RFC 9990 §3.1.3: strict, relaxed, other, failed
        Signature("shop.example", "s", "pass", ""),
        Signature("esp.example", "s", "pass", ""),
        Signature("shop.example", "s", "fail", "why"),
    )
    many = replace(facts, dkim=(signed("a.example"),) * 200)
    assert len(row(many).signatures) == MAX_SIGNATURES


def test_spf_is_the_mail_from_identity_only() -> None:
    helo = SpfFact("helo", SpfResult.PASS, "mail.shop.example", "mail.shop.example")
    assert row(message(dmarc(), spf=(helo,))).checked is None
    nothing = SpfFact("mfrom", SpfResult.NONE, "", "x")
    assert row(message(dmarc(), spf=(nothing,))).checked is None
    wrong = SpfFact("mfrom", SpfResult.PERMERROR, "a.example", "x@a.example", "", "two\x1b records")
    assert row(message(dmarc(), spf=(wrong,))).checked == ("a.example", "permerror", "two  records")


@given(messages())
def test_whatever_comes(made: tuple[MessageFacts, Verdict]) -> None:
    facts, decided = made
    for policy, found in observations(facts, decided):
        assert decided.decision is not Decision.TEMPFAIL
        assert policy.rua
        assert found.disposition in {"none", "pass", "quarantine", "reject"}
        if "pass" not in (found.dkim, found.spf):
            fact = next(each for each in facts.dmarc if each.author_domain == found.header_from)
            if fact.result is not PASS:
                assert found.reasons or found.disposition == fact.policy.value
