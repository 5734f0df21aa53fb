"""The Debian package as built from this tree: what is in it, what lintian says, nothing of the machine it came from.

Its life on a host is `make try-package`'s.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.processes import Unavailable, find_program
from tests.support.requirements import require

ROOT = Path(__file__).parent.parent.parent
PLACE = "usr/lib/gatepost"
# What lintian says of an environment of Python packages from wheels with an interpreter of its own, of a package in
# no archive, and of one that was not compressed for this test.
EXPECTED = {
    "bogus-mail-host",
    "bogus-mail-host-in-debian-changelog",
    "copyright-without-copyright-notice",
    "embedded-library",
    "executable-not-elf-or-script",
    "package-installs-python-pycache-dir",
    "python3-script-but-no-python3-dep",
    "unstripped-binary-or-object",
    "unusual-interpreter",
    "uses-no-compression-for-control-tarball",
    "uses-no-compression-for-data-tarball",
    "wrong-path-for-interpreter",
}

pytestmark = [pytest.mark.package, pytest.mark.timeout(300)]


def run(*command: str | Path, **more: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env={**os.environ, **more}
    )
    assert done.returncode == 0, f"{command}:\n{(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built by a user without rights."""
    try:
        for program, source in (("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper")):
            find_program(program, source)
    except Unavailable as problem:
        require(str(problem))
    if shutil.which("dpkg-checkbuilddeps"):
        lacks = subprocess.run(
            ["dpkg-checkbuilddeps", ROOT / "debian/control"], capture_output=True, text=True, check=False
        )
        if lacks.returncode:
            require(lacks.stderr.strip())
    folder = tmp_path_factory.mktemp("deb")
    # compression takes longer than all the rest
    run(ROOT / "tools/deb", folder, DPKG_DEB_COMPRESSOR_TYPE="none", PYTHONDONTWRITEBYTECODE="1")
    (built,) = folder.glob("*.deb")
    return built


@pytest.fixture(scope="module")
def content(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("content") / "root"
    run("dpkg-deb", "--raw-extract", package, folder)
    return folder


@pytest.fixture(scope="module")
def ours(content: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package without what other projects wrote, which is most of it: lintian would take a minute for that."""
    folder = tmp_path_factory.mktemp("ours") / "root"
    kept = re.compile(r"authmilter|tlspolicyd|mailcommon|gatepost-.*|milter\..*\.so")

    def others(place: str, names: list[str]) -> list[str]:
        return [name for name in names if not kept.fullmatch(name)] if place.endswith("/site-packages") else []

    shutil.copytree(content, folder, symlinks=True, ignore=others)
    shutil.rmtree(folder / "usr/bin", ignore_errors=True)  # see test_commands
    sums = folder / "DEBIAN/md5sums"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if (folder / line.split(maxsplit=1)[1].strip()).exists()))
    made = folder.parent / "gatepost.deb"
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, made)
    return made


def field(package: Path, name: str) -> str:
    return run("dpkg-deb", "--field", package, name).strip()


def test_version(package: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(rf"{re.escape(project)}~[a-z]+[\d.]+", field(package, "Version"))


def test_it_is_for_one_python(package: Path, content: Path) -> None:
    (library,) = (content / PLACE / "lib").iterdir()
    assert library.name in field(package, "Depends").replace(" ", "").split(",")
    assert (content / PLACE / "bin/python3").readlink().name == library.name
    assert "libmilter1.0.1" in field(package, "Depends")


def test_settings_are_conffiles_and_fit_the_places_that_are_made(content: Path) -> None:
    conffiles = (content / "DEBIAN/conffiles").read_text().split()
    assert sorted(conffiles) == ["/etc/gatepost/authmilter.toml", "/etc/gatepost/tlspolicyd.toml"]
    for daemon in ("authmilter", "tlspolicyd"):
        packaged = (content / f"etc/gatepost/{daemon}.toml").read_text().splitlines()
        source = (ROOT / f"conf/{daemon}.toml").read_text().splitlines()
        changed = [line for line, before in zip(packaged, source, strict=True) if line != before]
        assert sorted(changed) == ['socket_group = "postfix"', f'user = "{daemon}"']


@pytest.mark.parametrize("daemon", ["authmilter", "tlspolicyd"])
def test_commands(content: Path, daemon: str) -> None:
    link = content / "usr/sbin" / daemon
    assert link.is_symlink()
    assert (link.parent / link.readlink()).resolve() == (content / PLACE / "bin" / daemon).resolve()
    assert link.read_text().startswith(f"#!/{PLACE}/bin/python3 -I\n")
    # what is imported comes from the package; the interpreter is the host's
    interpreter = content / "usr/bin" / (content / PLACE / "bin/python3").readlink().name
    if not interpreter.is_symlink():
        interpreter.parent.mkdir(exist_ok=True)
        interpreter.symlink_to(Path("/usr/bin") / interpreter.name)
    code = f"import sys; sys.argv = ['{daemon}', '--version']; from {daemon}.cli import main; main()"
    assert "version" in run(content / PLACE / "bin/python3", "-I", "-c", code)


def test_manuals_units_users(content: Path) -> None:
    units = {path.name for path in content.rglob("lib/systemd/system/*")}
    assert units == {path.name for path in (ROOT / "systemd").iterdir() if path.is_file()}
    pages = {path.name for path in content.glob("usr/share/man/man*/*")}
    assert pages == {f"{path.name}.gz" for path in (ROOT / "docs").glob("*.[158]")}
    for daemon in ("authmilter", "tlspolicyd"):
        for place in (f"bash-completion/completions/{daemon}", f"zsh/vendor-completions/_{daemon}"):
            assert daemon in (content / "usr/share" / place).read_text()
    script = (content / "DEBIAN/postinst").read_text()
    steps = ["systemd-sysusers", "systemd-tmpfiles", "start 'tlspolicyd.socket'", "_dh_action 'authmilter.service'"]
    assert all(step in script for step in steps)
    assert sorted(steps, key=script.index) == steps


def test_removal_stops_what_is_active_of_itself(content: Path) -> None:
    """Debhelper stops what it has started; timers are started by the administrator."""
    script = (content / "DEBIAN/prerm").read_text()
    for unit in (ROOT / "systemd").glob("*.timer"):
        assert re.search(rf"deb-systemd-invoke stop .*\b{re.escape(unit.name)}\b", script)


def test_nothing_of_this_machine(content: Path) -> None:
    traces = [str(ROOT).encode(), b"/tmp/tmp.", b"/tmp/pip-", b"file:///"]
    if str(Path.home()) != "/root":
        traces.append(f"{Path.home()}/".encode())
    found = []
    for path in content.rglob("*"):
        if (
            path.is_file()
            and not path.is_symlink()
            and (path.parent.name.endswith(".dist-info") or path.suffix != ".py")
        ):
            data = path.read_bytes()
            found += [f"{path.relative_to(content)}: {trace.decode()}" for trace in traces[:3] if trace in data]
            if path.name == "direct_url.json":
                found.append(str(path))
    assert not found


def test_everything_is_compiled_and_stays_valid(content: Path) -> None:
    site = next((content / PLACE / "lib").glob("python3*/site-packages"))
    tag = f"cpython-{site.parent.name.removeprefix('python').replace('.', '')}"
    modules = list((site / "authmilter").rglob("*.py")) + list((site / "mailcommon").rglob("*.py"))
    assert modules
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.{tag}.pyc"
        # PEP 552: bit 0 a hash instead of a time, bit 1 whether it is compared
        assert compiled.read_bytes()[4:8] == b"\1\0\0\0", compiled
        assert f"/{module.relative_to(content)}".encode() in compiled.read_bytes()


def test_owners_and_modes(package: Path) -> None:
    for line in run("dpkg-deb", "--contents", package).splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[0] == "l" or (mode[5] == mode[8] == "-" and "s" not in mode), line


def test_lintian(ours: Path) -> None:
    if not shutil.which("lintian"):
        require("lintian is not installed (Debian: apt-get install lintian)")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=none", ours], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line[:2] in ("E:", "W:")]
    unexpected = [line for line in said if line.split()[2] not in EXPECTED]
    assert not unexpected
