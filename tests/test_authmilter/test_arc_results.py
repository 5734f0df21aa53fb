"""What is written of an ARC chain: in the header field, the log line, by `authmilter check`; and the settings."""

from __future__ import annotations

from typing import Any

import pytest

from authmilter.check_message import as_object
from authmilter.facts import ArcFact, ArcResult, ArcSet, Client, MessageFacts
from authmilter.headers.results_field import render_results
from authmilter.logline import log_fields
from authmilter.transaction import Outcome
from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, make_key
from tests.support.inbound import run_message
from tests.support.zone_resolver import ZoneResolver

KEY = make_key("ed25519")
NAMES = ("s._domainkey.one.example", "s._domainkey.two.example")
ZONE = "".join(f'{name} 300 IN TXT "{dns_record(KEY)}"\n' for name in NAMES)
PLAIN = b"From: a@one.example\r\nTo: b@c.example\r\nSubject: x\r\nDate: today\r\n\r\nHello\r\n"
SEALED = seal(seal(PLAIN, "one.example", "s", KEY, results="one.example; spf=pass"), "two.example", "s", KEY)


def run(message: bytes, **options: Any) -> Outcome:
    return run_message(message, ZoneResolver(ZONE), **options)


def entry(outcome: Outcome) -> str:
    """What the field says of ARC."""
    value = dict(outcome.actions.headers_add)["Authentication-Results"].replace("\n\t", " ")
    return next((part.strip() for part in value.split(";") if part.strip().startswith("arc=")), "")


SETS = (ArcSet(1, "one.example", "s", "x"), ArcSet(2, "two.example", "s"))


@pytest.mark.parametrize(
    ("fact", "ip", "text"),
    [
        (ArcFact(ArcResult.NONE), "192.0.2.1", "arc=none smtp.remote-ip=192.0.2.1"),  # ARC-15
        (ArcFact(ArcResult.NONE), "", "arc=none"),
        (
            ArcFact(ArcResult.PASS, SETS, 2),
            "2001:db8::1",
            'arc=pass (i=2 two.example, i=1 one.example) header.oldest-pass=2 smtp.remote-ip="2001:db8::1"',
        ),
        (ArcFact(ArcResult.PASS, SETS[:1]), "", "arc=pass (i=1 one.example) header.oldest-pass=0"),
        (
            ArcFact(ArcResult.FAIL, reason='evil"; dmarc=pass ('),
            "192.0.2.1",
            'arc=fail reason="evil\', dmarc=pass [" smtp.remote-ip=192.0.2.1',
        ),
    ],
)
def test_the_field(fact: ArcFact, ip: str, text: str) -> None:
    value = render_results("mx.example.org", MessageFacts(Client(ip), "", arc=fact))
    assert value.replace("\n\t", " ") == f"mx.example.org; {text}"


def test_fifty_sets_stay_one_line() -> None:
    sets = tuple(ArcSet(n, f"{'a' * 60}{n}.example", "s", "c" * 60_000) for n in range(1, 51))
    value = render_results("mx.example.org", MessageFacts(Client(""), "", arc=ArcFact(ArcResult.PASS, sets)))
    assert len(value) < 500
    assert "i=50 " in value


def test_a_sealed_message() -> None:
    outcome = run(SEALED)
    assert entry(outcome).startswith("arc=pass (i=2 two.example, i=1 one.example) ")
    assert " arc=pass:one.example,two.example " in str(log_fields(outcome))
    assert as_object(outcome)["results"]["arc"] == {
        "result": "pass",
        "sets": [
            {"instance": 1, "domain": "one.example", "selector": "s", "results": "one.example; spf=pass"},
            {"instance": 2, "domain": "two.example", "selector": "s", "results": "two.example; none"},
        ],
        "oldest_pass": 0,
        "reason": "",
    }
    assert outcome.actions.headers_remove == ()


def test_a_broken_chain_changes_nothing_else() -> None:
    """ARC-13: it is as if there were none."""
    plain, broken, whole = run(PLAIN), run(SEALED.replace(b"Hello", b"Jello")), run(SEALED)
    assert entry(broken).startswith('arc=fail reason="ARC-Message-Signature 2: the body hash differs" ')
    assert " arc=" in str(log_fields(broken))
    assert plain.verdict == broken.verdict == whole.verdict
    assert as_object(broken)["results"]["arc"]["sets"] == []


@pytest.mark.parametrize("how", [{"auth_user": "u"}, {"local": True}, {"tables": {"arc": {"enabled": False}}}])
def test_when_chains_are_not_looked_at(how: dict[str, Any]) -> None:
    resolver = ZoneResolver(ZONE)
    outcome = run_message(SEALED, resolver, **how)
    assert outcome.facts.arc is None
    assert " arc=" not in str(log_fields(outcome))
    assert not any("\tarc=" in value for _, value in outcome.actions.headers_add)
    assert as_object(outcome)["results"]["arc"] is None
    asked = [name for _, name in [*resolver.queries, *resolver.started]]
    assert not any("_domainkey" in name for name in asked)


def test_look_ups_are_started_at_the_end_of_the_header() -> None:
    resolver = ZoneResolver(ZONE)
    run_message(SEALED, resolver)
    assert {("TXT", "s._domainkey.one.example"), ("TXT", "s._domainkey.two.example")} <= set(resolver.started)


def test_limits_of_the_settings() -> None:
    assert "more than 1 sets" in entry(run(SEALED, tables={"arc": {"max_sets": 1}}))
    assert "more than 1 keys" in entry(run(SEALED, tables={"arc": {"max_keys": 1}}))


def test_a_silent_server_makes_it_fail_and_refuses_nobody() -> None:
    """ARC-12, and: a DNS failure is never turned into a rejection."""
    outcome = run_message(SEALED, ZoneResolver("".join(f"{name} TXT timeout\n" for name in NAMES)))
    assert outcome.facts.arc is not None
    assert (outcome.facts.arc.result, outcome.facts.arc.undecided) == (ArcResult.FAIL, True)
    assert entry(outcome).startswith('arc=fail reason="ARC-Message-Signature 2: looking up the key: timeout" ')
    assert outcome.verdict.decision == "accept"
