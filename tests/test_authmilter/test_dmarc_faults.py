"""DMARC while the DNS fails: what could still be known, and that a sender cannot hide behind his own faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.dmarc.evaluate import evaluate
from authmilter.facts import DkimFact, DkimResult, DmarcFact, DmarcResult, Policy, SpfFact, SpfResult
from tests.support.zone_resolver import ZoneResolver

PASS, FAIL, NONE, TEMPERROR = DmarcResult.PASS, DmarcResult.FAIL, DmarcResult.NONE, DmarcResult.TEMPERROR


def spf(domain: str, result: SpfResult = SpfResult.PASS) -> SpfFact:
    return SpfFact("mfrom", result, domain, f"sender@{domain}")


def dkim(domain: str, result: DkimResult = DkimResult.PASS) -> DkimFact:
    return DkimFact(result, domain)


def dmarc(zone: str, author: str, *facts: SpfFact | DkimFact) -> DmarcFact:
    spf_facts = [fact for fact in facts if isinstance(fact, SpfFact)]
    dkim_facts = [fact for fact in facts if isinstance(fact, DkimFact)]
    return evaluate(author, spf_facts, dkim_facts, ZoneResolver(zone))


OWN = '_dmarc.example.com 300 IN TXT "v=DMARC1; p=reject"\n'
STRICT = '_dmarc.example.com 300 IN TXT "v=DMARC1; p=reject; adkim=s; aspf=s"\n'
NP = '_dmarc.example.com 300 IN TXT "v=DMARC1; p=reject; sp=none; np=reject"\n'
SAME_NP = '_dmarc.example.com 300 IN TXT "v=DMARC1; p=none; sp=reject; np=reject"\n'
COM_FAILS = "_dmarc.com TXT servfail\n"
LOST_SPF = spf("example.com", SpfResult.TEMPERROR)
LOST_KEY = dkim("example.com", DkimResult.TEMPERROR)


@pytest.mark.parametrize("fault", ["servfail", "timeout", "bogus"])
@pytest.mark.parametrize(
    ("zone", "author", "facts", "result"),
    [
        # the record of the Author Domain
        ("_dmarc.example.com TXT servfail", "example.com", [spf("example.com")], TEMPERROR),
        ("_dmarc.a.example.com TXT servfail\n" + OWN, "a.example.com", [spf("a.example.com")], TEMPERROR),
        ("_dmarc.a.example.com TXT servfail\n" + OWN, "a.example.com", [], TEMPERROR),
        # a record above it: not needed
        (OWN + COM_FAILS, "example.com", [spf("example.com")], PASS),
        (STRICT + COM_FAILS, "example.com", [spf("example.com")], PASS),
        (STRICT + COM_FAILS, "example.com", [spf("a.example.com")], FAIL),
        (OWN + COM_FAILS, "example.com", [], FAIL),
        (OWN + COM_FAILS, "example.com", [dkim("attack.example")], FAIL),
        # needed, but whatever it is leads to the same
        (OWN + COM_FAILS, "example.com", [dkim("a.example.com")], PASS),
        # one record could make them one organization
        (OWN + COM_FAILS, "example.com", [dkim("other.com")], TEMPERROR),
        # the policy could be another one
        (OWN + COM_FAILS, "a.example.com", [], TEMPERROR),
        (OWN + COM_FAILS, "a.example.com", [spf("a.example.com")], PASS),
        (COM_FAILS, "example.com", [], TEMPERROR),
        (COM_FAILS, "example.com", [spf("example.com")], TEMPERROR),
        ("_dmarc.example.com TXT servfail\n" + COM_FAILS, "a.b.example.com", [spf("x.example")], TEMPERROR),
        # a record on the way from the identifier
        (OWN + "_dmarc.a.example.com TXT servfail", "example.com", [dkim("a.example.com")], TEMPERROR),
        (OWN + "_dmarc.a.example.com TXT servfail", "example.com", [dkim("a.example.com"), spf("example.com")], PASS),
        (OWN + "_dmarc.attack.example TXT servfail", "example.com", [dkim("attack.example")], FAIL),
        # the existence of the Author Domain
        (NP + "a.example.com TXT servfail", "a.example.com", [], TEMPERROR),
        (NP + "a.example.com TXT servfail", "a.example.com", [spf("example.com")], PASS),
        (SAME_NP + "a.example.com TXT servfail", "a.example.com", [], FAIL),
        # SPF and keys
        (OWN, "example.com", [LOST_SPF], TEMPERROR),
        (OWN, "example.com", [LOST_KEY], TEMPERROR),
        (OWN, "example.com", [LOST_SPF, dkim("example.com")], PASS),
        (OWN, "example.com", [LOST_KEY, spf("example.com")], PASS),
        (OWN, "example.com", [LOST_KEY, spf("attack.example")], TEMPERROR),
        (OWN, "example.com", [dkim("a.example.com", DkimResult.TEMPERROR)], TEMPERROR),
        (STRICT, "example.com", [dkim("a.example.com", DkimResult.TEMPERROR)], FAIL),
        # a stranger's faults are nobody's excuse
        (OWN, "example.com", [spf("attack.example", SpfResult.TEMPERROR)], FAIL),
        (OWN, "example.com", [dkim("attack.example", DkimResult.TEMPERROR)], FAIL),
        ("", "example.com", [LOST_SPF, LOST_KEY], NONE),
    ],
)
def test_matrix(zone: str, author: str, facts: list[SpfFact | DkimFact], result: DmarcResult, fault: str) -> None:
    fact = dmarc(zone.replace("servfail", fault), author, *facts)
    assert fact.result is result
    if result is TEMPERROR:
        # what the owner asks for is said only where the record that applies is known
        assert fact.policy is (fact.published.p if fact.published else Policy.NONE)
        assert not fact.spf_aligned
        assert not fact.dkim_aligned
        assert "look" in fact.reason


def test_reason_names_the_look_up() -> None:
    assert (
        dmarc("_dmarc.example.com TXT timeout", "example.com").reason == "look-up failed: _dmarc.example.com: timeout"
    )
    assert dmarc(OWN, "example.com", LOST_KEY).reason == "the DKIM key of example.com could not be looked up"
    assert dmarc(OWN, "example.com", LOST_SPF).reason == "SPF of example.com could not be looked up"
    assert dmarc(NP + "a.example.com TXT timeout", "a.example.com").reason == "look-up failed: a.example.com: timeout"


def test_record_that_is_known_is_given() -> None:
    fact = dmarc(OWN + "_dmarc.a.example.com TXT servfail", "example.com", dkim("a.example.com"))
    assert fact.policy_domain == "example.com"
    assert fact.published
    assert fact.published.p is Policy.REJECT


def test_alignment_that_is_not_certain_is_not_claimed() -> None:
    zone = OWN + "_dmarc.a.example.com TXT servfail"
    fact = dmarc(zone, "example.com", spf("example.com"), dkim("a.example.com"))
    assert (fact.result, fact.spf_aligned, fact.dkim_aligned) == (PASS, True, False)


def test_many_failures_are_bounded() -> None:
    name = "a.b.c.d.e.f.g.h"
    names = [name[start:] for start in range(0, len(name), 2)]
    zone = f'_dmarc.{name} 300 IN TXT "v=DMARC1; p=reject"\n'
    zone += "\n".join(f"_dmarc.{above} TXT servfail" for above in names[1:])
    resolver = ZoneResolver(zone)
    assert evaluate(name, [spf("x." + name)], [], resolver).result in (PASS, TEMPERROR)
    assert len(resolver.queries) <= 9


KINDS = {"u": "p=reject", "n": "p=quarantine; psd=n", "y": "p=none; sp=reject; psd=y"}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[str, str, list[SpfFact | DkimFact], str]:
    """A zone in which some look-ups fail, the same zone without faults, an author and identifiers."""
    labels = draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=4))
    names = [".".join(labels[start:]) for start in range(len(labels))]
    names += [f"{label}.{name}" for name in names for label in "ab"]
    names = sorted(set(names))
    faulty, sound = [], []
    for name in names:
        kind = draw(st.sampled_from(["", "", "u", "n", "y"]))
        line = f'_dmarc.{name} 300 IN TXT "v=DMARC1; {KINDS[kind]}"' if kind else ""
        sound.append(line)
        faulty.append(f"_dmarc.{name} TXT servfail" if draw(st.integers(0, 4)) == 0 else line)
    some = st.sampled_from(names)
    facts: list[SpfFact | DkimFact] = [dkim(domain) for domain in draw(st.lists(some, max_size=2))]
    facts += [spf(draw(some))] if draw(st.booleans()) else []
    return "\n".join(faulty), "\n".join(sound), facts, draw(some)


@given(worlds())
def test_what_is_said_in_spite_of_faults_is_true(world: tuple[str, str, list[SpfFact | DkimFact], str]) -> None:
    faulty, sound, facts, author = world
    said, truth = dmarc(faulty, author, *facts), dmarc(sound, author, *facts)
    if said.result is not TEMPERROR:
        assert said.result is truth.result
        assert said.spf_aligned <= truth.spf_aligned
        assert said.dkim_aligned <= truth.dkim_aligned
        if said.result is FAIL:
            assert said.policy is truth.policy
