"""`authmilter bimi DOMAIN`: each step from the DMARC policy to the header fields, what was found, what is wrong.

It goes on where a message would stop, so that whoever publishes an indicator sees all of it at once. What is not
published yet comes from the command line.

Limits and Security: as for mail; `bimi_show` makes what is printed safe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from authmilter.bimi import enforcement, names, selector
from authmilter.bimi.assets import Asset, Fault, Kind
from authmilter.bimi.discover import Discovery, discover
from authmilter.bimi.evaluate import judge
from authmilter.bimi.evidence.mark import Check, covers, examine
from authmilter.bimi.indicator import read_indicator, unpack
from authmilter.bimi.load import EVIDENCE, INDICATOR, Loader, as_fault
from authmilter.bimi.record import NOTHING, parse
from authmilter.bimi.settings import BimiSettings, MarkSettings
from authmilter.bimi.uri import Uri
from authmilter.bimi_assembly import make_client, mark_settings
from authmilter.bimi_show import Explanation, Step, as_json_text, as_text
from authmilter.dmarc.evaluate import evaluate as evaluate_dmarc
from authmilter.dmarc.relatives import relatives
from authmilter.facts import BimiFact, BimiResult, DmarcFact, DomainTree, Policy, SpfFact, SpfResult
from authmilter.settings import Settings
from mailcommon.dns.resolver import DnsResolver, Resolver
from mailcommon.fetch.client import Client
from mailcommon.fetch.fetched import Document
from mailcommon.fetch.location import Location
from mailcommon.names import to_alabel

_MAX_FILE = 1_048_576  # octets


class ExplainError(Exception):
    """The request cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """The command line."""

    domain: str
    selector: str = ""
    local_part: str = ""
    record: str | None = None
    svg: Path | None = None
    evidence: Path | None = None
    svg_out: Path | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What is behind one URI, or in a file in its place."""

    asset: Asset | None
    steps: tuple[Step, ...] = ()
    svg: bytes = b""
    domains: tuple[str, ...] = ()

    def and_then(self, step: Step) -> _Found:
        """The same with one more step."""
        return replace(self, steps=(*self.steps, step))


class _Given:
    """A source that has all that will be asked for."""

    def __init__(self, assets: dict[Kind, Asset | None]) -> None:
        self._assets = assets

    def start(self, kind: Kind, uri: Uri) -> None:
        """See Source."""

    def get(self, kind: Kind, uri: Uri, seconds: float) -> Asset:  # noqa: ARG002 - see Source
        """See Source."""
        return self._assets.get(kind) or Fault(f"nothing was fetched from {uri.host}", temporary=True)

    def close(self) -> None:
        """See Source."""


def run(settings: Settings, request: Request, *, as_json: bool) -> str:
    """Explain and describe; raises ExplainError."""
    resolver = DnsResolver(settings.dns.for_resolver())
    explanation = explain(settings, request, resolver, time.time)
    if request.svg_out and explanation.svg:
        try:
            request.svg_out.write_bytes(explanation.svg)
        except OSError as fault:
            raise ExplainError(f"--svg-out: {request.svg_out}: {fault.strerror}") from fault
    return as_json_text(explanation) if as_json else as_text(explanation)


def explain(settings: Settings, request: Request, resolver: Resolver, now: Callable[[], float]) -> Explanation:
    """Look at everything. `now` gives unix seconds. Raises ExplainError."""
    domain = to_alabel(request.domain)
    if domain is None or "." not in domain:
        raise ExplainError(f"{request.domain!r} is not a domain")
    if request.selector and not selector.is_selector(request.selector):
        raise ExplainError(f"--selector: {request.selector!r} is not a selector")
    try:
        marks = mark_settings(settings.bimi)
    except ValueError as problem:
        raise ExplainError(str(problem)) from problem
    tree, fact, steps = _policy(domain, resolver)
    found, more = _record(domain, tree, request, resolver)
    wanted = BimiSettings(settings.bimi.evidence, settings.bimi.compare, settings.bimi.budget, marks)
    evidence, indicator = asyncio.run(_fetch(settings, request, found, marks, now))
    if evidence.domains:
        elsewhere = covers(evidence.domains, found.domain, found.selector)
        evidence = evidence.and_then(_step("evidence: domain", elsewhere, "it is for this record"))
    if evidence.svg and indicator.svg:
        fault = "" if indicator.svg == evidence.svg else "another one than in the certificate, which is what counts"
        indicator = indicator.and_then(_step("indicator: equal", fault, "the same as in the certificate"))
    outcome = _outcome(fact, tree, found, evidence, indicator, wanted, now())
    all_steps = (*steps, *more, *evidence.steps, *indicator.steps)
    return Explanation(domain, found.selector, all_steps, outcome, evidence.svg or indicator.svg)


def _policy(domain: str, resolver: Resolver) -> tuple[DomainTree, DmarcFact, list[Step]]:
    """DMARC as for a message that passes."""
    fact = evaluate_dmarc(domain, (SpfFact("mfrom", SpfResult.PASS, domain, domain),), (), resolver)
    tree = relatives(fact, (), resolver)
    if tree.failed:
        return tree, fact, [Step("DMARC", False, f"look-up failed: {tree.failed}")]
    if not tree.policies:
        return tree, fact, [Step("DMARC", False, f"no usable DMARC record for {domain}: {fact.reason}")]
    shown = []
    for name, tags in tree.policies:
        words = [f"p={tags.p}", *(f"{tag}={value}" for tag, value in (("sp", tags.sp), ("np", tags.np)) if value)]
        words += ["t=y"] if tags.testing else []
        words += [f"pct={tags.pct}"] if tags.pct != 100 else []
        shown.append(f"{name}: {' '.join(words)}")
    problem = enforcement.lax(tree)
    if not problem and fact.policy is Policy.NONE:
        problem = f"the DMARC policy of {domain} is none"
    return tree, fact, [_step("DMARC", problem and f"{problem} ({', '.join(shown)})", ", ".join(shown))]


def _record(domain: str, tree: DomainTree, request: Request, resolver: Resolver) -> tuple[Discovery, list[Step]]:
    wanted = request.selector.lower() or names.DEFAULT_SELECTOR
    if request.record is None:
        found = discover(domain, tree.organization or domain, wanted, request.local_part, resolver)
        steps = [Step("DNS", True, f"{name}: {text}") for name, text in found.steps]
    else:
        record = parse(request.record.encode("utf-8", "replace"))
        if record is None:
            found = Discovery(BimiResult.NONE, domain, wanted, reason="it does not begin with v=BIMI1")
        elif record.fault:
            found = Discovery(BimiResult.FAIL, domain, wanted, record, record.fault)
        else:
            declined = BimiResult.DECLINED if record.declines else None
            found = Discovery(declined, domain, wanted, record, "it declines to publish" if declined else "")
        steps = []
    if found.result is BimiResult.NONE:
        found = replace(found, domain=domain, selector=wanted)
    record = found.record
    about = [
        f"l={record.location.text if record.location else ''}",
        f"a={record.evidence.text if record.evidence else ''}",
    ]
    about += [f"avp={record.preference}"] if record.preference else []
    steps.append(_step("record", found.reason if found.result else "", f"of {found.domain}: {'; '.join(about)}"))
    return found, steps


async def _fetch(
    settings: Settings, request: Request, found: Discovery, marks: MarkSettings, now: Callable[[], float]
) -> tuple[_Found, _Found]:
    """The evidence and the indicator, from files or their hosts."""
    client = make_client(settings)
    try:
        evidence, indicator = await asyncio.gather(
            _octets(client, EVIDENCE, request.evidence, found.record.evidence, "evidence"),
            _octets(client, INDICATOR, request.svg, found.record.location, "indicator"),
        )
        loader = Loader(client, marks, now, settings.bimi.https_port)
        return await _judge_evidence(evidence, marks, loader, now()), _judge_indicator(indicator)
    finally:
        await client.close()


async def _octets(
    client: Client, document: Document, path: Path | None, uri: Uri | None, name: str
) -> tuple[bytes | Fault | None, Step | None]:
    if path:
        try:
            octets = path.read_bytes()
        except OSError as fault:
            raise ExplainError(f"{path}: {fault.strerror}") from fault
        if len(octets) > _MAX_FILE:
            raise ExplainError(f"{path}: larger than {_MAX_FILE} octets")
        if len(octets) > document.octets:
            return None, Step(f"{name}: fetch", False, f"{path} has more than {document.octets} octets")
        return octets, Step(f"{name}: file", True, f"{path}, {len(octets)} octets")
    if uri is None:
        return None, None
    got = await client.fetch(Location(uri.host, uri.target), document)
    if got.body is None:
        return as_fault(got), Step(f"{name}: fetch", False, got.reason)
    return got.body, Step(f"{name}: fetch", True, f"{uri.text}, {len(got.body)} octets")


async def _judge_evidence(
    got: tuple[bytes | Fault | None, Step | None], marks: MarkSettings, loader: Loader, now: float
) -> _Found:
    octets, first = got
    steps: tuple[Step, ...] = (first,) if first else ()
    if not isinstance(octets, bytes):
        return _Found(octets, steps)
    found = examine(octets, marks, now)
    checks: list[Check] = list(found.checks)
    if found.mark:
        checks += await loader.revocation(found.mark.chain)
    steps += tuple(_step(f"evidence: {check.name}", check.fault, check.detail) for check in checks)
    fault = next((check.fault for check in checks if check.fault), "")
    return _Found(Fault(fault) if fault or found.mark is None else found.mark, steps, found.svg, found.domains)


def _judge_indicator(got: tuple[bytes | Fault | None, Step | None]) -> _Found:
    octets, first = got
    steps: tuple[Step, ...] = (first,) if first else ()
    if not isinstance(octets, bytes):
        return _Found(octets, steps)
    svg = unpack(octets)
    indicator = read_indicator(octets)
    if isinstance(indicator, str):
        fault = Step("indicator: SVG Tiny PS", False, indicator)
        return _Found(Fault(indicator), (*steps, fault), b"" if isinstance(svg, str) else svg)
    text = f"{len(indicator.svg)} octets, allowed in every element and attribute"
    return _Found(indicator, (*steps, Step("indicator: SVG Tiny PS", True, text)), indicator.svg)


def _outcome(
    dmarc: DmarcFact,
    tree: DomainTree,
    found: Discovery,
    evidence: _Found,
    indicator: _Found,
    settings: BimiSettings,
    now: float,
) -> BimiFact:
    """What a message of this domain would get that passes DMARC."""
    if tree.failed:
        return BimiFact(BimiResult.TEMPERROR, reason=f"look-up failed: {tree.failed}")
    if not tree.policies or dmarc.policy is Policy.NONE or enforcement.lax(tree):
        reason = enforcement.lax(tree) or f"{tree.author_domain} has no DMARC policy that enforces"
        return BimiFact(BimiResult.SKIPPED, reason=reason)
    if found.result is not None or found.record is NOTHING:
        return BimiFact(found.result or BimiResult.NONE, found.domain, found.selector, reason=found.reason)
    source = _Given({Kind.EVIDENCE: evidence.asset, Kind.INDICATOR: indicator.asset})
    return judge(found, source, settings, lambda: 0.0, now)


def _step(name: str, fault: str, text: str) -> Step:
    return Step(name, not fault, fault or text)
