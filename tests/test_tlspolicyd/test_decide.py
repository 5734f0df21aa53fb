"""The decision table, row by row, and what must hold for any facts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tls_facts import DOMAIN, dane, facts, host, sts
from tlspolicyd import decide as decide_module
from tlspolicyd.decide import NOT_WEAKER, decide
from tlspolicyd.facts import DaneFact, Decision, Facts, Failure, Level, Mode, MxHost, SiteLevel, Source, StsFact, Tlsa

U, N, X, F = Tlsa.USABLE, Tlsa.UNUSABLE, Tlsa.NONE, Tlsa.FAILED

NONE = sts()
ENFORCE = sts(Mode.ENFORCE)
TESTING = sts(Mode.TESTING)
MODE_NONE = sts(Mode.NONE)
UNREADABLE = sts(unreadable=True)
BROKEN = sts(failure=Failure.WEBPKI)
OFF = DaneFact(enabled=False)

TABLE = [
    # DANE decides
    ("all usable", dane(U, U), NONE, "dane-all", "dane-only"),
    ("all usable, enforce: RFC 8461 section 2", dane(U), ENFORCE, "dane-all", "dane-only"),
    ("all usable, unreadable policy: it is not needed", dane(U), UNREADABLE, "dane-all", "dane-only"),
    ("a host without address takes no mail", dane(U, gone=1), NONE, "dane-all", "dane-only"),
    ("some usable", dane(U, X), NONE, "dane-some", "dane"),
    ("some usable, testing", dane(U, X), TESTING, "dane-some", "dane"),
    ("some usable, one unusable", dane(U, N), NONE, "dane-some", "dane"),
    ("some usable, one failed: Postfix passes over it alone", dane(U, F), NONE, "dane-some", "dane"),
    ("some usable, enforce: the others would escape both", dane(U, X), ENFORCE, "dane-some-enforce", "dane-only"),
    ("some usable, one failed, enforce", dane(U, F), ENFORCE, "dane-some-enforce", "dane-only"),
    ("some usable, unreadable", dane(U, X), UNREADABLE, "dane-some-enforce", "dane-only"),
    ("only a failed one", dane(F), NONE, "dane-failed", "dane"),
    ("a failed one beside one without", dane(F, X), NONE, "dane-failed", "dane"),
    ("a failed one, policy cannot be had", dane(F), BROKEN, "dane-failed", "dane"),
    ("a failed one beside one that the policy allows", dane(F, X), ENFORCE, "sts-beside-failed-dane", "secure"),
    ("a failed one beside an unusable one", dane(F, N), ENFORCE, "sts-beside-failed-dane", "secure"),
    ("only failed ones, enforce", dane(F, F), ENFORCE, "dane-failed-enforce", "dane-only"),
    ("only failed ones, unreadable", dane(F), UNREADABLE, "dane-failed-enforce", "dane-only"),
    ("a failed one, the policy allows no other", dane(F, X), sts(Mode.ENFORCE, "mx0.b.example"), "dane-failed-enforce",
     "dane-only"),
    ("a failed one beside one without, unreadable", dane(F, X), UNREADABLE, "sts-unreadable", "temp"),
    ("unusable: RFC 7672 section 2.2", dane(N), NONE, "dane-unusable", "dane"),
    ("unusable beside none", dane(N, X), NONE, "dane-unusable", "dane"),
    ("unusable, enforce: authentication is more", dane(N), ENFORCE, "sts-enforce", "secure"),
    ("unusable, unreadable", dane(N), UNREADABLE, "sts-unreadable", "temp"),
    # MTA-STS decides
    ("no TLSA", dane(X, X), ENFORCE, "sts-enforce", "secure"),
    ("no TLSA, testing", dane(X), TESTING, "sts-testing", ""),
    ("no TLSA, mode none", dane(X), MODE_NONE, "sts-none", ""),
    ("no TLSA, policy cannot be had", dane(X), BROKEN, "sts-failed", ""),
    ("no TLSA, unreadable", dane(X), UNREADABLE, "sts-unreadable", "temp"),
    ("no TLSA, no policy", dane(X), NONE, "no-policy", ""),
    ("no name can be given to Postfix", dane(X), sts(Mode.ENFORCE, "hostname"), "sts-no-usable-mx", "secure"),
    ("unsigned MX: dane-only would stop all mail", dane(U, secure=False), NONE, "insecure-mx", ""),
    ("unsigned MX, enforce", dane(U, F, secure=False), ENFORCE, "sts-enforce", "secure"),
    ("unsigned MX, failed TLSA", dane(F, secure=False), NONE, "insecure-mx", ""),
    ("unsigned MX, unreadable", dane(X, secure=False), UNREADABLE, "sts-unreadable", "temp"),
    ("MX failed", DaneFact(mx_failed=True), NONE, "mx-failed", ""),
    ("MX failed, testing", DaneFact(mx_failed=True), TESTING, "mx-failed", ""),
    ("MX failed, enforce", DaneFact(mx_failed=True), ENFORCE, "sts-enforce", "secure"),
    ("MX failed, unreadable", DaneFact(mx_failed=True), UNREADABLE, "sts-unreadable", "temp"),
    ("null MX", DaneFact(null_mx=True, mx_secure=True), NONE, "null-mx", ""),
    ("null MX, enforce: Postfix may see other records", DaneFact(null_mx=True), ENFORCE, "sts-enforce", "secure"),
    ("no host at all", DaneFact(mx_secure=True), NONE, "no-policy", ""),
    ("only a host without address", dane(gone=1), ENFORCE, "sts-enforce", "secure"),
    ("DANE off", OFF, NONE, "no-policy", ""),
    ("DANE off, enforce", OFF, ENFORCE, "sts-enforce", "secure"),
    ("DANE off, unreadable", OFF, UNREADABLE, "sts-unreadable", "temp"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dane_fact", "sts_fact", "rule", "level"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_pfx_40_pfx_41_table(dane_fact: DaneFact, sts_fact: StsFact, rule: str, level: str) -> None:
    decision = decide(Facts(DOMAIN, sts_fact, dane_fact))
    assert (decision.rule, decision.level) == (rule, level)
    assert decision.reason


RULES, _, SITE = (decide_module.__doc__ or "").partition("The second table:")


def test_every_rule_of_the_docstring_is_in_the_table() -> None:
    documented = set(re.findall(r"^    ([a-z]+(?:-[a-z]+)+)  ", RULES, re.MULTILINE))
    assert documented == {row[3] for row in TABLE}


DOCS = (Path(__file__).parents[2] / "docs" / "outbound-decisions.md").read_text()


def test_the_docs_have_the_same_table() -> None:
    rows = re.findall(r"^    ([a-z-]+) +(\S.*?)  +(\S.*)$", RULES, re.MULTILINE)
    assert len(rows) == 19
    assert [f"| `{rule}` | {when} | {level} |" for rule, when, level in rows[1:]] == re.findall(
        r"^\| `[a-z-]+` \| .* \|$", DOCS.partition("## The table")[2].partition("## Reasons")[0], re.MULTILINE
    )


MATRIX = {
    "all usable": [dane(U, U)],
    "some usable": [dane(U, X), dane(U, N), dane(U, F)],
    "none usable, all failed": [dane(F, F)],
    "none usable, some failed": [dane(F, X), dane(N, F)],
    "some unusable, none failed": [dane(N), dane(N, X)],
    "none have TLSA records": [dane(X, X)],
    "MX records not signed": [dane(U, F, N, X, secure=False)],
    "MX look-up failed": [DaneFact(mx_failed=True)],
    "null MX": [DaneFact(null_mx=True)],
}


def test_the_docs_say_what_happens_to_several_hosts() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", DOCS.partition("## One domain")[2], re.MULTILINE)
    assert [row[0] for row in rows[2:]] == list(MATRIX)
    for name, *answers in rows[2:]:
        for dane_fact in MATRIX[name]:
            for answer, fact in zip(answers, (NONE, ENFORCE, UNREADABLE), strict=True):
                level = decide(facts(dane_fact, fact)).level
                assert answer.split()[0].strip("`") == {"": "NOTFOUND", "temp": "TEMP"}.get(level, str(level)), name


def test_one_broken_host_does_not_stop_the_others_pfx_40() -> None:
    decision = decide(facts(dane(F, X, N, X), sts(Mode.ENFORCE, "mx0.a.example", "*.a.example")))
    assert decision.sts is not None
    assert decision.sts.policy is not None
    assert decision.sts.policy.mx == ("mx1.a.example", "mx2.a.example", "mx3.a.example")
    assert decision.sts.policy.mode is Mode.ENFORCE


def test_policy_without_usable_name_is_made_to_fail_pfx_36() -> None:
    decision = decide(facts(dane(X), sts(Mode.ENFORCE, "nexthop", "Dot-Nexthop")))
    assert decision.sts is not None
    assert decision.sts.failure is Failure.INVALID


def test_docstring_docs_and_code_say_the_same_of_each_site_level_pfx_39() -> None:
    rows = re.findall(r"^    (\S+(?: level)?) +(\S.*?)  +(\S.*)$", SITE, re.MULTILINE)
    section = DOCS.partition("## The site's own level")[2].partition("## The table")[0]
    assert [f"| `{level}` | {answers} | {why} |" for level, answers, why in rows[1:]] == re.findall(
        r"^\| `[a-z-]+` \| .* \|$", section, re.MULTILINE
    )
    assert {SiteLevel(level): {Level(word) for word in answers.split(", ") if word != "none"}
            for level, answers, _ in rows[1:]} == NOT_WEAKER  # fmt: skip


ANSWERS = {
    # (DANE, MTA-STS): the answer where the site demands nothing
    "dane-some": (dane(U, X), NONE, Level.DANE),
    "dane-failed": (dane(F), NONE, Level.DANE),
    "dane-unusable": (dane(N), NONE, Level.DANE),
    "dane-all": (dane(U), NONE, Level.DANE_ONLY),
    "sts-enforce": (dane(X), ENFORCE, Level.SECURE),
    "sts-enforce, unsigned": (dane(X, secure=False), ENFORCE, Level.SECURE),
    "sts-beside-failed-dane": (dane(F, X), ENFORCE, Level.SECURE),
    "sts-no-usable-mx": (dane(X), sts(Mode.ENFORCE, "hostname"), Level.SECURE),
    "sts-unreadable": (dane(X), UNREADABLE, Level.TEMP),
}
# what Postfix does at each level (postconf(5)), from the least strict on
DEMANDS = {
    SiteLevel.NONE: 0, SiteLevel.MAY: 0, SiteLevel.DANE: 0,  # what a host offers
    SiteLevel.ENCRYPT: 1,  # TLS
    SiteLevel.VERIFY: 2, SiteLevel.SECURE: 2,  # and a certificate of a public CA
    SiteLevel.DANE_ONLY: 3,  # and TLSA records
    SiteLevel.FINGERPRINT: 4,  # and a certificate that the site has named
}  # fmt: skip
GIVES = {Level.DANE: 0, Level.SECURE: 2, Level.DANE_ONLY: 3}


@pytest.mark.parametrize("site_level", SiteLevel)
@pytest.mark.parametrize("case", ANSWERS)
def test_no_answer_is_weaker_than_the_sites_own_level_pfx_39(case: str, site_level: SiteLevel) -> None:
    dane_fact, sts_fact, level = ANSWERS[case]
    assert decide(facts(dane_fact, sts_fact)).level is level
    decision = decide(facts(dane_fact, sts_fact), site_level)
    stops = level is Level.TEMP and DEMANDS[site_level] < 3
    assert decision.level is (level if stops or GIVES.get(level, -1) >= DEMANDS[site_level] else Level.NOT_FOUND)
    if decision.level is Level.NOT_FOUND:
        assert decision.source is Source.NONE
        assert f"the site's own level {site_level} is stricter" in decision.reason


STS = st.sampled_from(
    [
        NONE,
        ENFORCE,
        TESTING,
        MODE_NONE,
        UNREADABLE,
        BROKEN,
        sts(Mode.ENFORCE, "hostname"),
        sts(Mode.ENFORCE, "b.example"),
    ]
)
HOSTS = st.lists(st.tuples(st.sampled_from(list(Tlsa)), st.booleans(), st.booleans()), max_size=6)


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    hosts: list[MxHost] = [host(n, tlsa, secure, address) for n, (tlsa, secure, address) in enumerate(draw(HOSTS))]
    flag = st.booleans()
    fact = DaneFact(draw(flag), draw(flag), draw(flag), tuple(hosts), 60, mx_secure=draw(flag), implicit_mx=draw(flag))
    return Facts(DOMAIN, draw(STS), fact)


def _known(fact: StsFact) -> bool:
    return fact.unreadable or (fact.policy is not None and fact.policy.mode is Mode.ENFORCE)


@given(any_facts())
def test_what_holds_for_any_facts_pfx_39_pfx_40_pfx_41(these: Facts) -> None:
    decision = decide(these)
    known = _known(these.sts)
    counted = [each for each in these.dane.hosts if each.address]
    tlsa = {each.tlsa for each in counted}
    dane_counts = these.dane.enabled and these.dane.mx_secure and not these.dane.mx_failed and not these.dane.null_mx
    if known:  # a policy in force is never given up
        assert decision.level not in (Level.NOT_FOUND, Level.DANE)
    else:  # nothing stops mail without one
        assert decision.level not in (Level.TEMP, Level.SECURE)
    if decision.level is Level.TEMP:
        assert these.sts.unreadable
    if decision.level in (Level.DANE, Level.DANE_ONLY):
        assert dane_counts
        assert tlsa - {Tlsa.NONE}
    if decision.level is Level.DANE_ONLY and not known:
        assert tlsa == {Tlsa.USABLE}
    if decision.level is Level.SECURE and dane_counts:  # MTA-STS is never put over DANE: RFC 8461 §2
        assert Tlsa.USABLE not in tlsa
        assert decision.sts is not None
        assert decision.sts.policy is not None
        assert not {each.name for each in counted if each.tlsa is Tlsa.FAILED} & set(decision.sts.policy.mx)
    assert (decision.source is Source.DANE) == (decision.level in (Level.DANE, Level.DANE_ONLY))
    assert (decision.source is Source.NONE) == (decision.level is Level.NOT_FOUND)
    assert decide(these) == decision


@given(any_facts())
def test_a_policy_never_weakens_the_answer(these: Facts) -> None:
    order = [Level.NOT_FOUND, Level.DANE, Level.SECURE, Level.DANE_ONLY, Level.TEMP]

    def strength(fact: StsFact) -> int:
        decision: Decision = decide(Facts(DOMAIN, fact, these.dane))
        return order.index(decision.level)

    assert strength(ENFORCE) >= strength(NONE)
    assert strength(UNREADABLE) >= strength(NONE)
    assert strength(TESTING) == strength(NONE) == strength(BROKEN)
