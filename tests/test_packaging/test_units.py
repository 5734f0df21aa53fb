"""The units: right to systemd, tight, every relaxation explained, and in step with what is installed beside them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.support.processes import Unavailable, find_program
from tests.support.requirements import require

ROOT = Path(__file__).parent.parent.parent
UNITS = sorted(path for path in (ROOT / "systemd").iterdir() if path.is_file())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
MOST = 1.5  # of 10, as `systemd-analyze security` counts


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        program = find_program("systemd-analyze", "systemd")
    except Unavailable as problem:
        require(str(problem))
        raise
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def read(unit: Path) -> RawConfigParser:
    """The unit; of a key that comes several times the last."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return parser


def id_of(unit: Path) -> str:
    return unit.name


def test_verify(tmp_path: Path) -> None:
    """With the commands of this environment in the place of those that are installed."""
    for unit in UNITS:
        text = unit.read_text().replace("/usr/sbin/", f"{Path(sys.executable).parent}/")
        (tmp_path / unit.name).write_text(text)
    done = analyze("verify", "--man=no", *(tmp_path / unit.name for unit in UNITS))
    # what the host's own units say is not about ours
    about = [line for line in (done.stdout + done.stderr).splitlines() if str(tmp_path) in line]
    assert not about
    assert done.returncode == 0, done.stderr


def test_verify_can_fail(tmp_path: Path) -> None:
    (tmp_path / "x.service").write_text("[Service]\nExecStart=/nowhere/at/all\nWatchdogSecs=1\n")
    done = analyze("verify", "--man=no", tmp_path / "x.service")
    assert done.returncode != 0
    assert "WatchdogSecs" in done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=id_of)
def test_security(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--json=short", unit)
    assert done.returncode == 0, done.stderr
    counted = {entry["name"]: float(entry["exposure"]) for entry in json.loads(done.stdout) if entry["exposure"]}
    text = analyze("security", "--offline=true", "--no-pager", unit).stdout
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
    assert level is not None, text
    assert float(level[1]) <= MOST
    comments = "\n".join(line for line in unit.read_text().splitlines() if line.startswith("#"))
    for name, exposure in counted.items():
        if exposure:
            for word in re.findall(r"[A-Z][A-Za-z0-9_]{4,}", name.replace("RestrictAddressFamilies", "")):
                assert word in comments or f"AF_{word}" in comments, f"{name} is relaxed and no comment says why"


@pytest.mark.parametrize("unit", SERVICES, ids=id_of)
def test_users_and_directories_are_made(unit: Path) -> None:
    service = read(unit)["Service"]
    users = re.findall(r"^u (\S+)", (ROOT / "systemd/sysusers.d/gatepost.conf").read_text(), re.MULTILINE)
    made = re.findall(r"^d (\S+) (\d+) (\S+)", (ROOT / "systemd/tmpfiles.d/gatepost.conf").read_text(), re.MULTILINE)
    assert service["User"] in users
    for path in service["ReadWritePaths"].split():
        (owner,) = [owner for name, _, owner in made if name == path.removeprefix("-")]
        assert owner == service["User"]


@pytest.mark.parametrize("daemon", ["authmilter", "tlspolicyd"])
def test_socket_directory_gives_its_group(daemon: str) -> None:
    lines = (ROOT / "systemd/tmpfiles.d/gatepost.conf").read_text().splitlines()
    assert f"d /var/spool/postfix/{daemon} 2750 {daemon} postfix -" in lines
    socket = re.search(r'^socket = "unix:(.*)"', (ROOT / f"conf/{daemon}.toml").read_text(), re.MULTILINE)
    assert socket is not None
    assert Path(socket[1]).parent == Path(f"/var/spool/postfix/{daemon}")


def test_keys_are_for_one_daemon() -> None:
    lines = (ROOT / "systemd/tmpfiles.d/gatepost.conf").read_text().splitlines()
    assert "d /etc/gatepost/keys :0750 :root :authmilter -" in lines  # where `authmilter key new` makes them


def test_the_socket_unit_is_where_the_settings_say() -> None:
    unit = read(ROOT / "systemd/tlspolicyd.socket")["Socket"]
    assert f'socket = "unix:{unit["ListenStream"]}"' in (ROOT / "conf/tlspolicyd.toml").read_text()


@pytest.mark.parametrize("unit", [ROOT / "systemd/authmilter.service", ROOT / "systemd/tlspolicyd.service"], ids=id_of)
def test_stopping_and_watching_have_time(unit: Path) -> None:
    service = read(unit)["Service"]
    assert service["Type"] == "notify"
    assert int(service["TimeoutStopSec"]) >= 25  # the milter's drain and libmilter's five seconds
    # a worker that hangs takes up four sixths of it, and one look at the own socket 20 seconds at most
    assert int(service["WatchdogSec"]) >= 90
