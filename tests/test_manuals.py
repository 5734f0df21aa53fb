"""The manual pages: what is made from elsewhere is up to date, all of it is there, and the pages render cleanly."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from tests.support.requirements import require
from tools.manuals.commands import leaves
from tools.manuals.pages import DOCS, IN_SECTION_8, PROGRAMS, written

PAGES = sorted(DOCS.glob("*.[158]"))
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@pytest.fixture
def mandoc() -> None:
    require("" if shutil.which("mandoc") else "mandoc is not installed")


@pytest.fixture
def man() -> None:
    require("" if shutil.which("man") and shutil.which("groff") else "man-db or groff is not installed")


with_mandoc = pytest.mark.usefixtures("mandoc")
with_man = pytest.mark.usefixtures("man")


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for program, (group, _) in PROGRAMS.items():
        yield from leaves(group, (program,))


def keys(model: type[BaseModel], table: str = "") -> Iterator[tuple[str, str]]:
    for key, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, key)
        else:
            yield table, key


def shown(page: Path) -> str:
    done = subprocess.run(
        ["mandoc", "-T", "utf8", "-O", "width=100", page], capture_output=True, text=True, check=True, timeout=30
    )
    return re.sub(".\x08", "", done.stdout)  # bold and underlined by overstriking


def test_the_pages_are_up_to_date() -> None:
    stale = [path.name for path, text in written().items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "python -m tools.manuals writes them"


def test_no_page_is_of_a_command_that_is_gone() -> None:
    assert set(PAGES) == set(written())


@with_mandoc
@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_option_of_a_command_is_in_its_page(path: tuple[str, ...]) -> None:
    program, name = path[:2]
    text = shown(DOCS / (f"{program}.8" if name in IN_SECTION_8 else f"{program}-{name}.1"))
    synopsis = text.partition("SYNOPSIS")[2].partition("DESCRIPTION")[0]
    assert " ".join(path) in " ".join(synopsis.split())
    command = dict(commands())[path]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in text
            if name not in IN_SECTION_8:
                assert re.search(rf"^ +{re.escape(parameter.opts[0])}\b", text, re.MULTILINE), "it is not explained"


@with_mandoc
@pytest.mark.parametrize(
    ("program", "table", "key"),
    [(program, *place) for program, (_, model) in PROGRAMS.items() for place in keys(model)],
)
def test_every_key_of_the_settings_is_in_its_page(program: str, table: str, key: str) -> None:
    text = shown(DOCS / f"{program}.toml.5")
    heading = f"[{table}]" if table else "The top of the file"
    part = re.split(r"^   (?=\S)", text, flags=re.MULTILINE)
    section = next(one for one in part if one.startswith(heading))
    assert re.search(rf"^ +{key}( = .*)?$|\[{table}\.{key}(\.NAME)?\]", section, re.MULTILINE)


@with_mandoc
@pages
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, timeout=30)
    assert done.stdout == ""


@with_man
@pages
def test_man_warns_of_nothing(page: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings=w", "-E", "UTF-8", "-l", page],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "EXIT STATUS" in done.stdout or page.suffix == ".5"


@pages
def test_the_pages_that_are_named_exist(page: Path) -> None:
    for name, section in re.findall(
        r"^\.Xr ((?:authmilter|tlspolicyd)\S*) ([158])", page.read_text("utf-8"), re.MULTILINE
    ):
        assert (DOCS / f"{name}.{section}").exists()
