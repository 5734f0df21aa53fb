"""`make try-package`: build the package in Debian 12 and 13 and live through its life under a real systemd.

    python -m tests.package [bookworm] [trixie]
    python -m tests.package bookworm=FILE      # a package that is built already

For each: build without root; then in a machine with Postfix, booted: install an older version, mail flows; wire
Postfix, mail is judged; upgrade while mail comes in; downgrade; upgrade; the watchdog; boot again; remove; install;
purge. Each step is checked.

It ends with status 1 at the first thing that is not as it should be.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.package.life import live
from tests.package.package import build, install_and_uninstall, older
from tests.package.tree import CACHE, Failed, Tree, base, run
from tests.support.processes import Unavailable

SUITES = ("bookworm", "trixie")


def say(text: str) -> None:
    """One line for the user, at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def try_suite(suite: str, built: Path | None, place: Path) -> None:
    """Raises `Failed`."""
    say(f"{suite}: the tree")
    lower = base(suite)
    if built is None:
        say(f"{suite}: build")
        builder = Tree(lower, CACHE / f"{suite}-build")
        built = build(builder)
        say(f"{suite}: make install, make uninstall")
        install_and_uninstall(builder)
    package = place / built.name
    shutil.copy(built, package)
    say(f"{suite}: {package.name}, {package.stat().st_size / 1e6:.1f} MB")
    old = older(package, place)
    tree = Tree(lower, place / "machine")
    live(tree, package, old, lambda text: say(f"{suite}: {text}"))
    tree.close()


def main() -> None:
    """Try each suite named on the command line, or all."""
    if os.geteuid() != 0:
        sys.exit("make try-package: machines of their own take root")
    # so that nothing stays mounted, whatever happens
    if os.environ.get("GATEPOST_OWN_MOUNTS") != str(os.getpid()):
        os.environ["GATEPOST_OWN_MOUNTS"] = str(os.getpid())
        os.execvp("unshare", ["unshare", "--mount", sys.executable, "-m", "tests.package", *sys.argv[1:]])
    place = Path(tempfile.mkdtemp(prefix="gatepost-package-", dir="/var/tmp"))
    try:
        for word in sys.argv[1:] or SUITES:
            suite, _, built = word.partition("=")
            (place / suite).mkdir()
            try_suite(suite, Path(built) if built else None, place / suite)
    except (Failed, Unavailable) as fault:
        sys.exit(f"make try-package: {fault}")
    finally:
        run(["sh", "-c", f"umount --lazy {place}/*/*/root {CACHE}/*-build/root 2>/dev/null || true"])
        shutil.rmtree(place, ignore_errors=True)
    say("all is as it should be")


main()
