"""The peers from Debian's packages, without letting their services loose on this host."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

_SERVICES = ("opendkim", "opendmarc", "rspamd")
_ROOT = Path(__file__).parent.parent


def _installed(package: str) -> bool:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False)
    return done.stdout.endswith("ok installed")


def install(tell: Callable[[str], None]) -> None:
    """Install what is missing, as root or through sudo; says what could not be done."""
    if not shutil.which("dpkg-query"):
        tell("No dpkg here: only the peers that are on this machine are measured.")
        return
    missing = [package for package in (*_SERVICES, "unbound") if not _installed(package)]
    if not missing:
        return
    wanted = list(missing)
    if "opendmarc" in missing and not any(_installed(f"dbconfig-{kind}") for kind in ("mysql", "no-thanks")):
        wanted.append("dbconfig-no-thanks")  # else a database client comes with it
    # the script keeps services from being started while packages are set up, and says what it cannot do
    subprocess.run([_ROOT / "tools" / "system-packages", *wanted], check=False)
    new = [package for package in _SERVICES if package in missing and _installed(package)]
    if new and shutil.which("systemctl"):
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        done = subprocess.run([*as_root, "systemctl", "disable", *new], capture_output=True, text=True, check=False)
        if done.returncode:
            tell(f"These services would start at the next boot (systemctl disable failed): {', '.join(new)}")
