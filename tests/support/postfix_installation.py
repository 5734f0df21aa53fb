"""Where a private Postfix's programs come from: this host's packages, or a Debian tree in a folder.

    HOST.command("postqueue", "-p")
    debian_tree()          # Postfix 3.10 of Debian 13, made by debootstrap at the first call and kept

The tree is kept in $GATEPOST_DEBIAN_TREE, by default ~/.cache/gatepost/trixie; its packages come from
$GATEPOST_DEBIAN_MIRROR, by default debootstrap's own. Its programs run chrooted in it, so what they are to see must lie
below it: `make_base` gives a directory that has one name inside and outside.

    python -m tests.support.postfix_installation      # makes the tree ahead of the tests

Diagnostics: `Unavailable` says what this machine lacks.
Limits: debootstrap took 45 seconds and 280 MB; within a test it may take less than a test's time limit.
"""

from __future__ import annotations

import fcntl
import functools
import grp
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Unavailable, find_program

SUITE = "trixie"  # Debian 13


@dataclass(frozen=True, slots=True)
class Installation:
    """One set of Postfix's programs. `root`: the tree in which they run chrooted, None = this host."""

    root: Path | None = None

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line that runs one of its programs (a name, or a path within the tree)."""
        if self.root is None:
            return [program if "/" in program else find_program(program, "postfix"), *arguments]
        return [find_program("chroot", "coreutils"), str(self.root), program, *arguments]

    def compiled_default(self, name: str) -> str:
        """The compiled-in default of a setting: no main.cf is looked at."""
        return _compiled_default(self, name)

    @property
    def version(self) -> tuple[int, ...]:
        """Such as (3, 10, 13)."""
        return tuple(int(part) for part in self.compiled_default("mail_version").split("-")[0].split("."))

    def user_id(self, name: str) -> int:
        """Number of a user in this installation; raises `KeyError`."""
        return pwd.getpwnam(name).pw_uid if self.root is None else _number(self.root / "etc/passwd", name)

    def group_id(self, name: str) -> int:
        """Number of a group in this installation; raises `KeyError`."""
        if self.root is None:
            return grp.getgrnam(name).gr_gid
        return _number(self.root / "etc/group", name)

    def make_base(self) -> Path:
        """A new directory below /tmp whose name means the same to these programs and to us.

        /tmp and not $TMPDIR: Postfix's users must be able to walk in, and socket names have at most 107 octets.
        """
        if self.root is None:
            return Path(tempfile.mkdtemp(prefix="gatepost-", dir="/tmp"))
        base = Path(f"/tmp/gatepost-{secrets.token_hex(5)}")
        inside = self.root / base.relative_to("/")
        inside.mkdir(mode=0o700)
        base.symlink_to(inside)
        return base

    def remove_base(self, base: Path) -> None:
        """Remove what `make_base` made, with all that is in it."""
        shutil.rmtree(base.resolve(), ignore_errors=True)
        if base.is_symlink():
            base.unlink()


HOST = Installation()


@functools.cache
def _compiled_default(installation: Installation, name: str) -> str:
    # In an empty environment, because a MAIL_CONFIG of the caller would lead to another instance.
    command = installation.command("postconf", "-d", "-h", name)
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(command, env=path, check=True, capture_output=True, text=True).stdout.strip()


def _number(book: Path, name: str) -> int:
    for line in book.read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2])
    raise KeyError(name)


def tree_path() -> Path:
    """Where the Debian tree is kept."""
    return Path(os.environ.get("GATEPOST_DEBIAN_TREE") or Path.home() / ".cache/gatepost" / SUITE)


def debian_tree(seconds: float = 100.0) -> Installation:
    """Postfix of Debian 13 in its folder, made within `seconds` if it is not there; raises `Unavailable`."""
    if os.geteuid() != 0:
        raise Unavailable("another Postfix runs chrooted in a folder, which takes root")
    path = tree_path()
    program = find_program("debootstrap", "debootstrap")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "usr/sbin/postfix").exists():
            _make_tree(program, path, seconds)
    return Installation(path)


def _make_tree(program: str, path: Path, seconds: float) -> None:
    """Fill a folder beside `path` and rename it at the end, so that `path` is whole or not there."""
    mirror = os.environ.get("GATEPOST_DEBIAN_MIRROR")
    beside = path.with_name(f"{path.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    make = [program, "--variant=minbase", "--include=postfix", SUITE, str(beside), *([mirror] if mirror else [])]
    # What debootstrap mounts goes with its processes, however they end: the folder is removed at the next try.
    command = ["timeout", "--kill-after=5", f"{seconds:g}", "unshare", "--mount", *make]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode in (124, 137):
        raise Unavailable(f"debootstrap of Debian {SUITE} took more than {seconds:g} s")
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise Unavailable(f"debootstrap of Debian {SUITE} failed: {' / '.join(last)}")
    beside.rename(path)


if __name__ == "__main__":
    print(debian_tree(1800.0).root)
