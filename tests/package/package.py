"""The package itself: built in a tree by a user without rights, and an older one made of it for upgrades."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.package.tree import BUILD_PACKAGES, Failed, Tree, run

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


def install_and_uninstall(tree: Tree) -> None:
    """`make install` into a folder and `make uninstall` from it, in the tree in which the package was built."""
    stage = "/home/builder/stage"
    shutil.rmtree(tree.path(stage), ignore_errors=True)
    make = ["make", "--directory=/home/builder/source", "PREFIX=/opt/gatepost", f"DESTDIR={stage}"]
    tree.chroot(*make, "install", user="builder")
    place = tree.path(stage)
    there = {f"/{path.relative_to(place)}" for path in place.rglob("*") if not path.is_dir()}
    for name in ("sbin/authmilter", "lib/systemd/system/tlspolicyd.socket", "lib/sysusers.d/gatepost.conf"):
        if f"/opt/gatepost/{name}" not in there:
            raise Failed(f"make install: no {name}")
    unit = (place / "opt/gatepost/lib/systemd/system/authmilter.service").read_text()
    if "ExecStart=/opt/gatepost/sbin/authmilter serve" not in unit:
        raise Failed("make install: the unit starts another command")
    settings = place / "etc/gatepost/authmilter.toml"
    settings.write_text("# mine\n")
    tree.chroot(*make, "install", user="builder")
    if settings.read_text() != "# mine\n":
        raise Failed("make install overwrites settings")
    tree.chroot(*make, "uninstall", user="builder")
    left = {f"/{path.relative_to(place)}" for path in place.rglob("*") if not path.is_dir()}
    if left != {"/etc/gatepost/authmilter.toml", "/etc/gatepost/tlspolicyd.toml"}:
        raise Failed(f"make uninstall leaves {sorted(left)[:10]}")


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
