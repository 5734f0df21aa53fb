"""The load generators are C: compiled once per run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.processes import Unavailable


def compile_c(source: str, directory: Path) -> Path:
    """Compile `source`, a file of this folder, into `directory`; raises Unavailable without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("no C compiler (Debian: apt-get install gcc libc6-dev)")
    program = directory / Path(source).stem
    subprocess.run([compiler, "-O2", "-Wall", "-o", program, Path(__file__).with_name(source)], check=True)
    return program
