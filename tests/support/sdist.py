"""Test data of other projects: fetched by package from their source distributions, kept beside the environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

_KEPT = Path(sys.prefix) / "suites"


def sdist_file(package: str, member: str) -> bytes:
    """One file of the source distribution of the installed version of `package`; skips the test if it cannot be had."""
    kept = _KEPT / f"{package}-{version(package)}" / member
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(_fetch(package, member))
    return kept.read_bytes()


def _fetch(package: str, member: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package}=={version(package)}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", wanted]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tar.gz"))
        if run.returncode or not archives:
            reason = f"the source distribution of {wanted} cannot be fetched: {run.stderr.strip()[-200:]}"
            if os.environ.get("GATEPOST_REQUIRE_ALL"):
                pytest.fail(reason)
            pytest.skip(reason)
        with tarfile.open(archives[0]) as archive:
            content = archive.extractfile(f"{package}-{version(package)}/{member}")
            assert content is not None
            return content.read()
