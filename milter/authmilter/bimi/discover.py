"""Assertion Record Discovery (BIMI core §7.2): names and a resolver in, the record that applies out.

Diagnostics: `Discovery.result` is None if there is a record to go on with.
Limits: four look-ups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from authmilter.bimi import names
from authmilter.bimi.record import NOTHING, Record, parse
from authmilter.bimi.selector import of_local_part
from authmilter.facts import BimiResult
from mailcommon.dns.answer import Status
from mailcommon.dns.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the DNS says. `domain` and `selector` are those of the record that was used."""

    result: BimiResult | None
    domain: str = ""
    selector: str = ""
    record: Record = NOTHING
    reason: str = ""
    steps: tuple[tuple[str, str], ...] = ()  # each name that was asked, and what is there: for people


def record_name(selector: str, domain: str) -> str:
    """Where a record is published (BIMI core §4.4)."""
    return f"{selector}.{names.LABEL}.{domain}"


def discover(author: str, organization: str, selector: str, local_part: str, resolver: Resolver) -> Discovery:
    """The record for mail of the Author Domain `author`."""
    domains = tuple(dict.fromkeys((author, organization)))
    for domain in domains:
        resolver.start("TXT", record_name(selector, domain))
    steps: list[tuple[str, str]] = []
    for domain in domains:
        found = _at(selector, domain, resolver, steps)
        if found is None:
            continue  # BIMI core §7.2: a selector that is not there falls back to the same one of the organization
        if found.result is None or found.result is BimiResult.DECLINED:
            found = _by_local_part(found, local_part, resolver, steps)
        return replace(found, steps=tuple(steps))
    name = record_name(selector, author)
    return Discovery(BimiResult.NONE, reason=f"there is no record at {name}", steps=tuple(steps))


def _at(selector: str, domain: str, resolver: Resolver, steps: list[tuple[str, str]]) -> Discovery | None:
    """What is published at one name; None if no BIMI record is."""
    name = record_name(selector, domain)
    answer = resolver.txt(name)
    if answer.status.failed:
        reason = f"{name}: {answer.status.value}"
        steps.append((name, answer.status.value))
        return Discovery(BimiResult.TEMPERROR, domain, selector, reason=f"look-up failed: {reason}")
    texts = answer.records if answer.status is Status.OK else ()
    found = [(text, record) for text in texts if (record := parse(text)) is not None]
    if not found:
        steps.append((name, "no record"))
        return None
    if len(found) > 1:
        # BIMI core §7.2: with several of them "BIMI processing MUST NOT be performed"
        reason = f"there are {len(found)} records at {name}"
        steps.append((name, f"{len(found)} records"))
        return Discovery(BimiResult.FAIL, domain, selector, reason=reason)
    text, record = found[0]
    steps.append((name, text.decode("utf-8", "replace")))
    if record.fault:
        return Discovery(BimiResult.FAIL, domain, selector, record, f"the record at {name}: {record.fault}")
    if record.declines:
        return Discovery(BimiResult.DECLINED, domain, selector, record, f"{domain} declines to publish an indicator")
    return Discovery(None, domain, selector, record)


def _by_local_part(found: Discovery, local_part: str, resolver: Resolver, steps: list[tuple[str, str]]) -> Discovery:
    """The record that lps= leads to, else `found` (BIMI core §4.5)."""
    if found.record.prefixes is None:
        return found
    selector = of_local_part(local_part, found.record.prefixes)
    if not selector or selector == found.selector:
        return found
    other = _at(selector, found.domain, resolver, steps)
    # BIMI core §7.2: "if a valid BIMI record is found then this should be used, if not" the first one; a look-up that
    # failed says neither
    if other is None or other.result is BimiResult.FAIL:
        return found
    return other
