"""Which record applies, and what mail must bring before anybody looks: zones and messages, through the transaction.

The mode without fetching is used here: what it gives as `pass` is what the other modes would go on with.
"""

from __future__ import annotations

from typing import Any

import pytest

from authmilter.bimi.discover import discover
from authmilter.facts import BimiFact, BimiResult
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.inbound import run_message
from tests.support.zone_resolver import ZoneResolver

KEY = make_key("ed25519")
OFF = {"bimi": {"enabled": True, "evidence": "off"}}
SENDER = f"""
a.example               300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
sub.a.example           300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
s._domainkey.a.example  300 IN TXT "{dns_record(KEY)}"
s._domainkey.sub.a.example  300 IN TXT "{dns_record(KEY)}"
s._domainkey.b.example  300 IN TXT "{dns_record(KEY)}"
"""
DMARC = '_dmarc.a.example 300 IN TXT "v=DMARC1; p=reject"\n'


def record(name: str, word: str, more: str = "") -> str:
    return f'{name} 300 IN TXT "v=BIMI1; l=https://{word}.example/l.svg{more}"\n'


DEFAULT = record("default._bimi.a.example", "default")


def bimi_of(
    zone: str, author: str = "u@a.example", extra: str = "", signer: str = "", signed: str = "", **how: Any
) -> tuple[BimiFact, ZoneResolver]:
    resolver = ZoneResolver(SENDER + zone)
    message = f"{extra}From: {author}\r\nSubject: x\r\n\r\nx\r\n".encode()
    if signer:
        fields, body = split_message(message)
        names = ":".join(("From", "Subject", *signed.split()))
        message = join_message([sign(fields, body, signer, "s", KEY, signed=names), *fields], body)
    options = {"ip": "192.0.2.1", "mail_from": author.rpartition("<")[2].rstrip(">"), "tables": OFF, **how}
    outcome = run_message(message, resolver, **options)
    assert outcome.facts.bimi is not None
    return outcome.facts.bimi, resolver


def asked(resolver: ZoneResolver) -> list[str]:
    found = [name for _, name in resolver.queries + resolver.started if "._bimi." in name]
    return list(dict.fromkeys(found))


# Before anything is looked up


@pytest.mark.parametrize(
    ("dmarc", "author", "result"),
    [
        ("p=reject", "u@a.example", "pass"),
        ("p=quarantine", "u@a.example", "pass"),  # BIMI-5
        ("p=none", "u@a.example", "the DMARC policy of a.example is none"),  # BIMI-3
        ("p=reject; sp=none", "u@a.example", "the DMARC policy of a.example for its subdomains is none"),  # BIMI-4
        ("p=reject; sp=quarantine; np=none", "u@a.example", "pass"),
        ("p=reject; pct=0", "u@a.example", "pass"),
        ("p=quarantine; pct=100", "u@a.example", "pass"),
        # BIMI-6
        (
            "p=quarantine; pct=99",
            "u@a.example",
            "the DMARC policy of a.example is quarantine for a part of its mail (pct)",
        ),
        (
            "p=quarantine; pct=x",
            "u@a.example",
            "the DMARC policy of a.example is quarantine for a part of its mail (pct)",
        ),
        # BIMI-7
        ("p=quarantine; t=y", "u@a.example", "the DMARC policy of a.example is none"),
        ("p=reject; t=y", "u@a.example", "pass"),
        # the organization's record decides for a subdomain without its own
        ("p=reject", "u@sub.a.example", "pass"),
        ("p=none; sp=reject", "u@sub.a.example", "the DMARC policy of a.example is none"),
        ("p=reject; sp=none", "u@sub.a.example", "the DMARC policy of sub.a.example is none"),
        ("p=reject; np=none", "u@nowhere.a.example", "the DMARC policy of nowhere.a.example is none"),
    ],
)
def test_the_policy_has_to_enforce(dmarc: str, author: str, result: str) -> None:
    zone = f'_dmarc.a.example 300 IN TXT "v=DMARC1; {dmarc}"\n{DEFAULT}'
    zone += "nowhere.a.example TXT servfail\n" if False else ""
    fact, resolver = bimi_of(zone, author, signer="a.example")
    assert (fact.reason if fact.result is BimiResult.SKIPPED else str(fact.result)) == result
    assert bool(asked(resolver)) == (result == "pass")  # BIMI-2: no discovery before that


@pytest.mark.parametrize(
    ("own", "above", "reason"),
    [
        ("p=reject", "p=none", "the DMARC policy of a.example is none"),
        ("p=none", "p=reject", "the DMARC policy of sub.a.example is none"),
        ("p=reject; sp=none", "p=reject", "the DMARC policy of sub.a.example for its subdomains is none"),
        ("p=reject", "p=reject; sp=none", "the DMARC policy of a.example for its subdomains is none"),
        ("p=reject", "p=quarantine; t=y", "the DMARC policy of a.example is quarantine in test mode"),
        ("p=quarantine", "p=reject", ""),
    ],
)
def test_both_the_domain_and_its_organization(own: str, above: str, reason: str) -> None:
    zone = f'_dmarc.a.example 9 IN TXT "v=DMARC1; {above}"\n_dmarc.sub.a.example 9 IN TXT "v=DMARC1; {own}"\n'
    fact, _ = bimi_of(zone + DEFAULT, "u@sub.a.example")
    assert (fact.result, fact.reason) == (BimiResult.SKIPPED, reason) if reason else fact.result is BimiResult.PASS


@pytest.mark.parametrize(
    ("author", "how", "reason"),
    [
        ("u@a.example, v@a.example", {}, "From does not hold exactly one address"),  # BIMI-1
        ("u@a.example, v@sub.a.example", {}, "From does not hold exactly one address"),
        (
            "u@a.example\r\nFrom: u@a.example",
            {"mail_from": "u@a.example", "tables": {**OFF, "dmarc": {"on_bad_from": "accept"}}},
            "From does not",
        ),
        ("u@a.example", {"ip": "192.0.2.9", "tables": {**OFF, "dmarc": {"on_reject": "accept"}}}, "DMARC gave fail"),
        ("u@nothing.example", {}, "DMARC gave none"),
    ],
)
def test_who_is_not_looked_at(author: str, how: dict[str, Any], reason: str) -> None:
    fact, resolver = bimi_of(DMARC + DEFAULT, author, **how)
    assert fact.result is BimiResult.SKIPPED
    assert fact.reason.startswith(reason)
    assert asked(resolver) == []


def test_a_failed_look_up_of_the_organization_is_a_temperror() -> None:
    zone = '_dmarc.sub.a.example 9 IN TXT "v=DMARC1; p=reject"\n_dmarc.a.example TXT servfail\n'
    fact, resolver = bimi_of(zone + DEFAULT, "u@sub.a.example", tables=OFF)
    assert fact.result is BimiResult.TEMPERROR
    assert asked(resolver) == []


@pytest.mark.parametrize(
    "how", [{"auth_user": "u"}, {"local": True}, {"tables": {}}, {"tables": {"bimi": {"enabled": False}}}]
)
def test_mail_that_nobody_looks_at(how: dict[str, Any]) -> None:
    resolver = ZoneResolver(SENDER + DMARC + DEFAULT)
    message = b"From: u@a.example\r\n\r\n"
    outcome = run_message(message, resolver, **{"ip": "192.0.2.1", "mail_from": "u@a.example", "tables": OFF, **how})
    assert outcome.facts.bimi is None
    assert asked(resolver) == []
    assert "bimi=" not in str(outcome.actions.headers_add)


def test_refused_mail_is_not_looked_at() -> None:
    resolver = ZoneResolver(SENDER + DMARC + DEFAULT)
    outcome = run_message(b"From: u@a.example\r\n\r\n", resolver, ip="192.0.2.9", mail_from="u@a.example", tables=OFF)
    assert str(outcome.verdict.decision) == "reject"
    assert outcome.facts.bimi is None


# Which record


@pytest.mark.parametrize(
    ("zone", "author", "where", "names"),
    [
        (DEFAULT, "u@a.example", ("default", "a.example"), ["default._bimi.a.example"]),
        (
            DEFAULT,
            "u@sub.a.example",
            ("default", "a.example"),
            ["default._bimi.sub.a.example", "default._bimi.a.example"],
        ),
        (
            DEFAULT + record("default._bimi.sub.a.example", "sub"),
            "u@sub.a.example",
            ("default", "sub.a.example"),
            ["default._bimi.sub.a.example", "default._bimi.a.example"],
        ),
        # records that are none are thrown away before they are counted (BIMI-17)
        (
            DEFAULT + 'default._bimi.a.example 9 IN TXT "v=BIMI2; l="\ndefault._bimi.a.example 9 IN TXT "x"\n',
            "u@a.example",
            ("default", "a.example"),
            ["default._bimi.a.example"],
        ),
        # an alias is followed (BIMI core §6.3)
        (
            "default._bimi.a.example 9 IN CNAME x.brand.example\n" + record("x.brand.example", "x"),
            "u@a.example",
            ("default", "a.example"),
            ["default._bimi.a.example"],
        ),
    ],
)
def test_discovery(zone: str, author: str, where: tuple[str, str], names: list[str]) -> None:
    fact, resolver = bimi_of(DMARC + zone, author)
    assert (fact.result, fact.selector, fact.domain) == (BimiResult.PASS, *where)
    assert sorted(asked(resolver)) == sorted(names)


@pytest.mark.parametrize(
    ("zone", "author", "result", "reason"),
    [
        ("", "u@a.example", "none", "there is no record at default._bimi.a.example"),  # BIMI-22
        (
            "default._bimi.a.example TXT servfail\n",
            "u@a.example",
            "temperror",
            "look-up failed: default._bimi.a.example: servfail",
        ),
        (
            "default._bimi.a.example TXT timeout\n",
            "u@sub.a.example",
            "temperror",
            "look-up failed: default._bimi.a.example: timeout",
        ),
        (
            "default._bimi.sub.a.example TXT bogus\n" + DEFAULT,
            "u@sub.a.example",
            "temperror",
            "look-up failed: default._bimi.sub.a.example: bogus",
        ),
        (
            DEFAULT + record("default._bimi.a.example", "other"),
            "u@a.example",
            "fail",
            "there are 2 records at default._bimi.a.example",
        ),
        # a broken one of the domain itself is not passed over
        (
            'default._bimi.sub.a.example 9 IN TXT "v=BIMI1"\n' + DEFAULT,
            "u@sub.a.example",
            "fail",
            "the record at default._bimi.sub.a.example: it has no l=",
        ),
        (
            'default._bimi.a.example 9 IN TXT "v=BIMI1; l=; a=;"\n',
            "u@a.example",
            "declined",
            "a.example declines to publish an indicator",
        ),
        (
            'default._bimi.sub.a.example 9 IN TXT "v=BIMI1; l=; a=;"\n' + DEFAULT,
            "u@sub.a.example",
            "declined",
            "sub.a.example declines to publish an indicator",
        ),
        (
            'default._bimi.a.example 9 IN TXT "v=BIMI1; l=; a=https://a.example/m.pem"\n',
            "u@a.example",
            "fail",
            "l= is empty and a= is not",
        ),
    ],
)
def test_no_record_to_use(zone: str, author: str, result: str, reason: str) -> None:
    fact, _ = bimi_of(DMARC + zone, author)
    assert (str(fact.result), fact.reason) == (result, reason)
    assert fact.location == ()


@pytest.mark.parametrize(
    ("author", "signer", "signed", "where"),
    [
        ("u@a.example", "a.example", "BIMI-Selector", ("brand", "a.example")),
        ("u@sub.a.example", "sub.a.example", "BIMI-Selector", ("brand", "a.example")),
        ("u@sub.a.example", "a.example", "BIMI-Selector", ("brand", "a.example")),  # relaxed alignment
        ("u@a.example", "sub.a.example", "BIMI-Selector", ("brand", "a.example")),
        ("u@a.example", "a.example", "", ("default", "a.example")),
        ("u@a.example", "b.example", "BIMI-Selector", ("default", "a.example")),
        ("u@a.example", "", "", ("default", "a.example")),
    ],
)
def test_a_selector_counts_if_the_author_signed_it(
    author: str, signer: str, signed: str, where: tuple[str, str]
) -> None:
    """BIMI-18."""
    zone = DMARC + DEFAULT + record("brand._bimi.a.example", "brand")
    fact, _ = bimi_of(zone, author, "BIMI-Selector: v=BIMI1; s=brand\r\n", signer, signed)
    assert (fact.selector, fact.domain) == where


def test_strict_alignment_counts_for_the_selector_too() -> None:
    zone = '_dmarc.a.example 9 IN TXT "v=DMARC1; p=reject; adkim=s"\n' + DEFAULT + record("brand._bimi.a.example", "b")
    fact, _ = bimi_of(zone, "u@a.example", "BIMI-Selector: v=BIMI1; s=brand\r\n", "sub.a.example", "BIMI-Selector")
    assert fact.selector == "default"


def test_a_selector_never_falls_back_to_the_default_one() -> None:
    """BIMI-20."""
    fact, resolver = bimi_of(
        DMARC + DEFAULT, "u@sub.a.example", "BIMI-Selector: v=BIMI1; s=brand\r\n", "a.example", "BIMI-Selector"
    )
    assert fact.result is BimiResult.NONE
    assert sorted(asked(resolver)) == ["brand._bimi.a.example", "brand._bimi.sub.a.example"]


LPS = record("default._bimi.a.example", "default", "; lps=news-")
NEWS = record("news-one._bimi.a.example", "news")


@pytest.mark.parametrize(
    ("zone", "author", "selector", "result"),
    [
        # BIMI-21
        (LPS + NEWS, "News_One+x@a.example", "news-one", "pass"),
        (LPS + NEWS, '"news_one"@a.example', "news-one", "pass"),
        (LPS + NEWS, "Ann <news.one@a.example>", "news-one", "pass"),
        (LPS + NEWS, "other@a.example", "default", "pass"),
        (LPS, "news-one@a.example", "default", "pass"),  # there is no such record
        (
            LPS + NEWS + NEWS.replace("news.example", "x.example"),
            "news-one@a.example",
            "default",
            "pass",
        ),  # nor a single one
        (LPS + 'news-one._bimi.a.example 9 IN TXT "v=BIMI1"\n', "news-one@a.example", "default", "pass"),
        (LPS + 'news-one._bimi.a.example 9 IN TXT "v=BIMI1; l=;"\n', "news-one@a.example", "news-one", "declined"),
        (LPS + "news-one._bimi.a.example TXT servfail\n", "news-one@a.example", "news-one", "temperror"),
        (record("default._bimi.a.example", "d", "; lps=") + NEWS, "news-one@a.example", "news-one", "pass"),
        (record("default._bimi.a.example", "d", "; lps="), "default@a.example", "default", "pass"),
        (
            'default._bimi.a.example 9 IN TXT "v=BIMI1; l=; a=; lps=news-"\n' + NEWS,
            "news-one@a.example",
            "news-one",
            "pass",
        ),
        (
            'default._bimi.a.example 9 IN TXT "v=BIMI1; l=; a=; lps=news-"\n' + NEWS,
            "x@a.example",
            "default",
            "declined",
        ),
        # at the organization: looked for there, and not at the subdomain
        (LPS + NEWS, "news-one@sub.a.example", "news-one", "pass"),
        (LPS + record("news-one._bimi.sub.a.example", "x"), "news-one@sub.a.example", "default", "pass"),
    ],
)
def test_local_parts_as_selectors(zone: str, author: str, selector: str, result: str) -> None:
    fact, _ = bimi_of(DMARC + zone, author, mail_from="x@sub.a.example" if "sub" in author else "x@a.example")
    assert (str(fact.result), fact.selector) == (result, selector)


def test_a_selector_is_asked_once() -> None:
    zone = ZoneResolver(
        record("default._bimi.a.example", "d", "; lps=") + DEFAULT.replace("default.example", "e.example")
    )
    discover("a.example", "a.example", "default", "default", zone)
    assert [name for _, name in zone.queries] == ["default._bimi.a.example"]
