"""BIMI for one message (BIMI core §7): DMARC's facts, a resolver and a source in, a `BimiFact` out.

Diagnostics: the fact's result and reason; nothing is raised.
Limits: four look-ups, two URIs, `BimiSettings.seconds` of waiting for them in all.
Security: nothing is looked up or fetched before DMARC has passed with a policy that enforces (BIMI core §7.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from authmilter.bimi import enforcement, names
from authmilter.bimi.assets import Fault, Kind, Source
from authmilter.bimi.discover import Discovery, discover
from authmilter.bimi.evidence.mark import Mark, covers
from authmilter.bimi.indicator import Indicator
from authmilter.bimi.record import Record
from authmilter.bimi.settings import BimiSettings
from authmilter.bimi.uri import Uri
from authmilter.facts import Authority, BimiFact, BimiResult, DomainTree
from mailcommon.dns.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Asked:
    """What a message asks for, after it has passed DMARC."""

    tree: DomainTree
    selector: str
    local_part: str


def evaluate(
    asked: Asked, resolver: Resolver, source: Source, settings: BimiSettings, clock: Callable[[], float], now: float
) -> BimiFact:
    """The indicator for one message. `clock` gives seconds and never goes back; `now` is the time of receipt."""
    tree = asked.tree
    if tree.failed:
        return BimiFact(BimiResult.TEMPERROR, reason=f"look-up failed: {tree.failed}")
    if reason := enforcement.lax(tree):
        return BimiFact(BimiResult.SKIPPED, reason=reason)
    found = discover(tree.author_domain, tree.organization, asked.selector, asked.local_part, resolver)
    if found.result is not None:
        return BimiFact(found.result, found.domain, found.selector, reason=found.reason)
    return judge(found, source, settings, clock, now)


def judge(found: Discovery, source: Source, settings: BimiSettings, clock: Callable[[], float], now: float) -> BimiFact:
    """The indicator that a record leads to (BIMI core §7.3 to §7.6)."""
    record = found.record
    fact = BimiFact(
        BimiResult.FAIL,
        found.domain,
        found.selector,
        Authority.NONE,
        record.evidence.text if record.evidence else "",
        record.location.text if record.location else "",
        preference=record.preference,
    )
    if record.location is None:
        # BIMI core §7.3 step 1: without "a valid bimi-location in the l= tag" there is no indicator, evidence or not
        return replace(fact, reason="l= is empty and a= is not")
    if settings.evidence == "off":
        located = ((names.LOCATION_TAG, record.location.text),)
        return replace(fact, result=BimiResult.PASS, location=located, reason="record only, nothing was fetched")
    began = clock()
    until = began + settings.seconds
    wanted = _wanted(record, settings)
    for kind, uri in wanted:
        source.start(kind, uri)
    if record.evidence and settings.checks_evidence:
        fact = _with_evidence(fact, record, source, settings, lambda: until - clock(), now)
    elif settings.evidence == "require":
        reason = "there is no evidence document, and this host shows no indicator without one"
        fact = replace(fact, result=BimiResult.SKIPPED, reason=reason)
    else:
        fact = _self_asserted(fact, record.location, source, until - clock())
    return replace(fact, ms=(clock() - began) * 1000)


def _wanted(record: Record, settings: BimiSettings) -> list[tuple[Kind, Uri]]:
    """What has to be fetched, so that all of it is fetched at once."""
    if record.evidence and settings.checks_evidence:
        wanted = [(Kind.EVIDENCE, record.evidence)]
        return [*wanted, (Kind.INDICATOR, record.location)] if settings.compare and record.location else wanted
    return [(Kind.INDICATOR, record.location)] if record.location and settings.evidence == "optional" else []


def _self_asserted(fact: BimiFact, location: Uri, source: Source, seconds: float) -> BimiFact:
    """BIMI core §7.5: the indicator behind l=, with nobody's word for it."""
    got = source.get(Kind.INDICATOR, location, seconds)
    if not isinstance(got, Indicator):
        return _failed(fact, got, "the indicator")
    located = ((names.LOCATION_TAG, location.text),)
    return replace(fact, result=BimiResult.PASS, location=located, indicator=got.svg)


def _with_evidence(
    fact: BimiFact, record: Record, source: Source, settings: BimiSettings, left: Callable[[], float], now: float
) -> BimiFact:
    """BIMI evidence §5.3: the indicator inside the mark certificate behind a=."""
    assert record.evidence
    got = source.get(Kind.EVIDENCE, record.evidence, left())
    if not isinstance(got, Mark):
        failed = _failed(fact, got, "the evidence")
        # not checked is not failed (BIMI core §7.7)
        return failed if failed.result is BimiResult.TEMPERROR else replace(failed, authority=Authority.FAIL)
    if reason := got.refusal(now) or covers(got.domains, fact.domain, fact.selector):
        return replace(fact, authority=Authority.FAIL, reason=f"the evidence: {reason}")
    fact = replace(fact, authority=Authority.PASS, mark_type=got.mark_type)
    located = [(names.EVIDENCE_TAG, record.evidence.text)]
    if settings.compare and record.location:
        other = source.get(Kind.INDICATOR, record.location, left())
        if not isinstance(other, Indicator):
            return _failed(fact, other, "the indicator behind l=")
        if other.svg != got.indicator.svg:
            return replace(fact, reason="the indicator behind l= is another one than that in the certificate")
        # BIMI core §7.9: both only if they lead to the same indicator
        located.insert(0, (names.LOCATION_TAG, record.location.text))
    return replace(fact, result=BimiResult.PASS, location=tuple(located), indicator=got.indicator.svg)


def _failed(fact: BimiFact, got: object, what: str) -> BimiFact:
    if not isinstance(got, Fault):
        return replace(fact, reason=f"{what}: something else is there")
    result = BimiResult.TEMPERROR if got.temporary else BimiResult.FAIL
    return replace(fact, result=result, reason=f"{what}: {got.reason}")
