"""A finding: what one rule says about the host. Pure.

The exit status is made for monitoring: 0 nothing to mend, 1 something to mend, 2 something could not be looked at and
nothing that could be is wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

ALL_RIGHT, TO_MEND, NOT_SEEN = 0, 1, 2


class Level(enum.StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing, nothing is wrong: the exit status stays 0
    UNSEEN = "unseen"  # could not be looked at
    MEND = "mend"


@dataclass(frozen=True, slots=True)
class Fix:
    """One change that postconf(1) makes: `flag` is -e (main.cf), -P (an option in master.cf) or -F (a column there)."""

    flag: str
    assignment: str  # not quoted yet


@dataclass(frozen=True, slots=True)
class Finding:
    """Text from outside may be in all of it: `render` makes it safe."""

    id: str  # stable word, for --ignore and for scripts
    level: Level
    text: str  # what is so
    why: str = ""  # what comes of it, in a few words
    cure: str = ""  # what to do, where `fixes` do not say it
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """The findings of one area."""

    area: str
    findings: tuple[Finding, ...]


def right(ident: str, text: str) -> Finding:
    """All is as it should be."""
    return Finding(ident, Level.OK, text)


def note(ident: str, text: str, why: str = "", cure: str = "") -> Finding:
    """Worth knowing."""
    return Finding(ident, Level.NOTE, text, why, cure)


def unseen(ident: str, text: str, cure: str = "") -> Finding:
    """Nothing can be said."""
    return Finding(ident, Level.UNSEEN, text, "", cure)


def mend(ident: str, text: str, why: str, cure: str) -> Finding:
    """Wrong, and mended by hand."""
    return Finding(ident, Level.MEND, text, why, cure)


def mend_by(ident: str, text: str, why: str, *fixes: Fix) -> Finding:
    """Wrong, and mended by postconf."""
    return Finding(ident, Level.MEND, text, why, "", fixes)


def main_cf(name: str, value: str) -> Fix:
    """Set a parameter of main.cf."""
    return Fix("-e", f"{name} = {value}".rstrip())


def status(sections: Iterable[Section]) -> int:
    """The exit status."""
    levels = {finding.level for section in sections for finding in section.findings}
    if Level.MEND in levels:
        return TO_MEND
    return NOT_SEEN if Level.UNSEEN in levels else ALL_RIGHT


def without(sections: Iterable[Section], ignored: frozenset[str]) -> tuple[Section, ...]:
    """The sections without the findings that are to be passed over."""
    return tuple(
        Section(section.area, tuple(each for each in section.findings if each.id not in ignored))
        for section in sections
    )
