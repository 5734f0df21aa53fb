"""A message and its indicator, from the DMARC pass to the fields, with real hosts: the modes, and what each gives."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from authmilter.facts import Authority, BimiResult
from authmilter.transaction import Outcome
from tests.support.bimi_world import BimiWorld
from tests.support.inbound import run_message, setup_of
from tests.support.marks import LOGO, OTHER_LOGO
from tests.support.zone_resolver import ZoneResolver

L = "https://web.example/logo.svg"
A = "https://brand.example/mark.pem"
MESSAGE = b"From: u@a.example\r\nSubject: x\r\n\r\nx\r\n"


def zone(record: str) -> str:
    return (
        'a.example 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"\n_dmarc.a.example 300 IN TXT "v=DMARC1; p=reject"\n'
        f'default._bimi.a.example 300 IN TXT "{record}"\n'
    )


SELF_ASSERTED = f"v=BIMI1; l={L}; avp=personal"
WITH_EVIDENCE = f"v=BIMI1; l={L}; a={A}; avp=brand"


@pytest.fixture
def world() -> Iterator[BimiWorld]:
    with BimiWorld() as made:
        yield made


def send(world: BimiWorld, record: str, **bimi: Any) -> Outcome:
    tables = world.tables(**{"budget": 10.0, **bimi})
    resolver = ZoneResolver(zone(record))
    setup = setup_of(resolver, tables)
    assert setup.bimi
    world._sources.append(setup.bimi.source)
    return run_message(MESSAGE, resolver, ip="192.0.2.1", mail_from="u@a.example", setup=setup)


def fields(outcome: Outcome) -> dict[str, str]:
    return {name: value for name, value in outcome.actions.headers_add if name.startswith("BIMI")}


def check(outcome: Outcome, result: str, authority: Authority | None, reason: str = "", names: str = "") -> None:
    fact = outcome.facts.bimi
    assert fact
    assert (str(fact.result), fact.authority, fact.reason) == (result, authority, reason)
    assert " ".join(name.removeprefix("BIMI-") for name in fields(outcome)) == names
    assert f"bimi={result}" in dict(outcome.actions.headers_add)["Authentication-Results"]


def test_a_verified_mark(world: BimiWorld) -> None:
    world.web("brand.example", {"/mark.pem": world.marks.issue("a.example")})
    outcome = send(world, WITH_EVIDENCE)
    check(outcome, "pass", Authority.PASS, names="Location Indicator Logo-Preference")
    found = fields(outcome)
    assert found["BIMI-Location"] == f"v=BIMI1; a={A};"
    assert base64.b64decode("".join(found["BIMI-Indicator"].split())) == LOGO
    assert found["BIMI-Logo-Preference"] == "avp=brand;"
    assert outcome.actions.headers_add[0][0] == "Authentication-Results"


def test_a_common_mark_and_its_kind(world: BimiWorld) -> None:
    pem = world.marks.issue("a.example", mark_type="Prior Use Mark", pilot=True)
    world.web("brand.example", {"/mark.pem": pem})
    outcome = send(world, WITH_EVIDENCE)
    check(outcome, "pass", Authority.PASS, names="Location Indicator Logo-Preference")
    assert "bimi=pass (Prior Use Mark)" in dict(outcome.actions.headers_add)["Authentication-Results"]
    refused = send(world, WITH_EVIDENCE, common_marks=False)
    check(refused, "fail", Authority.FAIL, "the evidence: a certificate for a Prior Use Mark is not accepted here")


def test_self_asserted_where_evidence_is_required(world: BimiWorld) -> None:
    host = world.web("web.example")
    reason = "there is no evidence document, and this host shows no indicator without one"
    check(send(world, SELF_ASSERTED), "skipped", Authority.NONE, reason)
    assert host.requests == 0


def test_self_asserted_where_it_is_optional(world: BimiWorld) -> None:
    world.web("web.example")
    outcome = send(world, SELF_ASSERTED, evidence="optional")
    check(outcome, "pass", Authority.NONE, names="Location Indicator Logo-Preference")
    assert fields(outcome)["BIMI-Location"] == f"v=BIMI1; l={L};"
    assert fields(outcome)["BIMI-Logo-Preference"] == "avp=personal;"


@pytest.mark.parametrize("evidence", ["require", "optional"])
def test_evidence_that_fails_is_never_passed_over(world: BimiWorld, evidence: str) -> None:
    """BIMI-55: no falling back to what the sender asserts."""
    world.web("web.example")
    world.web("brand.example", {"/mark.pem": world.marks.issue("b.example")})
    reason = "the evidence: it is for b.example, not for a.example with selector default"
    check(send(world, WITH_EVIDENCE, evidence=evidence), "fail", Authority.FAIL, reason)


def test_who_trusts_no_root_does_not_check_evidence(world: BimiWorld) -> None:
    """BIMI core §7.3 step 3: then it is as if there were none."""
    world.web("web.example")
    outcome = send(world, WITH_EVIDENCE, evidence="optional", ca_file="")
    check(outcome, "pass", Authority.NONE, names="Location Indicator Logo-Preference")
    assert fields(outcome)["BIMI-Location"] == f"v=BIMI1; l={L};"


def test_a_fault_of_ours_costs_the_logo_and_nothing_else(world: BimiWorld, caplog: pytest.LogCaptureFixture) -> None:
    resolver = ZoneResolver(zone(SELF_ASSERTED))
    setup = setup_of(resolver, world.tables())
    assert setup.bimi
    world._sources.append(setup.bimi.source)

    def broken() -> float:
        raise RuntimeError("oops")

    setup = replace(setup, bimi=replace(setup.bimi, now=broken))
    with caplog.at_level("ERROR", "authmilter"):
        outcome = run_message(MESSAGE, resolver, ip="192.0.2.1", mail_from="u@a.example", setup=setup)
    check(outcome, "temperror", None, "internal fault")
    assert str(outcome.verdict.decision) == "accept"
    assert "internal fault in BIMI for a.example" in caplog.text


def test_nothing_is_fetched_if_nobody_wants_it(world: BimiWorld) -> None:
    host = world.web("web.example")
    outcome = send(world, WITH_EVIDENCE, evidence="off")
    check(outcome, "pass", Authority.NONE, "record only, nothing was fetched", "Location Logo-Preference")
    assert fields(outcome)["BIMI-Location"] == f"v=BIMI1; l={L};"
    assert host.connections == world.hosts.connections == 0


@pytest.mark.parametrize(
    ("svg", "result", "reason", "names"),
    [
        (LOGO, "pass", "", "Location Indicator Logo-Preference"),
        (OTHER_LOGO, "fail", "the indicator behind l= is another one than that in the certificate", ""),
        (
            b"x",
            "fail",
            "the indicator behind l=: line 1: no well-formed XML: Start tag expected, '<' not found, line 1, column 1",
            "",
        ),
    ],
)
def test_comparing_both(world: BimiWorld, svg: bytes, result: str, reason: str, names: str) -> None:
    """BIMI-39."""
    world.web("brand.example", {"/mark.pem": world.marks.issue("a.example")})
    world.web("web.example", {"/logo.svg": svg})
    outcome = send(world, WITH_EVIDENCE, compare=True)
    check(outcome, result, Authority.PASS, reason, names)
    if names:
        assert fields(outcome)["BIMI-Location"] == f"v=BIMI1; l={L};\n\ta={A};"


def test_a_host_that_does_not_answer_in_time(world: BimiWorld) -> None:
    world.web("brand.example", {"/mark.pem": b""}, fault="hang")
    outcome = send(world, WITH_EVIDENCE, budget=0.2)
    check(outcome, "temperror", Authority.NONE, "the evidence: brand.example has not answered yet")
    assert outcome.facts.bimi
    assert 180 < outcome.facts.bimi.ms < 1_500
    assert str(outcome.verdict.decision) == "accept"


def test_both_fetches_share_the_budget(world: BimiWorld) -> None:
    world.web("brand.example", {"/mark.pem": world.marks.issue("a.example")}).delay = 0.2
    world.web("web.example", fault="hang")
    outcome = send(world, WITH_EVIDENCE, compare=True, budget=0.6)
    fact = outcome.facts.bimi
    assert fact
    assert fact.result is BimiResult.TEMPERROR
    assert fact.ms < 1_500


def test_an_expired_certificate_is_noticed_although_it_is_known(world: BimiWorld) -> None:
    world.web("brand.example", {"/mark.pem": world.marks.issue("a.example")})
    resolver = ZoneResolver(zone(WITH_EVIDENCE))
    setup = setup_of(resolver, world.tables(budget=10.0))
    assert setup.bimi
    world._sources.append(setup.bimi.source)
    how: dict[str, Any] = {"ip": "192.0.2.1", "mail_from": "u@a.example", "setup": setup}
    assert run_message(MESSAGE, resolver, **how).facts.bimi.result is BimiResult.PASS  # type: ignore[union-attr]
    later = replace(setup.bimi, now=lambda: setup.now() + 31 * 86_400)
    fact = run_message(MESSAGE, resolver, **{**how, "setup": replace(setup, bimi=later)}).facts.bimi
    assert fact
    assert fact.result is BimiResult.FAIL
    assert fact.reason.startswith("the evidence: it has expired on ")


def test_no_fields_when_the_message_passes_for_somebody_else() -> None:
    resolver = ZoneResolver(zone(WITH_EVIDENCE))
    tables = {"bimi": {"enabled": True, "evidence": "off"}, "dmarc": {"on_reject": "accept"}}
    outcome = run_message(MESSAGE, resolver, ip="192.0.2.9", mail_from="u@a.example", tables=tables)
    assert fields(outcome) == {}
    assert "bimi=skipped (DMARC gave fail)" in dict(outcome.actions.headers_add)["Authentication-Results"]
