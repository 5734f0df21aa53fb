"""docs/inbound-decisions.md says what the code does, and what a stranger brings along never opens the gate."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter import verdict as verdict_module
from authmilter.facts import (
    ArcFact,
    ArcResult,
    ArcSet,
    Author,
    Client,
    DkimFact,
    DkimResult,
    DmarcFact,
    DmarcResult,
    HeloFact,
    IprevFact,
    IprevResult,
    MessageFacts,
    Policy,
    SpfFact,
    SpfResult,
)
from authmilter.knowledge import Forwarders, Sealers, knowledge_of
from authmilter.verdict import Decision, Knowledge, Rules, SealedPass, decide

DOCS = (Path(__file__).parents[2] / "docs" / "inbound-decisions.md").read_text()
BANK = "bank.example"


def section(name: str) -> str:
    return DOCS.partition(f"## {name}\n")[2].partition("\n## ")[0]


def test_the_docs_have_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| .*\|$", verdict_module.__doc__ or "", re.MULTILINE)
    assert len(rows) == 19
    assert re.findall(r"^\| .*\|$", section("The table"), re.MULTILINE) == rows


def test_the_manual_has_every_rule_in_order() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "authmilter.8").read_text()
    decisions = manual.partition(".Sh DECISIONS")[2].partition(".Sh ")[0]
    rules = re.findall(r"^\| `([a-z-]+)` ", verdict_module.__doc__ or "", re.MULTILINE)
    assert re.findall(r"^\.It ([a-z-]+)$", decisions, re.MULTILINE) == list(dict.fromkeys(rules))


def fact(result: DmarcResult, policy: Policy = Policy.NONE) -> tuple[DmarcFact, str]:
    return DmarcFact(result, BANK, BANK, policy), ""


COLUMNS = {
    "pass": [fact(DmarcResult.PASS, Policy.REJECT)],
    "fail, none": [fact(DmarcResult.FAIL)],
    "fail, quarantine": [fact(DmarcResult.FAIL, Policy.QUARANTINE)],
    "fail, reject": [fact(DmarcResult.FAIL, Policy.REJECT)],
    "temperror": [fact(DmarcResult.TEMPERROR), fact(DmarcResult.TEMPERROR, Policy.REJECT)],
    "none, permerror": [fact(DmarcResult.NONE), fact(DmarcResult.PERMERROR)],
    "From cannot be used": [(fact(result)[0], "two From fields") for result in (DmarcResult.PERMERROR,)],
}
ROWS: dict[str, dict[str, Any]] = {
    "a trusted forwarder sent it": {"trusted_forwarder": "198.51.100.1"},
    "a trusted ARC sealer saw it pass": {"sealed": {BANK: SealedPass("seen", "arc=pass")}},
    "it came through a mailing list": {"mailing_list": "mailing list dev.lists.example"},
    "cannot be told for the moment": {"unknown": "a look-up failed"},
    "nothing": {},
}
WORDS = {Decision.QUARANTINE: "hold"}


def decision(column: tuple[DmarcFact, str], **known: Any) -> str:
    dmarc, problem = column
    facts = MessageFacts(Client("192.0.2.1"), "a@b.example", author=Author((BANK,), problem), dmarc=(dmarc,))
    verdict = decide(facts, Knowledge(**known), Rules())
    return WORDS.get(verdict.decision, str(verdict.decision))


def test_every_cell_of_the_combinations() -> None:
    header, _, *rows = re.findall(r"^\| (.*) \|$", section("Every combination"), re.MULTILINE)
    assert header.split(" | ")[1:] == list(COLUMNS)
    assert [row.split(" | ")[0] for row in rows] == list(ROWS)
    for row in rows:
        name, *cells = row.split(" | ")
        for cell, columns in zip(cells, COLUMNS.values(), strict=True):
            assert {decision(column, **ROWS[name]) for column in columns} == {cell}, row


def test_of_several_things_known_the_uppermost_counts() -> None:
    for chosen in itertools.product((True, False), repeat=4):
        known = [row for row, taken in zip(ROWS.values(), chosen, strict=False) if taken] or [{}]
        together = {key: value for row in known for key, value in row.items()}
        for column in itertools.chain.from_iterable(COLUMNS.values()):
            assert decision(column, **together) == decision(column, **known[0])


# What a stranger has: everything that he says, and whatever is authenticated of domains of his own.
FORWARDERS = Forwarders(["192.0.2.0/24", "name.example", "helo:helo.example", "dkim:signer.example"])
SEALERS = Sealers(["sealer.example", "list.example"])
OURS = ("name.example", "mx.name.example", "helo.example", "signer.example", "sealer.example", "list.example", BANK)
HIS = ("mallory.example", "mx.mallory.example", "helo.example.mallory.example", "evil.sealer.example")
ANY = st.sampled_from((*OURS, *HIS))
PASSED = f"x; spf=pass smtp.mailfrom=a@{BANK}; dkim=pass header.d={BANK}; dmarc=pass header.from={BANK}"
FAILED = f"x; arc=pass; dkim=pass header.d=mallory.example; dmarc=fail header.from={BANK}"


def other_than(words: type[Any], passed: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([word for word in words if word is not passed])


DKIM = st.one_of(
    st.builds(DkimFact, st.just(DkimResult.PASS), st.sampled_from(HIS)),
    st.builds(DkimFact, other_than(DkimResult, DkimResult.PASS), ANY),
)
SPF = st.one_of(
    st.builds(SpfFact, st.sampled_from(["mfrom", "helo"]), st.just(SpfResult.PASS), st.sampled_from(HIS), st.just("x")),
    st.builds(SpfFact, st.sampled_from(["mfrom", "helo"]), other_than(SpfResult, SpfResult.PASS), ANY, st.just("x")),
)
IPREV = st.one_of(
    st.builds(IprevFact, st.just(IprevResult.PASS), st.just("203.0.113.1"), st.sampled_from(HIS)),
    st.builds(IprevFact, other_than(IprevResult, IprevResult.PASS), st.just("203.0.113.1"), ANY),
)
HELO = st.none() | st.builds(HeloFact, other_than(IprevResult, IprevResult.PASS), ANY)
TRUSTED_SEALER = st.sampled_from(["sealer.example", "list.example"])
CLAIMS = st.sampled_from([PASSED, FAILED, "", "x; none", "x; dmarc=pass ("])


@st.composite
def chains(draw: st.DrawFn) -> ArcFact:
    """Any sets, one of his at least; trusted sealers that forward what he made say honestly what they found."""
    sets = draw(st.lists(st.tuples(TRUSTED_SEALER | st.sampled_from(HIS), CLAIMS), max_size=3))
    sets.append((draw(st.sampled_from(HIS)), draw(CLAIMS)))
    sets += draw(st.lists(st.tuples(TRUSTED_SEALER, st.just(FAILED)), max_size=2))
    made = tuple(ArcSet(number, domain, "s", claims) for number, (domain, claims) in enumerate(sets, 1))
    result = draw(st.sampled_from([ArcResult.PASS, ArcResult.PASS, ArcResult.FAIL]))
    return ArcFact(result, made, draw(st.integers(0, 3)), undecided=draw(st.booleans()))


BROKEN = st.builds(  # or a chain of trusted sealers that does not hold
    lambda sets, undecided: ArcFact(
        ArcResult.FAIL,
        tuple(ArcSet(number, domain, "s", PASSED) for number, domain in enumerate(sets, 1)),
        undecided=undecided,
    ),
    st.lists(TRUSTED_SEALER, max_size=3),
    st.booleans(),
)
LIST_DOMAINS = st.sampled_from(["dev.list.example", "dev.mallory.example", "dev.bank.example", ""])

FACTS = st.builds(
    lambda client, mail_from, iprev, spf, dkim, arc, list_id, list_post, helo: MessageFacts(
        client,
        mail_from,
        author=Author((BANK,)),
        iprev=iprev,
        spf=tuple(spf),
        dkim=tuple(dkim),
        dmarc=(DmarcFact(DmarcResult.FAIL, BANK, BANK, Policy.REJECT),),
        arc=arc,
        list_id=f"<{list_id}>",
        list_post=f"<mailto:dev@{list_post}>",
        helo=helo,
    ),
    st.builds(Client, st.just("203.0.113.1"), st.just(""), ANY),
    st.one_of(st.just(""), ANY.map("a@{}".format)),
    st.none() | IPREV,
    st.lists(SPF, max_size=2),
    st.lists(DKIM, max_size=3),
    st.one_of(st.none(), chains(), chains(), BROKEN),
    LIST_DOMAINS,
    LIST_DOMAINS,
    HELO,
)


@settings(max_examples=500)
@given(FACTS, st.sampled_from(["reject", "quarantine"]), st.sampled_from(["accept", "tempfail"]), st.booleans())
def test_nothing_that_a_stranger_brings_turns_a_refusal_into_delivery(
    facts: MessageFacts, on_mailing_list: str, on_temperror: str, late: bool
) -> None:
    rules = Rules(on_mailing_list=on_mailing_list, on_temperror=on_temperror)
    knowledge = knowledge_of(facts, FORWARDERS, SEALERS, rules.max_deferral if late else 0.0)
    verdict = decide(facts, knowledge, rules)
    assert verdict.decision is not Decision.ACCEPT
    assert not knowledge.trusted_forwarder
    assert not knowledge.sealed
    if verdict.decision is not Decision.REJECT:
        assert verdict.rule in ("mailing-list", "unknown")
        assert verdict.override


@pytest.mark.parametrize(
    "change",
    [
        {"client": Client("192.0.2.1")},
        {"iprev": IprevFact(IprevResult.PASS, "203.0.113.1", "mx.name.example")},
        {"client": Client("203.0.113.1", helo="helo.example"), "helo": HeloFact(IprevResult.PASS, "helo.example")},
        {"dkim": (DkimFact(DkimResult.PASS, "signer.example"),)},
        {"arc": ArcFact(ArcResult.PASS, (ArcSet(1, "list.example", "s", PASSED),))},
    ],
)
def test_what_is_authenticated_does(change: dict[str, Any]) -> None:
    """The same, with one thing that a stranger does not have: the property above can fail."""
    made: dict[str, Any] = {
        "client": Client("203.0.113.1"),
        "mail_from": "a@mallory.example",
        "author": Author((BANK,)),
        "dmarc": (DmarcFact(DmarcResult.FAIL, BANK, BANK, Policy.REJECT),),
    }
    facts = MessageFacts(**{**made, **change})
    verdict = decide(facts, knowledge_of(facts, FORWARDERS, SEALERS), Rules())
    assert verdict.decision is Decision.ACCEPT
    assert verdict.override
    assert verdict.override_comment
