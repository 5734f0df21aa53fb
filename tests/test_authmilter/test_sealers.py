"""Whether an ARC chain is evidence: who sealed it, what the results in it say, and what attackers make them say."""

from __future__ import annotations

import dataclasses

import pytest

from authmilter.facts import ArcFact, ArcResult, ArcSet, Author, Client, DmarcFact, DmarcResult, MessageFacts, Policy
from authmilter.knowledge import Forwarders, Sealers, unknown_for_now

LIST, FORWARD, STRANGER = "lists.example", "forward.example", "mallory.example"
TRUSTED = Sealers([LIST, FORWARD])
BANK = "bank.example"

PASS = "mx.lists.example; spf=pass smtp.mailfrom=a@bank.example; dmarc=pass (p=reject) header.from=bank.example"
FAIL = "mx.forward.example; arc=pass; dmarc=fail (p=reject) header.from=bank.example"


def chain(*sets: tuple[str, str], result: ArcResult = ArcResult.PASS, **fact: object) -> ArcFact:
    """A chain of (sealer, claims), from instance 1 on."""
    made = tuple(ArcSet(number, domain, f"s{number}", claims) for number, (domain, claims) in enumerate(sets, 1))
    return ArcFact(result, made, **fact)  # type: ignore[arg-type]


def message(arc: ArcFact | None, author: str = BANK, problem: str = "") -> MessageFacts:
    dmarc = DmarcFact(DmarcResult.FAIL, author, author, Policy.REJECT)
    return MessageFacts(Client("192.0.2.1"), "a@b.example", author=Author((author,), problem), dmarc=(dmarc,), arc=arc)


def accepts(claims: str, author: str = BANK) -> bool:
    """Whether a single trusted set with these results is evidence."""
    return author in TRUSTED.passes(message(chain((LIST, claims)), author))


@pytest.mark.parametrize(
    ("sets", "instance"),
    [
        ([(LIST, PASS)], 1),
        ([(LIST, PASS), (FORWARD, FAIL)], 1),
        ([(LIST, PASS), (LIST, FAIL), (FORWARD, FAIL)], 1),
        # the newest that says so is taken
        ([(LIST, PASS), (FORWARD, PASS)], 2),
        # where the author's own host sealed first, trust in it is not needed
        ([(STRANGER, "x; none"), (FORWARD, PASS)], 2),
        # what cannot be read says nothing, and its trusted sealer breaks nothing
        ([(LIST, PASS), (FORWARD, "x; dmarc=pass (")], 1),
    ],
)
def test_trusted_sealers_since_it_passed(sets: list[tuple[str, str]], instance: int) -> None:
    (evidence,) = TRUSTED.passes(message(chain(*sets))).values()
    assert f"saw DMARC pass for bank.example at instance {instance};" in evidence.reason


@pytest.mark.parametrize(
    "sets",
    [
        # a stranger's seal, alone or on top: he may have changed everything
        [(STRANGER, PASS)],
        [(LIST, PASS), (STRANGER, PASS)],
        # in the middle: a list's message, changed and sealed by a stranger, then sent through a trusted forwarder
        [(LIST, PASS), (STRANGER, PASS), (FORWARD, FAIL)],
        # a trusted sealer forwards what an attacker made up
        [(STRANGER, PASS), (FORWARD, FAIL)],
        [(STRANGER, PASS), (STRANGER, PASS), (LIST, FAIL), (FORWARD, FAIL)],
        # names below a trusted one, above it, and like it
        [("evil.lists.example", PASS)],
        [("example", PASS)],
        [("notlists.example", PASS)],
        # trusted, but nobody saw it pass
        [(LIST, FAIL)],
        [(LIST, FAIL), (FORWARD, FAIL)],
        [(LIST, "x; none")],
        [(LIST, "")],
        [],
    ],
)
def test_what_is_no_evidence(sets: list[tuple[str, str]]) -> None:
    assert TRUSTED.passes(message(chain(*sets))) == {}


def test_only_a_chain_that_passed() -> None:
    assert TRUSTED.passes(message(None)) == {}
    for result in (ArcResult.FAIL, ArcResult.NONE):
        assert TRUSTED.passes(message(chain((LIST, PASS), result=result))) == {}


def test_without_trusted_sealers_arc_is_no_evidence() -> None:
    assert Sealers(()).passes(message(chain((LIST, PASS)))) == {}


def test_a_broken_from_gets_nothing_out_of_it() -> None:
    assert TRUSTED.passes(message(chain((LIST, PASS)), problem="two From fields")) == {}


def test_sealers_in_u_labels() -> None:
    assert Sealers(["Bücher.example"]).passes(message(chain(("xn--bcher-kva.example", PASS))))


@pytest.mark.parametrize(
    "claims",
    [
        "x; dmarc=pass header.from=bank.example",
        "x 1; dmarc=pass header.from=BANK.Example.",
        'x; DMARC=Pass Header.From="bank.example"',
        "x; dmarc=pass action=none header.from=bank.example; arc=none (0)",
        "x; dmarc=pass header.from=bank.example; dmarc=pass header.from=shop.example",
        # what Google and Microsoft write
        "mx.google.com; dkim=pass header.i=@bank.example header.s=a header.b=AbC/d+=; spf=pass (google.com: domain of "
        "a@bank.example designates 192.0.2.1 as permitted sender) smtp.mailfrom=a@bank.example; dmarc=pass (p=REJECT "
        "sp=REJECT dis=NONE) header.from=bank.example",
        "mx.microsoft.com 1; spf=pass (sender ip is 192.0.2.1) smtp.rcpttodomain=me.example smtp.mailfrom=bank.example"
        "; dmarc=pass (p=reject sp=reject pct=100) action=none header.from=bank.example; dkim=pass (signature was "
        "verified) header.d=bank.example; arc=pass (0 oda=1 ltdi=1 spf=[1,1,smtp.mailfrom=b.example])",
        # without DMARC: what makes it pass
        "x; spf=pass smtp.mailfrom=a@bank.example",
        "x; spf=pass smtp.mailfrom=bank.example",
        "x; spf=fail smtp.mailfrom=a@b.example; dkim=fail header.d=bank.example; dkim=pass header.d=bank.example",
        "x; spf=fail smtp.mailfrom=a@bank.example; dkim=pass header.d=bank.example",
    ],
)
def test_results_that_say_pass(claims: str) -> None:
    assert accepts(claims)


@pytest.mark.parametrize(
    "claims",
    [
        "x; dmarc=fail header.from=bank.example",
        "x; dmarc=none header.from=bank.example; spf=pass smtp.mailfrom=a@bank.example",
        "x; dmarc=bestguesspass header.from=bank.example",
        "x; dmarc=temperror header.from=bank.example; dkim=pass header.d=bank.example",
        # for another Author Domain than now
        "x; dmarc=pass header.from=shop.example",
        "x; dmarc=pass header.from=mail.bank.example",
        "x; dmarc=pass header.from=example",
        "x; dmarc=pass header.from=bank.example.mallory.example",
        "x; dmarc=pass",
        "x; dmarc=pass header.from=a@bank.example",
        "x; dmarc=pass smtp.mailfrom=bank.example",
        # one word against another
        "x; dmarc=pass header.from=bank.example; dmarc=fail header.from=bank.example",
        "x; dmarc=pass header.from=bank.example; dmarc=fail header.from=mallory.example",
        "x; dmarc=pass header.from=mallory.example header.from=bank.example",
        "x; dmarc=pass header.from=bank.example header.from=mallory.example",
        # outside text that a sealer did not quote
        "x; spf=pass smtp.mailfrom=a;dmarc=pass header.from=bank.example; dmarc=fail header.from=bank.example",
        'x; spf=pass smtp.mailfrom="a; dmarc=pass header.from=bank.example"; dmarc=fail header.from=bank.example',
        "x; spf=pass (a; dmarc=pass header.from=bank.example) smtp.mailfrom=a; dmarc=fail header.from=bank.example",
        'x; dmarc=pass header.from=bank.example; spf=pass smtp.mailfrom="; dmarc=fail header.from=bank.example',
        "x; dmarc=pass header.from=bank.example (; dmarc=fail header.from=bank.example",
        "x; dmarc=fail reason=dmarc=pass header.from=bank.example",
        # not a field
        "dmarc=pass header.from=bank.example",
        "; dmarc=pass header.from=bank.example",
        "x 2; dmarc=pass header.from=bank.example",
        "x; dmarc = pass header.from",
        "i=1; x; dmarc=pass header.from=bank.example",
        # without DMARC: not of this domain, not a pass, HELO
        "x; spf=pass smtp.mailfrom=a@mail.bank.example",
        "x; spf=pass smtp.mailfrom=a@bank.example smtp.mailfrom=b@mallory.example",
        'x; spf=pass smtp.mailfrom="a@bank.example"@mallory.example',
        "x; spf=pass smtp.mailfrom=a@mallory.example; spf=fail smtp.mailfrom=a@bank.example",
        "x; spf=pass smtp.helo=bank.example",
        "x; spf=softfail smtp.mailfrom=a@bank.example",
        "x; dkim=policy header.d=bank.example",
        "x; dkim=pass header.d=mallory.example header.i=@bank.example",
        "x; dkim=pass header.d=mallory.example header.d=bank.example",
        "x; dkim=pass header.i=@bank.example",
        "x; auth=pass smtp.auth=a@bank.example",
        "x; arc=pass header.from=bank.example",
    ],
)
def test_results_that_do_not(claims: str) -> None:
    assert not accepts(claims)


def test_each_author_domain_has_its_own_evidence() -> None:
    facts = message(chain((LIST, PASS)))
    other = DmarcFact(DmarcResult.FAIL, "shop.example", "shop.example", Policy.REJECT)
    facts = dataclasses.replace(facts, author=Author((BANK, "shop.example")), dmarc=(*facts.dmarc, other))
    assert list(TRUSTED.passes(facts)) == [BANK]


def test_the_comment_for_reports() -> None:
    """RFC 8617 §7.2.2."""
    claims = "x; arc=none smtp.remote-ip=192.0.2.10; dmarc=pass header.from=bank.example"
    (evidence,) = TRUSTED.passes(message(chain((LIST, claims), (FORWARD, FAIL)))).values()
    assert evidence.comment == (
        "arc=pass as[2].d=forward.example as[2].s=s2 as[1].d=lists.example as[1].s=s1 remote-ip[1]=192.0.2.10"
    )
    assert evidence.reason == (
        "ARC: lists.example saw DMARC pass for bank.example at instance 1; "
        "sealed from there on by lists.example, forward.example"
    )


@pytest.mark.parametrize("ip", ["", "a]", '"1.2.3.4 x"', "999.1.1.1"])
def test_no_address_in_the_comment_that_is_none(ip: str) -> None:
    claims = f"x; arc=none smtp.remote-ip={ip}; dmarc=pass header.from=bank.example" if ip else PASS
    (evidence,) = TRUSTED.passes(message(chain((LIST, claims)))).values()
    assert evidence.comment == "arc=pass as[1].d=lists.example as[1].s=s1"


def test_no_address_that_a_stranger_says() -> None:
    stranger = (STRANGER, "x; arc=none smtp.remote-ip=192.0.2.10")
    (evidence,) = TRUSTED.passes(message(chain(stranger, (LIST, PASS)))).values()
    assert "remote-ip" not in evidence.comment


def test_a_seal_that_cannot_be_looked_up_for_the_moment() -> None:
    none = Forwarders(())
    undecided = chain((LIST, PASS), result=ArcResult.FAIL, undecided=True, reason="ARC-Seal 1: timeout")
    facts = message(undecided)
    assert TRUSTED.passes(facts) == {}
    assert "ARC-Seal 1: timeout" in unknown_for_now(facts, none, TRUSTED)
    assert unknown_for_now(facts, none, Sealers([FORWARD])) == ""
    # who breaks his own DNS makes nothing unknown, nor does a chain that would say nothing
    for sets in ([(STRANGER, PASS)], [(LIST, FAIL)], [(LIST, PASS), (STRANGER, PASS)]):
        broken = chain(*sets, result=ArcResult.FAIL, undecided=True)
        assert unknown_for_now(message(broken), none, TRUSTED) == ""
    failed = dataclasses.replace(undecided, undecided=False)
    assert unknown_for_now(message(failed), none, TRUSTED) == ""
