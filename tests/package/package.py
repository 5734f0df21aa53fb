"""The package itself: built in a tree by a user without rights, and an older one made of it for upgrades."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.package.tree import BUILD_PACKAGES, Tree, run

SOURCE = Path(__file__).parent.parent.parent
OLD = "0.0.9"


def build(tree: Tree) -> Path:
    """Build it from the files of this working copy as they are; the tree, with pip's cache, may be used again."""
    home = tree.path("/home/builder")
    if not home.exists():
        tree.use_network()
        tree.install(*BUILD_PACKAGES)
        tree.use_network()  # ca-certificates has written its own file
        tree.chroot("useradd", "--create-home", "builder")
    shutil.rmtree(home / "source", ignore_errors=True)
    pip = Path.home() / ".config/pip/pip.conf"
    if pip.exists():
        tree.write("/home/builder/.config/pip/pip.conf", pip.read_text())
    (home / "source").mkdir()
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=SOURCE,
        check=True,
        capture_output=True,
    ).stdout
    listing = subprocess.run(
        ["tar", "-c", "--null", "-T", "-"], cwd=SOURCE, input=names, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(home / "source")], input=listing, check=True)
    tree.chroot("chown", "--recursive", "builder:", "/home/builder")
    # the usual compression takes as long as all the rest
    quick = "DPKG_DEB_COMPRESSOR_LEVEL=0"
    tree.chroot("env", quick, "make", "--directory=/home/builder/source", "deb", user="builder")
    (package,) = (home / "source/dist").glob("*.deb")
    return package


def older(package: Path, place: Path) -> Path:
    """The same as version 0.0.9, with a setting whose default has changed since and one file that is gone since."""
    folder = place / "older"
    run(["dpkg-deb", "--raw-extract", package, folder])
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {OLD}", control.read_text()))
    for daemon in ("authmilter", "tlspolicyd"):
        settings = folder / f"etc/gatepost/{daemon}.toml"
        settings.write_text(settings.read_text().replace("cache_entries = 50000", "cache_entries = 40000"))
    (folder / "usr/lib/gatepost/gone-since").write_text("")
    made = place / f"gatepost_{OLD}.deb"
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, made])
    return made
