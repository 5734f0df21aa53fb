"""The DNS Tree Walk (RFC 9989 §4.10): which names are asked, and what was found there.

`walk_names` and `find_organization` are pure. `Book` is what one evaluation knows of the DNS: each name is asked
once at most, and only when somebody needs it. A name whose look-up failed counts as one without a record, and is noted
as `failed`, so that `evaluate` can find out whether it matters.
Limits: 8 names per walk.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from authmilter.dmarc.record import Record, parse
from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.resolver import Resolver

PREFIX = "_dmarc."
_MAX_LABELS = 8
_CACHED_BYTES = 1024  # of the TXT records of one name: what is longer is parsed each time


class Records(Protocol):
    """Where the records of a walk come from."""

    def at(self, name: str) -> Record | None:
        """The one record at `name`."""
        ...


@functools.lru_cache(maxsize=4096)
def walk_names(domain: str) -> tuple[str, ...]:
    """The names of a whole walk from `domain` (A-labels), the domain first, the top-level domain last; 8 at most."""
    labels = domain.split(".")
    # RFC 9989 §4.10 step 4: of 8 labels and more the rightmost 7 are left, of fewer all but one
    first = max(1, len(labels) - _MAX_LABELS + 1)
    return (domain, *(".".join(labels[start:]) for start in range(first, len(labels))))


class Organization(NamedTuple):
    """Where a name belongs in the tree."""

    domain: str  # the Organizational Domain
    psd: str = ""  # the Public Suffix Domain right above it, if its record ended the walk


def find_organization(domain: str, records: Records) -> Organization:
    """The Organizational Domain of `domain` (RFC 9989 §4.10.2), asking `records` for one name after the other.

    The walk and the choice are one loop: both go from the longest name to the shortest, and what stops the walk also
    decides the choice.
    """
    shortest = domain  # RFC 9989 §4.10.2: without any record "the initial target domain is the Organizational Domain"
    for name in walk_names(domain):
        record = records.at(name)
        if record is None:
            continue
        if record.psd == "n":
            return Organization(name)  # RFC 9989 §4.10.2 rule 1
        if record.psd == "y":
            # RFC 9989 §4.10.2 rule 2: not for the name where the walk started; §4.10 step 2: there the walk ends
            return Organization(name) if name == domain else Organization(_one_below(domain, name), name)
        shortest = name  # RFC 9989 §4.10.2 rule 3
    return Organization(shortest)


def _one_below(domain: str, parent: str) -> str:
    """The ancestor of `domain` that has one label more than `parent`, whether it was asked or not."""
    labels = domain.split(".")
    return ".".join(labels[-parent.count(".") - 2 :])


def select_record(txts: tuple[bytes, ...]) -> Record | None:
    """The record of a name from all its TXT records (RFC 9989 §4.10 steps 2 and 6); `Record.fault` is kept."""
    if sum(map(len, txts)) > _CACHED_BYTES:
        return _select(txts)
    return _select_cached(txts)


def _select(txts: tuple[bytes, ...]) -> Record | None:
    found = [record for txt in txts if (record := parse(txt)) is not None]
    if len(found) > 1:
        return Record(fault=f"there are {len(found)} DMARC records")
    return found[0] if found else None


_select_cached = functools.lru_cache(maxsize=4096)(_select)


class Book:
    """What one evaluation knows of the DNS."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._answers: dict[str, Answer[bytes]] = {}
        self._assumed: Mapping[str, Record | None] = {}
        self.failed: dict[str, str] = {}  # names needed since `assume` whose look-up failed: the look-up and why
        self.faults: dict[str, str] = {}  # names whose records count as absent, and why

    def at(self, name: str) -> Record | None:
        """The record at `name`, or what is assumed of it. None: there is none, or it could not be looked up."""
        answer = self._txt(PREFIX + name)
        if answer.status is Status.OK:
            record = select_record(answer.records)
            if record is not None and record.fault:
                self.faults[name] = record.fault
                return None
            return record
        if answer.status.failed:
            if name in self._assumed:
                return self._assumed[name]
            self.failed[name] = f"{PREFIX}{name}: {answer.status.value}"
        return None

    def exists(self, domain: str) -> bool:
        """RFC 9989 §3.2.13: a name does not exist if a query for it came back as NXDOMAIN; RFC 8020 §2.

        If the look-up failed, what is assumed of it: True, or what `assume` was told for the name with a final dot.
        """
        # RFC 8020 §2: a name with another one below it exists
        below = self._txt(PREFIX + domain)
        if not below.status.failed and is_existing(below):
            return True
        answer = self._txt(domain)
        if answer.status.failed:
            key = domain + "."
            if key in self._assumed:
                return self._assumed[key] is not None
            self.failed[key] = f"{domain}: {answer.status.value}"
            return True
        return is_existing(answer)

    def assume(self, assumed: Mapping[str, Record | None]) -> None:
        """Begin anew, with these records at names whose look-up failed."""
        self._assumed = assumed
        self.failed = {}

    def _txt(self, name: str) -> Answer[bytes]:
        answer = self._answers.get(name)
        if answer is None:
            answer = self._answers[name] = self._resolver.txt(name)
        return answer


def is_existing(answer: Answer[bytes]) -> bool:
    """RFC 9989 §3.2.13, §A.4: does the name asked for exist? The one place that knows; `answer` must not have failed.

    An alias that leads to nothing comes back as NXDOMAIN (RFC 6604 §3), and the name asked for exists.
    """
    return answer.status is not Status.NXDOMAIN or answer.alias
