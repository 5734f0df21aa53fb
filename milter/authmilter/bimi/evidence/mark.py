"""A mark certificate (VMC or CMC): a document in, every check with its outcome and, if all passed, a `Mark` out.

The checks are those of BIMI evidence §5 but for revocation, which needs lists that are fetched: see `crl`.
Pure: the time is handed in.

Diagnostics: `Examination.fault` is the first check that failed, for people; nothing is raised.
Limits: as in `document`, `logs` and `indicator`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from authmilter.bimi import names
from authmilter.bimi.evidence import crl, logs
from authmilter.bimi.evidence.document import UNREADABLE, Document, read_document
from authmilter.bimi.evidence.logotype import embedded_svg
from authmilter.bimi.evidence.path import Chain, find_path, has_usage
from authmilter.bimi.indicator import Indicator, read_indicator
from authmilter.bimi.settings import MarkSettings
from mailcommon.names import to_alabel


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    fault: str  # "" if it passed
    detail: str = ""  # what was found, for people
    temporary: bool = False  # another look may have another outcome


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark certificate that passed every check but those that depend on the message."""

    indicator: Indicator
    domains: tuple[str, ...]  # dNSName, A-labels, lower case
    mark_type: str
    begins: float  # unix seconds in which the whole chain is valid
    ends: float
    chain: Chain

    def refusal(self, now: float) -> str:
        """Why it does not count at the time `now`, "" if it does."""
        if now < self.begins:
            return f"it is not valid before {_day(self.begins)}"
        return f"it has expired on {_day(self.ends)}" if now > self.ends else ""


@dataclass(frozen=True, slots=True)
class Examination:
    """All checks in their order; what comes after one that the rest builds on is left out."""

    checks: tuple[Check, ...]
    mark: Mark | None = None
    leaf: x509.Certificate | None = None
    svg: bytes = b""  # of the logotype, whether it is allowed or not
    domains: tuple[str, ...] = ()  # as in Mark, whatever else is wrong

    @property
    def fault(self) -> str:
        """The first thing that is wrong, "" if nothing is."""
        return next((check.fault for check in self.checks if check.fault), "")


def examine(pem: bytes, settings: MarkSettings, now: float) -> Examination:
    """Everything about an evidence document at the time `now` (unix seconds)."""
    document = read_document(pem)
    if isinstance(document, str):
        return Examination((Check("document", document),))
    try:
        return _examine(document, settings, now)
    except UNREADABLE:
        return Examination((Check("document", "a certificate cannot be read"),))


def _examine(document: Document, settings: MarkSettings, now: float) -> Examination:
    leaf = document.leaf
    count = 1 + len(document.issuers)
    checks = [Check("document", "", f"{count} certificates, the mark certificate is {_subject(leaf)}")]
    chain = find_path(leaf, document.issuers, settings.roots, now)
    checks += _about(leaf, settings, now)
    checks.append(_path_check(chain))
    if not isinstance(chain, str):
        fault = logs.refusal(leaf, chain[1], settings.logs, now)
        checks.append(Check("transparency", fault, f"timestamps of logs: {len(logs.timestamps(leaf))}"))
    svg = _logotype(leaf)
    domains = _domains(leaf)
    checks.append(Check("names", "" if domains else "it names no domain", ", ".join(domains[:10])))
    if isinstance(svg, str):
        return Examination((*checks, Check("logotype", svg)), leaf=leaf, domains=domains)
    checks.append(Check("logotype", "", f"an SVG of {len(svg)} octets, its hashes are right"))
    indicator = read_indicator(svg)
    checks.append(Check("indicator", f"its logo: {indicator}" if isinstance(indicator, str) else "", "SVG Tiny PS"))
    found = Examination(tuple(checks), None, leaf, svg, domains)
    if found.fault or isinstance(indicator, str) or isinstance(chain, str):
        return found
    begins = max(each.not_valid_before_utc.timestamp() for each in chain)
    ends = min(each.not_valid_after_utc.timestamp() for each in chain)
    mark = Mark(indicator, domains, mark_type(leaf), begins, ends, chain)
    return replace(found, mark=mark)


def _about(leaf: x509.Certificate, settings: MarkSettings, now: float) -> Iterator[Check]:
    """What the mark certificate says of itself."""
    usage = "" if has_usage(leaf) else "it is not for brand indicators (extended key usage)"
    yield Check("usage", usage, names.MARK_USAGE)
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    fault = f"it is not valid before {_day(begins)}" if now < begins else ""
    fault = f"it has expired on {_day(ends)}" if now > ends else fault
    yield Check("validity", fault, f"{_day(begins)} to {_day(ends)}")
    kind = mark_type(leaf)
    fault = ""
    if not settings.common_marks and kind not in names.VERIFIED_MARKS:
        fault = f"a certificate for a {kind or 'mark of unknown kind'} is not accepted here"
    yield Check("mark type", fault, kind or "not said")
    # BIMI evidence §5.1 step 3: it "MUST identify the CRL"
    lists = crl.locations(leaf)
    yield Check("revocation list", "" if lists else "it names no revocation list", ", ".join(lists[:3]))


def _path_check(chain: Chain | str) -> Check:
    if isinstance(chain, str):
        return Check("issuer", chain)
    return Check("issuer", "", " <- ".join(_subject(each) for each in chain[1:]))


def _logotype(leaf: x509.Certificate) -> bytes | str:
    for extension in leaf.extensions:
        if extension.oid.dotted_string == names.LOGOTYPE:
            return embedded_svg(extension.value.public_bytes())
    return "it has no logotype extension"


def mark_type(leaf: x509.Certificate) -> str:
    """The kind of mark, as the subject has it: "Registered Mark"; "" if it does not say, or says something else."""
    for attribute in leaf.subject:
        if attribute.oid.dotted_string == names.MARK_TYPE and isinstance(attribute.value, str):
            kind = attribute.value
            return kind if kind in (*names.VERIFIED_MARKS, *names.COMMON_MARKS) else ""
    return ""


def _domains(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        value = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    # RFC 5280 §7.2: names are compared as A-labels
    found = (to_alabel(name) for name in value.get_values_for_type(x509.DNSName))
    return tuple(dict.fromkeys(name for name in found if name))


def covers(domains: Iterable[str], domain: str, selector: str) -> str:
    """Why names of a certificate do not fit a record, "" if one does (BIMI evidence §5.2).

    `domain` and `selector` are where the record was found. The domain alone fits every selector; no wildcards, nothing
    below the names.
    """
    names_ = tuple(domains)
    if f"{selector}.{names.LABEL}.{domain}" in names_ or domain in names_:
        return ""
    return f"it is for {', '.join(names_[:3])}, not for {domain}" + (f" with selector {selector}" if selector else "")


def _subject(certificate: x509.Certificate) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := certificate.subject.get_attributes_for_oid(kind):
            shown = str(found[0].value)
            break
    else:
        shown = certificate.subject.rfc4514_string()
    return "".join(character if character.isprintable() else " " for character in shown[:100])


def _day(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%F}"
