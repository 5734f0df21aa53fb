"""Which pages there are, and what their regions hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from authmilter import cli as milter_cli
from authmilter import settings as milter_settings
from mailcommon.settings import Section
from tlspolicyd import cli as daemon_cli
from tlspolicyd import settings as daemon_settings
from tools.manuals import commands
from tools.manuals.settings_page import settings

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PROGRAMS: dict[str, tuple[click.Group, type[Section]]] = {
    "authmilter": (milter_cli.main, milter_settings.Settings),
    "tlspolicyd": (daemon_cli.main, daemon_settings.Settings),
}
IN_SECTION_8 = ("serve", "config")  # commands that the daemon's own page explains
_DATE = "November 28, 2026"

_NEW = """\
.Dd {date}
.Dt {title} 1
.Os
.Sh NAME
.Nm {name}
.Nd {summary}
.Sh SYNOPSIS
.\\" begin synopsis
.\\" end synopsis
.Sh DESCRIPTION
.\\" begin options
.\\" end options
.Sh EXIT STATUS
0 if the command did its work, 1 if it could not or found something wrong, 2 if the settings or the command line are
wrong.
.Sh SEE ALSO
.Xr {program}.toml 5 ,
.Xr {program} 8
"""


def written(folder: Path = DOCS) -> dict[Path, str]:
    """Every page as it should be, by its file."""
    done = {}
    for program, (group, model) in PROGRAMS.items():
        top = commands.top_level(group)
        done[folder / f"{program}.8"] = _filled(folder / f"{program}.8", "", _section_8(program, top))
        done[folder / f"{program}.toml.5"] = _filled(
            folder / f"{program}.toml.5",
            "",
            {"settings": settings((ROOT / "conf" / f"{program}.toml").read_text(encoding="utf-8"), model)},
        )
        for name, command in top.items():
            if name not in IN_SECTION_8:
                page = f"{program}-{name}"
                summary = commands.summary(command).rstrip(".")
                new = _NEW.format(
                    date=_DATE,
                    title=page.upper(),
                    name=page,
                    summary=summary if summary[1:2].isupper() else summary[:1].lower() + summary[1:],
                    program=program,
                )
                done[folder / f"{page}.1"] = _filled(folder / f"{page}.1", new, _section_1((program, name), command))
    return done


def _section_8(program: str, top: dict[str, click.Command]) -> dict[str, Iterable[str]]:
    def synopsis() -> Iterator[str]:
        for name in IN_SECTION_8:
            yield from commands.synopsis((program, name), top[name])
        for name in top:
            if name not in IN_SECTION_8:
                yield f".Nm {program}"
                yield f".Cm {name}"
                yield ".Ar ..."

    def listed() -> Iterator[str]:
        yield '.Bl -tag -width "config"'
        for name in (*IN_SECTION_8, *(name for name in top if name not in IN_SECTION_8)):
            yield f".It Cm {name}"
            yield commands.summary(top[name])
            if name not in IN_SECTION_8:
                yield "See"
                yield f".Xr {program}-{name} 1 ."
        yield ".El"

    return {"synopsis": synopsis(), "commands": listed()}


def _section_1(path: commands.Path, command: click.Command) -> dict[str, Iterable[str]]:
    found = list(commands.leaves(command, path))

    def explained() -> Iterator[str]:
        for words, leaf in found:
            if len(found) > 1:
                yield f".Ss {' '.join(words)}"
            yield from commands.options(words, leaf)

    return {
        "synopsis": (line for words, leaf in found for line in commands.synopsis(words, leaf)),
        "options": explained(),
    }


def _filled(path: Path, new: str, regions: dict[str, Iterable[str]]) -> str:
    text = path.read_text(encoding="utf-8") if path.exists() else new
    for name, lines in regions.items():
        begin, end = f'.\\" begin {name}\n', f'.\\" end {name}\n'
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        content = begin + "".join(f"{line}\n" for line in lines) + end
        text, count = pattern.subn(lambda _, content=content: content, text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{path}: the lines '{begin.strip()}' and '{end.strip()}' are needed once each")
    return text
