"""Authenticated Identifiers out of the SPF and DKIM facts, and their alignment (RFC 9989 §4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from authmilter.dmarc.walk import Records, find_organization
from authmilter.facts import DkimFact, DkimResult, SpfFact, SpfResult

MAX_WALKS = 10  # identifiers of one message that may cost a walk; the standard bounds walks (§4.10), not their number


class Identifiers(NamedTuple):
    """Domains, without repetition, in order of appearance."""

    spf: tuple[str, ...]  # passed
    dkim: tuple[str, ...]  # passed
    undecided_spf: tuple[str, ...]  # could not be checked now
    undecided_dkim: tuple[str, ...]


def identifiers(spf: Sequence[SpfFact], dkim: Sequence[DkimFact]) -> Identifiers:
    """RFC 9989 §4.4.2: of SPF only the MAIL FROM identity counts; §4.4.1: of DKIM each signature that passed."""
    return Identifiers(
        _domains(fact.domain for fact in spf if fact.scope == "mfrom" and fact.result is SpfResult.PASS),
        _domains(fact.domain for fact in dkim if fact.result is DkimResult.PASS),
        _domains(fact.domain for fact in spf if fact.scope == "mfrom" and fact.result is SpfResult.TEMPERROR),
        _domains(fact.domain for fact in dkim if fact.result is DkimResult.TEMPERROR),
    )


def _domains(domains: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(domain for domain in domains if domain))


class Alignment:
    """Which domains are aligned with one Author Domain. Walks only as far as an answer needs it."""

    def __init__(self, author: str, records: Records) -> None:
        self._author = author
        self._records = records
        self._organization = ""
        self._walks = 0

    def first_aligned(self, domains: Sequence[str], mode: str) -> str:
        """One of the domains that is aligned in mode "r" or "s" (RFC 9989 §3.2.10), "" if none is."""
        if self._author in domains:
            return self._author  # RFC 9989 §4.10.2: identical, no walk needed
        if mode == "s":
            return ""
        return next((domain for domain in domains if self._relaxed(domain)), "")

    def _relaxed(self, domain: str) -> bool:
        if not self._organization:
            self._organization = find_organization(self._author, self._records).domain
        # Every walk from `domain` ends with it or a name above it, and that of an Organizational Domain with itself.
        # So most strangers, and those who sign for their whole organization, cost no walk.
        if domain == self._organization:
            return True
        if not domain.endswith("." + self._organization):
            return False
        self._walks += 1
        if self._walks > MAX_WALKS:
            return False
        return find_organization(domain, self._records).domain == self._organization
