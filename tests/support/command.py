"""The command `authmilter` as a user runs it: a process of its own, its output and its exit status."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.daemon_process import toml
from tests.support.milter_daemon import program

SECONDS = 20.0  # none of these commands takes a second; a busy machine may


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command."""

    status: int
    out: str
    err: str

    def refused(self) -> str:
        """The one line on standard error of a command that could not be carried out."""
        assert self.status == 2, self
        assert not self.out, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("authmilter: "), self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("authmilter: ")


def authmilter(*words: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
    """Run it to its end; raises subprocess.TimeoutExpired."""
    done = subprocess.run([program(), *words], input=stdin, capture_output=True, timeout=SECONDS, env=env, check=False)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "backslashreplace"))


def write_settings(folder: Path, tables: Mapping[str, Any]) -> Path:
    """A settings file in `folder`."""
    path = folder / "authmilter.toml"
    path.write_text(toml(tables))
    return path
