"""Debian trees: a base made once by debootstrap and kept, and throw-away layers over it (overlayfs).

The caller runs in a mount namespace of its own, so that nothing stays mounted.

Diagnostics: `Unavailable` says what this machine lacks; a command that fails raises `Failed` with its last lines.
Limits: a base takes about three minutes and 350 MB once, in ~/.cache/gatepost/package ($GATEPOST_DEBIAN_MIRROR: from
there instead of debootstrap's own).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.processes import find_program

CACHE = Path.home() / ".cache/gatepost/package"
# what stands on the host before ours comes; nothing that our package must bring along by its dependencies
PACKAGES = "systemd,systemd-sysv,dbus,postfix,unbound,iproute2"
BUILD_PACKAGES = ["build-essential", "debhelper", "python3-dev", "python3-venv", "libmilter-dev"]
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(Exception):
    """A command failed, or the machine is not as it should be."""


def run(command: Sequence[str | Path], seconds: float = 1200.0, env: Mapping[str, str] | None = None) -> str:
    """Its standard output; both outputs in `Failed` if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds, env=env)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise Failed(f"{' '.join(words)[:300]}: exit status {done.returncode}\n{last}")
    return done.stdout + done.stderr


def base(suite: str) -> Path:
    """The tree of `suite`, made if it is not there."""
    path = CACHE / suite
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{suite}.new")
        shutil.rmtree(new, ignore_errors=True)
        mirror = [found] if (found := os.environ.get("GATEPOST_DEBIAN_MIRROR")) else []
        run(
            [
                find_program("debootstrap", "debootstrap"),
                "--variant=minbase",
                f"--include={PACKAGES}",
                suite,
                new,
                *mirror,
            ]
        )
        new.rename(path)
    return path


class Tree:
    """A layer over `lower`; everything written stays in `place`, which the caller removes."""

    def __init__(self, lower: Path, place: Path) -> None:
        self.root = place / "root"
        for folder in ("up", "work", "root"):
            (place / folder).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={place / 'up'},workdir={place / 'work'}"
        run(["mount", "-t", "overlay", "overlay", "-o", options, self.root])

    def path(self, name: str) -> Path:
        """Where `/name` of the tree is to be found from outside."""
        return self.root / name.removeprefix("/")

    def write(self, name: str, text: str) -> None:
        """Write a file of the tree."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)

    def use_network(self) -> None:
        """Names and certificates of this host, and how its pip and its APT come to packages."""
        for name in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"):
            if Path(name).exists():
                self.write(name, Path(name).read_text())

    def chroot(self, *command: str, user: str = "root", seconds: float = 1200.0) -> str:
        """Run a command in it, with the network of this host."""
        home = "/root" if user == "root" else f"/home/{user}"
        env = {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        # nothing starts services in there: PID 1 is not theirs
        return run(
            [
                "unshare",
                "--pid",
                "--fork",
                f"--mount-proc={self.root}/proc",
                "chroot",
                f"--userspec={user}",
                self.root,
                *command,
            ],
            seconds,
            env,
        )

    def install(self, *packages: str) -> None:
        """apt-get install."""
        self.chroot("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages)

    def close(self) -> None:
        """Take it apart; what was written stays in its folder."""
        run(["umount", "--lazy", self.root])
