"""A private Postfix that a test breaks by postconf(1), looks at through `doctor`, and mends by what that prints.

    host = Doctored(postfix, folder)
    host.change("-e", "milter_default_action = accept")
    host.run(script)                # a shell runs it with this instance's postconf on PATH
    host.restore()

A `doctor` that is called in this process, or in one with `host.path` as PATH, finds the same postconf.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from mailcommon.doctor.findings import Finding, Level, Section
from tests.support.postfix import PrivatePostfix
from tests.support.postfix_installation import HOST, Installation

_FILES = ("main.cf", "master.cf")

W = TypeVar("W")


def on_each_postfix(
    make: Callable[[Installation, Path], Iterator[W]],
    request: pytest.FixtureRequest,
    folders: pytest.TempPathFactory,
) -> Iterator[Callable[[str], W]]:
    """For a fixture: a function that gives what `make` yields for "host" or "3.10", made when it is asked for."""
    made: dict[str, W] = {}
    running: list[Iterator[W]] = []

    def get(name: str) -> W:
        if name not in made:
            installation = request.getfixturevalue("debian_13") if name == "3.10" else HOST
            running.append(make(installation, folders.mktemp("doctor")))
            made[name] = next(running[-1])
        return made[name]

    yield get
    for each in running:
        next(each, None)


class Doctored:
    """One instance, running or not, whose configuration has been written."""

    def __init__(self, postfix: PrivatePostfix, folder: Path) -> None:
        """folder: for the programs that PATH leads to."""
        self.config = str(postfix.config_directory)
        self._directory = postfix.config_directory
        self._saved = {name: (self._directory / name).read_bytes() for name in _FILES}
        for name in ("postconf", "postfix"):
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec {shlex.join(postfix.installation.command(name))} "$@"\n')
            script.chmod(0o755)
        self.path = f"{folder}:{os.environ['PATH']}"

    def change(self, *arguments: str) -> None:
        """postconf with these arguments."""
        self._run(["postconf", "-c", self.config, *arguments])

    def run(self, script: str) -> None:
        """What `--fix-print` prints."""
        self._run(["sh", "-e", "-c", script])

    def _run(self, command: Sequence[str]) -> None:
        env = {**os.environ, "PATH": self.path}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, (command, done.stderr)
        self._age()

    def restore(self) -> None:
        """The configuration as it was at first."""
        for name, text in self._saved.items():
            (self._directory / name).write_bytes(text)
        self._age()

    def _age(self) -> None:
        past = time.time() - 60
        for name in _FILES:
            # Postfix waits up to two seconds before it believes in a file that was changed just now
            os.utime(self._directory / name, (past, past))


def wrong(sections: Sequence[Section]) -> dict[str, Finding]:
    """What is to be mended, by its word."""
    return {each.id: each for section in sections for each in section.findings if each.level is Level.MEND}


def level_of(sections: Sequence[Section], ident: str) -> Level | None:
    """The level of the finding with this word, None if there is none."""
    return next((each.level for section in sections for each in section.findings if each.id == ident), None)
