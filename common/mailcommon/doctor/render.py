"""Findings as lines for people, as JSON, and as commands for a shell. Pure.

Security: values of main.cf, file names and what servers said are in the findings. `printable` makes one line of each,
and what goes to a shell is quoted.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence

import click

from mailcommon.doctor.findings import Finding, Fix, Level, Section, status

_MARKS = {  # what stands in front, and its colour on a terminal
    Level.OK: ("ok", "green"),
    Level.NOTE: ("note", "cyan"),
    Level.UNSEEN: ("unseen", "yellow"),
    Level.MEND: ("MEND", "red"),
}
_WIDTH = max(len(word) for word, _ in _MARKS.values())
_MAX_LINE = 1000  # characters: a list in main.cf may be very long


def printable(text: str) -> str:
    """`text` in one line; what is not printable is written as an escape."""
    cut = text if len(text) <= _MAX_LINE else f"{text[:_MAX_LINE]}..."
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in cut
    )


def commands(fixes: Iterable[Fix], config_directory: str = "") -> list[str]:
    """postconf(1) command lines, quoted for a shell, the same change once."""
    where = ["-c", config_directory] if config_directory else []
    return [
        shlex.join(["postconf", *where, fix.flag, fix.assignment])
        for fix in dict.fromkeys(fixes)
        if fix.assignment.isprintable()  # what is not cannot be in main.cf, and could not be read here
    ]


def as_text(sections: Iterable[Section], config_directory: str = "", *, quiet: bool = False) -> str:
    """One line for each finding, its cure below it; `quiet`: nothing of what is right."""
    lines: list[str] = []
    for section in sections:
        shown = [each for each in section.findings if not quiet or each.level is not Level.OK]
        if not shown:
            continue
        lines.append(click.style(section.area, bold=True))
        for finding in shown:
            lines.extend(_lines(finding, config_directory))
    return "\n".join(lines)


def _lines(finding: Finding, config_directory: str) -> Iterator[str]:
    word, colour = _MARKS[finding.level]
    mark = click.style(word.ljust(_WIDTH), fg=colour, bold=finding.level is Level.MEND)
    why = f": {finding.why}" if finding.why else ""
    ident = "" if finding.level is Level.OK else click.style(f" [{finding.id}]", dim=True)
    yield f"  {mark}  {printable(finding.text + why)}{ident}"
    cure = "; ".join(commands(finding.fixes, config_directory)) or printable(finding.cure)
    if cure:
        yield f"  {' ' * _WIDTH}  cure: {cure}"


def as_json(sections: Sequence[Section], config_directory: str = "") -> str:
    """One object: the exit status, and all findings in order."""
    return json.dumps(
        {
            "status": status(sections),
            "findings": [
                {
                    "area": section.area,
                    "id": finding.id,
                    "level": finding.level.value,
                    "text": finding.text,
                    "why": finding.why,
                    "cure": finding.cure,
                    "fix": commands(finding.fixes, config_directory),
                }
                for section in sections
                for finding in section.findings
            ],
        },
        indent=2,
    )


def as_script(sections: Iterable[Section], config_directory: str = "") -> str:
    """What a shell can run as it is: the commands that mend, and as comments what has to be done by hand."""
    wrong = [each for section in sections for each in section.findings if each.level is Level.MEND]
    lines = [f"# by hand: {printable(f'{each.text}: {each.cure}')}" for each in wrong if not each.fixes]
    changes = commands((fix for finding in wrong for fix in finding.fixes), config_directory)
    if changes:
        where = ["-c", config_directory] if config_directory else []
        lines.extend([*changes, shlex.join(["postfix", *where, "reload"])])
    return "\n".join(lines)
