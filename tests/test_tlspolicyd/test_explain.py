"""`tlspolicyd query`: everything is said, in words and as JSON, and nothing from outside reaches the terminal raw."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.tls_facts import dane, facts, host, sts
from tlspolicyd.decide import decide
from tlspolicyd.explain import Explanation, Parts, dane_result, explain, notes, sts_result
from tlspolicyd.explain_json import as_json, as_object
from tlspolicyd.explain_text import as_text, printable
from tlspolicyd.facts import DaneFact, Failure, Mode, Policy, SiteLevel, StsFact, Tlsa
from tlspolicyd.lookup import Lookup
from tlspolicyd.sts.fetch import FetchResult

NOW = 2000.0
DIGEST = "ab" * 32
ZONE = f"""
a.example. 300 MX 10 mx1.a.example.
a.example. 300 MX 20 mx2.b.example.
mx1.a.example. 300 A 192.0.2.1
mx2.b.example. 300 A 192.0.2.2
_25._tcp.mx1.a.example. 60 TLSA 3 1 1 {DIGEST}
_mta-sts.a.example. 300 TXT "v=STSv1; id=20260101;"
mta-sts.a.example. 300 A 192.0.2.9
"""
LINES = ("version: STSv1", "mode: enforce", "mx: *.a.example", "max_age: 86400")
POLICY = Policy(Mode.ENFORCE, ("*.a.example",), 86_400, LINES)
KNOWN = StsFact("a.example", POLICY, "20260101", 1000.0, 87_400.0, True, True)


class OnePolicy:
    def __init__(self, fact: StsFact) -> None:
        self._fact = fact

    async def fact(self, domain: str, wait: float) -> StsFact:
        return replace(self._fact, domain=domain, cached=wait >= 0)

    def peek(self, domain: str) -> StsFact | None:
        return replace(self._fact, domain=domain)


class OneFetch:
    def __init__(self, result: FetchResult) -> None:
        self._result = result

    async def fetch(self, domain: str, *, with_certificate: bool = False) -> FetchResult:
        assert domain == "a.example"
        assert with_certificate
        return self._result


FETCHED = FetchResult(POLICY, certificate="mta-sts.a.example, by Test CA, until 2026-12-31")


def ask(
    zone: str,
    fact: StsFact = KNOWN,
    key: str = "a.example",
    fetched: FetchResult = FETCHED,
    site_level: SiteLevel = SiteLevel.DANE,
    dane: bool = True,
) -> Explanation:
    with FakeDns(zone) as dns:

        async def run() -> Explanation:
            resolver = AsyncDnsResolver(DnsSettings((dns.address,), 1.0))
            lookup = Lookup(OnePolicy(fact), resolver, dane=dane)
            try:
                return await explain(key, Parts(lookup, resolver, OneFetch(fetched), site_level))
            finally:
                await resolver.close()

        return asyncio.run(run())


def test_json_has_the_keys_of_the_design() -> None:
    found = json.loads(as_json(ask(ZONE)))
    assert found["domain"] == "a.example"
    assert found["policy"] == "secure match=.a.example servername=hostname"
    assert found["source"] == "mta-sts"
    assert found["sts"] | {
        "result": "policy", "mode": "enforce", "mx": ["*.a.example"], "max_age": 86_400, "id": "20260101",
        "fetched_at": 1000.0, "expires_at": 87_400.0, "cached": True,
    } == found["sts"]  # fmt: skip
    assert found["dane"]["result"] == "insecure"
    assert [each["matches_policy"] for each in found["dane"]["hosts"]] == [True, False]
    assert found["policy_tlsrpt"].startswith("secure match=.a.example servername=hostname policy_type=sts ")
    assert found["sts"]["record"]["texts"] == ["v=STSv1; id=20260101;"]
    assert found["sts"]["addresses"] == ["192.0.2.9"]
    assert found["sts"]["fetch"]["certificate"] == FETCHED.certificate
    assert (found["rule"], found["level"]) == ("sts-enforce", "secure")


def test_text_says_everything() -> None:
    text = as_text(ask(ZONE), NOW, width=200)
    for part in (
        "a.example", "secure: TLS with a certificate", "sts-enforce", "OK secure match=.a.example servername=hostname",
        "policy_type=sts", "mode enforce", "id 20260101", "max_age 86400 s", "*.a.example",
        "cached, fetched 1970-01-01",
        "expires in 23 h 43 min", "_mta-sts.a.example", "v=STSv1; id=20260101;", "mta-sts.a.example (192.0.2.9)",
        "by Test CA", "not signed", "mx1.a.example, no TLSA, allowed by the policy", "NOT allowed by the policy",
    ):  # fmt: skip
        assert part in text
    assert "\x1b" not in text


def test_mx_hosts_are_shown_with_dane_off() -> None:
    found = ask(ZONE, dane=False)
    assert found.facts is not None
    assert not found.facts.dane.enabled
    assert found.matches == {"mx1.a.example": True, "mx2.b.example": False}
    shown = json.loads(as_json(found))["dane"]
    assert (shown["result"], shown["enabled"]) == ("off", False)
    assert {each["name"]: each["matches_policy"] for each in shown["hosts"]} == found.matches
    text = as_text(found, NOW, width=200)
    for part in ("DANE is switched off", "mx1.a.example", "allowed by the policy", "mx2.b.example"):
        assert part in text
    lines = [line for line in text.splitlines() if "mx2.b.example" in line]
    assert any("NOT allowed by the policy" in line for line in lines)
    assert not any("TLSA" in line for line in text.splitlines() if ".example, " in line)


def test_a_policy_that_allows_no_host_is_noted_with_dane_off() -> None:
    fact = replace(KNOWN, policy=replace(POLICY, mx=("old.example",)))
    assert "allows none of the MX hosts: mail will be deferred" in as_text(ask(ZONE, fact, dane=False), NOW)
    without = ask(ZONE, sts(), dane=False)
    assert without.matches == {}
    assert "mx1.a.example" in as_text(without, NOW)


def test_complaint_3_signed_host_of_an_unsigned_domain_is_explained() -> None:
    signed = "".join(f";FAULT {name} ad\n" for name in ("mx1.a.example. A", "_25._tcp.mx1.a.example. TLSA"))
    found = ask(signed + ZONE, sts())
    assert found.decision is not None
    assert (found.decision.rule, found.line) == ("insecure-mx", None)
    assert found.facts is not None
    assert [each.tlsa for each in found.facts.dane.hosts] == [Tlsa.USABLE, Tlsa.NONE]
    text = as_text(found, NOW)
    assert "smtp_tls_dane_insecure_mx_policy" in text
    assert "Postfix uses its own smtp_tls_security_level" in text
    assert as_object(found)["policy"] is None
    assert as_object(found)["source"] == "none"


def test_dane_domain() -> None:
    found = ask(f";FAULT * * ad\n{ZONE}")
    assert found.line == "dane-only"
    text = as_text(found, NOW, width=200)
    assert f"3 1 1 {DIGEST}" in text
    assert "dane-some-enforce (source: dane)" in text
    assert "smtp_dns_support_level = dnssec" in text


@pytest.mark.parametrize("key", [".a.example", "[mx.a.example]", "[192.0.2.1]:25", "", "a b", "\x1b[31m"])
def test_complaint_7_key_without_policy(key: str) -> None:
    found = ask(ZONE, key=key)
    assert found.domain is None
    assert as_object(found)["policy"] is None
    text = as_text(found, NOW)
    assert "NOTFOUND: only a domain that is resolved by MX has a policy" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("user@A.example", "a.example"),
        ("https://a.example/", "a.example"),
        ("a.example/x", "a.example"),
        ("a.example:99999", None),
        ("user@[192.0.2.1]", None),
        ("@", None),
        ("a b", None),
    ],
)
def test_complaint_7_something_with_a_domain_in_it(key: str, meant: str | None) -> None:
    text = as_text(ask(ZONE, key=key), NOW, width=200)
    assert "only a domain that is resolved by MX has a policy" in text
    assert (f"did you mean {meant}?" in text) if meant else ("did you mean" not in text)


def test_port_of_the_key_and_site_level() -> None:
    zone = f";FAULT * * ad\n{ZONE}"
    assert ask(zone, sts(), "A.Example.:25").line == "dane"
    assert ask(zone, sts(), "a.example:587").line is None
    assert ask(zone, sts(), "a.example:submission").line is None, "as the daemon reads it"
    assert ask(zone, sts(), site_level=SiteLevel.ENCRYPT).line is None


def test_what_the_policy_host_says_now() -> None:
    down = FetchResult(None, Failure.FETCH, "no connection to mta-sts.a.example")
    found = ask(ZONE, fetched=down)
    assert any("the one that is cached stays in force" in note for note in found.notes)
    assert "sts-policy-fetch-error: no connection" in as_text(found, NOW)
    changed = FetchResult(replace(POLICY, mx=("new.a.example",)))
    assert "differs from the one that is cached" in as_text(ask(ZONE, fetched=changed), NOW)
    unasked = ask(ZONE.replace("v=STSv1", "v=other"))
    assert unasked.fetch is None  # without a record no policy host is asked


def test_policy_that_allows_no_host() -> None:
    fact = replace(KNOWN, policy=replace(POLICY, mx=("hostname", "old.a.example")))
    text = as_text(ask(ZONE, fact), NOW)
    assert "allows none of the MX hosts: mail will be deferred" in text
    assert "cannot be given to Postfix" in text


@pytest.mark.parametrize(
    ("fact", "word"),
    [
        (DaneFact(enabled=False), "off"),
        (DaneFact(mx_failed=True), "mx-failed"),
        (DaneFact(null_mx=True), "null-mx"),
        (dane(Tlsa.USABLE, secure=False), "insecure"),
        (dane(Tlsa.USABLE, gone=1), "all"),
        (dane(Tlsa.USABLE, Tlsa.FAILED), "some"),
        (dane(Tlsa.NONE, Tlsa.FAILED), "failed"),
        (dane(Tlsa.NONE, Tlsa.UNUSABLE), "unusable"),
        (dane(Tlsa.NONE), "none"),
    ],
)
def test_words_for_dane(fact: DaneFact, word: str) -> None:
    assert dane_result(fact) == word
    found = Explanation("a.example", "a.example", decide(facts(fact, sts())), facts(fact, sts()))
    assert as_text(found, NOW)


def test_words_for_sts() -> None:
    assert sts_result(sts()) == "none"
    assert sts_result(sts(Mode.TESTING)) == "policy"
    assert sts_result(sts(unreadable=True)) == "unreadable"
    assert sts_result(sts(failure=Failure.WEBPKI)) == "sts-webpki-invalid"


def test_printable() -> None:
    assert printable("a\x1b[31m\nb\u202ec\ud800é") == "a\\x1b[31m\\nb\\u202ec\\ud800é"
    assert len(printable("x" * 100_000)) < 3000


HOSTILE = st.text(st.characters() | st.sampled_from("[]\x1b\r\n\u202e"), max_size=40)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_hostile_texts_are_shown_as_they_are(reason: str, name: str, line: str) -> None:
    fact = StsFact("a.example", Policy(Mode.ENFORCE, (name,), 1, (line,)), name, 1e300, -1.0, reason=reason)
    found = replace(
        dane(Tlsa.FAILED), hosts=(replace(host(0, Tlsa.FAILED), name=name, records=(line,), reason=reason),)
    )
    these = facts(found, fact)
    decision = decide(these)
    explanation = Explanation(
        "a.example", "a.example", decision, these, fetch=FetchResult(None, Failure.WEBPKI, reason, line, (name,)),
        notes=tuple(notes(decision, these)),
    )  # fmt: skip
    text = as_text(explanation, NOW)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert json.loads(as_json(explanation))["reason"] == decision.reason
