"""DMARC for one Author Domain: zone text and facts in, the verdict's facts out."""

from __future__ import annotations

import pytest

from authmilter.dmarc.evaluate import evaluate
from authmilter.facts import DkimFact, DkimResult, DmarcFact, DmarcResult, Policy, SpfFact, SpfResult
from tests.support.zone_resolver import ZoneResolver

NONE, QUARANTINE, REJECT = Policy.NONE, Policy.QUARANTINE, Policy.REJECT
PASS, FAIL = DmarcResult.PASS, DmarcResult.FAIL


def spf(domain: str, result: SpfResult = SpfResult.PASS, scope: str = "mfrom") -> SpfFact:
    return SpfFact(scope, result, domain, f"sender@{domain}")


def dkim(domain: str, result: DkimResult = DkimResult.PASS) -> DkimFact:
    return DkimFact(result, domain, "s1", f"@{domain}")


def dmarc(zone: str | ZoneResolver, author: str, *facts: SpfFact | DkimFact) -> DmarcFact:
    resolver = zone if isinstance(zone, ZoneResolver) else ZoneResolver(zone)
    return evaluate(
        author,
        [fact for fact in facts if isinstance(fact, SpfFact)],
        [fact for fact in facts if isinstance(fact, DkimFact)],
        resolver,
    )


def record(name: str, tags: str) -> str:
    return f'_dmarc.{name} 300 IN TXT "v=DMARC1; {tags}"\n{name} 300 IN A 192.0.2.1\n'


EXAMPLE = record("example.com", "p=reject")


# RFC 9989 §B.1: the record with relaxed and with strict alignment
@pytest.mark.parametrize("method", [spf, dkim])
@pytest.mark.parametrize(
    ("author", "identifier", "relaxed", "strict"),
    [
        ("example.com", "example.com", True, True),
        ("example.com", "child.example.com", True, False),
        ("child.example.com", "example.com", True, False),
        ("child.example.com", "other.example.com", True, False),
        ("child.example.com", "child.example.com", True, True),
        ("child.example.com", "example.net", False, False),
        ("example.com", "notexample.com", False, False),
        ("example.com", "com", False, False),
        ("example.com", "example.com.attack.example", False, False),
    ],
)
def test_alignment(method: type, author: str, identifier: str, relaxed: bool, strict: bool) -> None:
    tag = "aspf" if method is spf else "adkim"
    other = "adkim" if method is spf else "aspf"
    fact = dmarc(record("example.com", f"p=reject; {other}=s"), author, method(identifier))
    assert fact.result is (PASS if relaxed else FAIL)
    assert (fact.spf_aligned, fact.dkim_aligned) == (relaxed and method is spf, relaxed and method is dkim)
    assert fact.policy_domain == "example.com"
    fact = dmarc(record("example.com", f"p=reject; {tag}=s"), author, method(identifier))
    assert fact.result is (PASS if strict else FAIL)


def test_session_of_the_standard() -> None:
    # RFC 9989 §B.3.1
    zone = record("example.com", "p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com")
    fact = dmarc(zone, "example.com", spf("mail.example.com"), dkim("example.com"))
    assert fact.result is PASS
    assert fact.spf_aligned
    assert fact.dkim_aligned
    assert fact.reason == "aligned: SPF for mail.example.com and DKIM for example.com"
    fact = dmarc(zone, "example.com", spf("forwarder.example"), dkim("example.com", DkimResult.FAIL))
    assert (fact.result, fact.policy) == (FAIL, REJECT)
    assert fact.published
    assert fact.published.rua == ("mailto:dmarc-feedback@example.com",)


def test_simple_tree_walk() -> None:
    # RFC 9989 §B.4.1
    zone = record("example.com", "p=reject") + record("signing.example.com", "p=none")
    fact = dmarc(zone, "example.com", spf("example.com"), dkim("signing.example.com"))
    assert (fact.result, fact.spf_aligned, fact.dkim_aligned) == (PASS, True, True)
    assert fact.policy_domain == "example.com"


def test_deep_tree_walk() -> None:
    # RFC 9989 §B.4.2
    zone = record("example.com", "p=reject; sp=quarantine") + record("signing.example.com", "p=none")
    author = "a.b.c.d.e.f.g.h.i.j.k.example.com"
    fact = dmarc(zone, author, spf("example.com"), dkim("signing.example.com"))
    assert (fact.result, fact.spf_aligned, fact.dkim_aligned) == (PASS, True, True)
    assert (fact.policy_domain, fact.policy) == ("example.com", QUARANTINE)


BANK = record("bank.example", "p=reject; psd=y; rua=mailto:a@bank.example; ruf=mailto:f@bank.example") + record(
    "giant.bank.example", "p=quarantine"
)


def test_public_suffix_with_a_record() -> None:
    # RFC 9989 §B.4.3
    fact = dmarc(BANK, "giant.bank.example", spf("mail.giant.bank.example"), dkim("mail.mega.bank.example"))
    assert (fact.result, fact.spf_aligned, fact.dkim_aligned) == (PASS, True, False)
    assert (fact.policy_domain, fact.policy) == ("giant.bank.example", QUARANTINE)
    # the other customer of the same registry does not align
    fact = dmarc(BANK, "giant.bank.example", dkim("mail.mega.bank.example"), dkim("bank.example"))
    assert (fact.result, fact.policy) == (FAIL, QUARANTINE)
    # without a record of its own a customer gets the policy of the registry, and no failure reports
    fact = dmarc(BANK, "mega.bank.example", dkim("giant.bank.example"))
    assert (fact.result, fact.policy_domain, fact.policy) == (FAIL, "bank.example", REJECT)
    assert fact.published
    assert (fact.published.rua, fact.published.ruf) == (("mailto:a@bank.example",), ())
    assert dmarc(BANK, "mega.bank.example", dkim("mail.mega.bank.example")).result is PASS
    # and the registry sends mail itself
    assert dmarc(BANK, "bank.example", dkim("bank.example")).result is PASS
    assert dmarc(BANK, "bank.example", dkim("giant.bank.example")).result is FAIL


def test_public_suffix_is_not_asked_if_the_organization_has_a_record() -> None:
    zone = record("bank.example", "p=reject; psd=y; rua=mailto:a@bank.example") + record("giant.bank.example", "x=y")
    fact = dmarc(zone, "giant.bank.example", dkim("other.example"))
    assert (fact.result, fact.published) == (DmarcResult.NONE, None)


def test_records_between_author_and_organization_are_not_used() -> None:
    zone = record("example.com", "p=quarantine") + record("b.example.com", "p=reject; sp=reject")
    fact = dmarc(zone, "a.b.example.com", spf("other.example"))
    assert (fact.result, fact.policy_domain, fact.policy) == (FAIL, "example.com", QUARANTINE)


@pytest.mark.parametrize(
    ("tags", "at_author", "existing", "missing"),
    [
        ("p=reject", REJECT, REJECT, REJECT),
        ("p=none; sp=quarantine", NONE, QUARANTINE, QUARANTINE),
        ("p=none; np=reject", NONE, NONE, REJECT),
        ("p=reject; sp=none; np=quarantine", REJECT, NONE, QUARANTINE),
        ("p=reject; np=none", REJECT, REJECT, NONE),
        ("p=reject; t=y", QUARANTINE, QUARANTINE, QUARANTINE),
        ("p=quarantine; sp=reject; np=none; t=y", NONE, QUARANTINE, NONE),
        ("p=none; sp=none; np=none; t=y", NONE, NONE, NONE),
        ("p=none; np=reject; t=y", NONE, NONE, QUARANTINE),
        ("p=reject; sp=x; rua=mailto:a@example.com", NONE, NONE, NONE),
        ("sp=reject; np=reject; rua=mailto:a@example.com", NONE, NONE, NONE),
        ("p=reject; pct=0; ri=1; rf=afrf", REJECT, REJECT, REJECT),
    ],
)
def test_which_policy(tags: str, at_author: Policy, existing: Policy, missing: Policy) -> None:
    zone = record("example.com", tags) + "sub.example.com 300 IN A 192.0.2.1"
    for author, policy in (("example.com", at_author), ("sub.example.com", existing), ("no.example.com", missing)):
        fact = dmarc(zone, author, spf("other.example"))
        assert (fact.result, fact.policy_domain, fact.policy) == (FAIL, "example.com", policy), author
        assert dmarc(zone, author, spf("example.com")).policy == policy, author


@pytest.mark.parametrize(
    ("zone", "exists"),
    [
        ("sub.example.com 300 IN TXT x", True),
        ("sub.example.com 300 IN NS ns.example.net", True),  # neither A nor AAAA nor MX
        ("x.y.sub.example.com 300 IN A 192.0.2.1", True),  # an empty non-terminal
        ("sub.example.com 300 IN CNAME nowhere.example.net", True),  # an alias that leads to nothing
        ("_dmarc.sub.example.com 300 IN CNAME nowhere.example.net", True),
        ("_dmarc.sub.example.com 300 IN TXT other", True),
        ("other.example.com 300 IN A 192.0.2.1", False),
    ],
)
def test_what_exists(zone: str, exists: bool) -> None:
    fact = dmarc(record("example.com", "p=none; np=reject") + zone, "sub.example.com")
    assert fact.policy is (NONE if exists else REJECT)


def test_existence_is_asked_only_if_it_matters() -> None:
    for tags in ("p=reject", "p=reject; np=reject", "p=none; sp=reject; np=reject"):
        resolver = ZoneResolver(record("example.com", tags))
        dmarc(resolver, "sub.example.com", spf("other.example"))
        assert ("TXT", "sub.example.com") not in resolver.queries
    for below in ("_dmarc.sub.example.com 300 IN TXT other", "x._dmarc.sub.example.com 300 IN A 192.0.2.1"):
        resolver = ZoneResolver(record("example.com", "p=none; np=reject") + below)
        assert dmarc(resolver, "sub.example.com").policy is NONE
        # RFC 8020: a name exists if a name below it does, and that was asked for already
        assert ("TXT", "sub.example.com") not in resolver.queries


def test_broken_record() -> None:
    # RFC 9989 §4.10.1
    fact = dmarc(record("example.com", "p=rejct"), "example.com", spf("example.com"))
    assert (fact.result, fact.published, fact.policy_domain) == (DmarcResult.PERMERROR, None, "example.com")
    assert fact.reason == "the record of example.com does not apply: its p cannot be read"
    fact = dmarc(record("example.com", "sp=none"), "example.com", spf("example.com"))
    assert fact.result is DmarcResult.NONE
    assert fact.reason == "the record of example.com does not apply: it has no p"
    fact = dmarc(record("example.com", "p=rejct; rua=mailto:a@example.com"), "example.com", spf("other.example"))
    assert (fact.result, fact.policy) == (FAIL, NONE)
    assert "stands for p=none: its p cannot be read" in fact.reason
    # the search does not go on above a broken record
    fact = dmarc(EXAMPLE + record("sub.example.com", "p=rejct"), "sub.example.com", spf("other.example"))
    assert (fact.result, fact.policy_domain) == (DmarcResult.PERMERROR, "sub.example.com")
    fact = dmarc(record("example.com", "p=x") + record("com", "p=reject; psd=y"), "a.example.com")
    assert (fact.result, fact.policy_domain) == (DmarcResult.PERMERROR, "example.com")


def test_several_records_and_a_tag_twice_count_as_none() -> None:
    for text in (
        '"v=DMARC1; p=none"\n_dmarc.sub.example.com 300 IN TXT "v=DMARC1; p=none"',
        '"v=DMARC1; p=none; p=none"',
    ):
        fact = dmarc(f"{EXAMPLE}_dmarc.sub.example.com 300 IN TXT {text}", "sub.example.com", spf("other.example"))
        assert (fact.result, fact.policy_domain, fact.policy) == (FAIL, "example.com", REJECT)
        assert "_dmarc.sub.example.com does not count" in fact.reason


def test_no_record() -> None:
    fact = dmarc("example.com 300 IN A 192.0.2.1", "example.com", spf("example.com"), dkim("example.com"))
    assert (fact.result, fact.policy, fact.published) == (DmarcResult.NONE, NONE, None)
    assert fact.reason == "no DMARC record for example.com"


@pytest.mark.parametrize("author", ["EXAMPLE.com", "example.com.", "Example.COM."])
def test_case_and_final_dot(author: str) -> None:
    fact = dmarc(EXAMPLE, author, spf("example.com"))
    assert (fact.result, fact.author_domain) == (PASS, "example.com")


def test_internationalized() -> None:
    zone = record("xn--bcher-kva.example", "p=reject")
    fact = dmarc(zone, "bücher.example", dkim("xn--bcher-kva.example"))
    assert (fact.result, fact.author_domain) == (PASS, "xn--bcher-kva.example")


@pytest.mark.parametrize("author", ["", ".", "a..b", "a" * 64 + ".example", "a b.example", "\0"])
def test_no_name_at_all(author: str) -> None:
    assert dmarc(EXAMPLE, author, spf("example.com")).result is DmarcResult.PERMERROR


def test_only_what_passed_counts() -> None:
    zone = EXAMPLE
    for result in SpfResult:
        expected = {SpfResult.PASS: PASS, SpfResult.TEMPERROR: DmarcResult.TEMPERROR}.get(result, FAIL)
        assert dmarc(zone, "example.com", spf("example.com", result)).result is expected
        # RFC 9989 §4.4.2: HELO never counts
        assert dmarc(zone, "example.com", spf("example.com", result, scope="helo")).result is FAIL
    for word in DkimResult:
        expected = {DkimResult.PASS: PASS, DkimResult.TEMPERROR: DmarcResult.TEMPERROR}.get(word, FAIL)
        assert dmarc(zone, "example.com", dkim("example.com", word)).result is expected


def test_names_that_are_none_do_not_align() -> None:
    """What other verifiers took for the domain before the odd character."""
    for domain in ("", "example.com(.attack.example", "example.com'a.attack.example", "example.com\0.attack.example"):
        assert dmarc(EXAMPLE, "example.com", spf(domain), dkim(domain)).result is FAIL
    # a sub-domain that does not exist has no SPF record that could pass
    assert dmarc(EXAMPLE, "example.com", spf("no.example.com", SpfResult.NONE)).result is FAIL


def test_one_aligned_signature_is_enough() -> None:
    facts = [dkim("esp.example"), dkim("example.com", DkimResult.FAIL), dkim("mail.example.com"), dkim("x.example")]
    fact = dmarc(EXAMPLE, "example.com", spf("esp.example"), *facts)
    assert (fact.result, fact.spf_aligned, fact.dkim_aligned) == (PASS, False, True)
    assert fact.reason == "aligned: DKIM for mail.example.com"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([], "SPF was not checked; there is no DKIM signature"),
        ([DkimFact(DkimResult.NONE)], "SPF was not checked; there is no DKIM signature"),
        ([spf("other.example")], "SPF passed for other.example, not aligned; there is no DKIM signature"),
        (
            [spf("other.example"), dkim("example.com", DkimResult.FAIL)],
            "SPF passed for other.example, not aligned; no DKIM signature passed",
        ),
        (
            [spf("example.com", SpfResult.SOFTFAIL), dkim("esp.example")],
            "SPF gave softfail; DKIM passed for esp.example, not aligned",
        ),
    ],
)
def test_reason_of_a_fail(facts: list[SpfFact | DkimFact], reason: str) -> None:
    assert dmarc(EXAMPLE, "example.com", *facts).reason == reason


def queries(zone: str, author: str, *facts: SpfFact | DkimFact) -> list[str]:
    resolver = ZoneResolver(zone)
    dmarc(resolver, author, *facts)
    return [name for _, name in resolver.queries]


def test_no_query_without_need() -> None:
    own = ["_dmarc.example.com"]
    assert queries(EXAMPLE, "example.com", spf("example.com"), dkim("example.com")) == own
    assert queries(record("example.com", "p=none; adkim=s; aspf=s"), "example.com", spf("a.example.com")) == own
    assert queries(EXAMPLE, "example.com") == own
    # the walk from the author decides for all strangers
    assert queries(EXAMPLE, "example.com", spf("a.b.example"), dkim("c.com")) == [*own, "_dmarc.com"]
    assert queries(EXAMPLE, "a.example.com", dkim("example.com")) == ["_dmarc.a.example.com", *own, "_dmarc.com"]
    assert queries("", "a.example.com", dkim("b.example.com")) == ["_dmarc.a.example.com", *own, "_dmarc.com"]


def test_number_of_walks_is_bounded_and_spf_goes_first() -> None:
    many = [dkim(f"d{number}.example.com") for number in range(100)]
    asked = queries(EXAMPLE + "".join(record(fact.domain, "p=none; psd=n") for fact in many), "example.com", *many)
    assert len(asked) == 2 + 10
    resolver = ZoneResolver(EXAMPLE)
    assert dmarc(resolver, "example.com", spf("bounce.example.com"), *many).spf_aligned
