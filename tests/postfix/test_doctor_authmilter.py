"""`authmilter doctor` on hosts that are right and on hosts that postconf(1) has broken, Postfix 3.7 and 3.10.

Each fault is named with its cure, and where the cure is a postconf command, a shell that runs what is printed mends it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from authmilter.doctor.examine import examine
from authmilter.settings import load
from mailcommon.doctor.findings import Level, Section, status, without
from mailcommon.doctor.render import as_script
from tests.support import postfix as postfix_support
from tests.support import unbound
from tests.support.daemon_process import toml
from tests.support.doctored import Doctored, level_of, on_each_postfix, wrong
from tests.support.milter_daemon import MilterDaemon, program
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.postfix_installation import Installation
from tests.support.requirements import require
from tests.support.signing import Keys
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

# what the machine that runs the tests is like is not their matter
ELSEWHERE = frozenset({"clock-unsynchronised"})
NAME = "s1._domainkey.home.example"
GOOD = {"message_reject_characters": r"\0", "smtpd_forbid_bare_newline": "normalize"}


@dataclass
class World:
    """A right host."""

    host: Doctored
    postfix: PrivatePostfix
    milter: MilterDaemon
    dns: PrivateUnbound
    keys: Keys

    def look(self, config: Path | None = None) -> tuple[Section, ...]:
        """What doctor says."""
        file = config or self.settings(self.milter.base)
        return without(examine(load(file), file, self.host.config), ELSEWHERE)

    def settings(self, folder: Path, **changes: Any) -> Path:
        """A settings file like the daemon's, but for `changes`."""
        path = folder / "other.toml"
        # it runs as root in truth: this machine's Python may be where nobody else can read it
        path.write_text(toml({**self.milter.settings, "user": "nobody", "sign": _sign(self), **changes}))
        path.chmod(0o644)
        return path


def _world(installation: Installation, folder: Path) -> Iterator[World]:
    require(postfix_support.missing() or unbound.missing())
    keys = Keys(folder)
    path = keys.add("home.example", "s1")
    with (
        PrivateUnbound(f'{NAME}. 60 IN TXT "{keys.records[NAME]}"') as dns,
        PrivatePostfix(milter=MILTER_SPEC, settings=GOOD, chroot=True, installation=installation) as postfix,
    ):
        milter = MilterDaemon(socket=f"unix:{postfix.milter_socket}")
        for owner in ("root", "nobody"):
            shutil.copy(path, milter.base / f"{owner}.pem")
            shutil.chown(milter.base / f"{owner}.pem", owner)
            (milter.base / f"{owner}.pem").chmod(0o600)
        milter.configure(
            {
                "authserv_id": "mx.home.example",
                "dns": {"nameservers": [dns.address]},
                "sign": {
                    "keys": {"main": {"domain": "home.example", "selector": "s1", "file": f"{milter.base}/root.pem"}},
                    "table": {"home.example": ["main"]},
                },
            }
        )
        with milter:
            yield World(Doctored(postfix, folder), postfix, milter, dns, keys)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """A right host for each Postfix, made when it is asked for."""
    yield from on_each_postfix(_world, request, tmp_path_factory)


@pytest.fixture(params=["host", "3.10"])
def world(
    request: pytest.FixtureRequest, worlds: Callable[[str], World], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    found = worlds(request.param)
    monkeypatch.setenv("PATH", found.host.path)
    yield found
    found.host.restore()


def test_a_right_host_has_no_complaint(world: World) -> None:
    sections = world.look()
    assert not wrong(sections)
    assert status(sections) == 0
    assert as_script(sections, world.host.config) == ""
    assert {section.area for section in sections} >= {"postfix", "socket", "names", "daemon", "resolver", "keys"}
    for ident in ("milter", "parameters", "socket", "authserv-id", "daemon", "resolver", "key"):
        assert level_of(sections, ident) is Level.OK, ident


OURS = "unix:milter/milter.sock"
OPENDKIM = "unix:opendkim/opendkim.sock"
SMTP = "smtp/inet=smtp inet n - y - - smtpd"

BROKEN: list[tuple[str, Sequence[str], str]] = [  # the finding, what postconf is told, what the fault names
    ("milter-missing", ["smtpd_milters ="], "smtpd_milters does not name authmilter"),
    ("milter-path", ["smtpd_milters = unix:{queue}/milter/milter.sock"], "{queue}/milter/milter.sock (chrooted)"),
    ("milter-path", ["smtpd_milters = unix:authmilter/milter.sock"], "authmilter listens at"),
    ("milter-path", ["non_smtpd_milters = unix:authmilter/milter.sock"], "non_smtpd_milters has"),
    ("milter-missing-local", ["non_smtpd_milters ="], "non_smtpd_milters"),
    ("milter-twice", [f"smtpd_milters = {OURS}, {OURS}"], "twice"),
    ("milter-order", [f"smtpd_milters = inet:127.0.0.1:11332, {OURS}"], "rspamd (inet:127.0.0.1:11332) stands before"),
    ("milter-order", [f"smtpd_milters = unix:spamass/spamass.sock {OURS}"], "spamass-milter"),
    ("filter-double", [f"smtpd_milters = {OPENDKIM}, {OURS}"], "opendkim"),
    ("filter-double", [f"smtpd_milters = {OURS}, inet:localhost:8893"], "opendmarc"),
    ("filter-double", [f"non_smtpd_milters = {OURS}, {OPENDKIM}"], "non_smtpd_milters names opendkim"),
    ("default-action", ["milter_default_action = accept"], "milter_default_action is accept"),
    ("default-action", ["milter_default_action = reject"], "milter_default_action is reject"),
    ("default-action", [f"smtpd_milters = {{ {OURS}, default_action=accept }}"], "default_action=accept"),
    ("milter-protocol", ["milter_protocol = 2"], "milter_protocol is 2"),
    ("content-timeout", ["milter_content_timeout = 30s"], "milter_content_timeout is 30s"),
    ("command-timeout", ["milter_command_timeout = 2s"], "milter_command_timeout is 2s"),
    ("reject-nul", ["message_reject_characters ="], "message_reject_characters is empty"),
    ("bare-newline", ["smtpd_forbid_bare_newline = no"], "smtpd_forbid_bare_newline is no"),
    ("mail-macros", ["milter_mail_macros = {{mail_addr}}"], "milter_mail_macros"),
    ("end-macros", ["milter_end_of_data_macros ="], "milter_end_of_data_macros"),
    ("header-size", ["header_size_limit = 4096"], "header_size_limit is 4096"),
    ("header-tokens", ["header_address_token_limit = 100"], "header_address_token_limit is 100"),
    ("line-length", ["smtp_line_length_limit = 512"], "smtp_line_length_limit is 512"),
    ("no-milters", ["receive_override_options = no_milters, no_address_mappings"], "no_milters"),
    ("milter-missing", [SMTP, "smtp/inet/smtpd_milters=inet:127.0.0.1:11332"], "smtpd_milters of smtp/inet"),
    ("milter-path", [SMTP, "smtp/inet/smtpd_milters=unix:/milter.sock"], "{queue}/milter.sock (chrooted)"),
]


def _flag(change: str) -> str:
    """Of postconf: a service of master.cf, an option of one, or a parameter."""
    if change.startswith("smtp/inet="):
        return "-Me"
    return "-P" if change.startswith("smtp/inet/") else "-e"


@pytest.mark.parametrize(("ident", "changes", "named"), BROKEN, ids=lambda value: str(value)[:60])
def test_each_fault_is_named_and_the_printed_fix_mends_it(
    world: World, ident: str, changes: Sequence[str], named: str
) -> None:
    queue = str(world.postfix.queue_directory)
    for change in changes:
        host_change = change.replace("{queue}", queue).replace("{{", "{").replace("}}", "}")
        world.host.change(_flag(change), host_change)
    before = world.look()
    found = wrong(before)
    assert set(found) == {ident}
    assert named.replace("{queue}", queue) in found[ident].text
    assert found[ident].why
    assert status(before) == 1
    script = as_script(before, world.host.config).splitlines()
    assert script[-1] == f"postfix -c {world.host.config} reload"
    world.host.run("\n".join(script[:-1]))
    after = world.look()
    assert not wrong(after)
    assert status(after) == 0


def test_all_faults_at_once_are_mended_together(world: World) -> None:
    for change in (
        f"smtpd_milters = {OPENDKIM}, inet:localhost:8893, inet:127.0.0.1:11332",
        "non_smtpd_milters = $smtpd_milters",
        "milter_default_action = accept",
        "message_reject_characters = \\1",
    ):
        world.host.change("-e", change)
    before = world.look()
    assert set(wrong(before)) == {
        "milter-missing",
        "milter-missing-local",
        "filter-double",
        "default-action",
        "reject-nul",
    }
    world.host.run(as_script(before, world.host.config))  # the reload too
    assert not wrong(world.look())
    shown = subprocess.run(
        ["postconf", "-c", world.host.config, "-h", "smtpd_milters", "message_reject_characters"],
        env={**os.environ, "PATH": world.host.path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f"{OURS}, inet:127.0.0.1:11332\n\\1\\0\n"


def _shut_socket(world: World, _: Path) -> Path | None:
    world.postfix.milter_socket.chmod(0o600)
    return None


def _shut_directory(world: World, _: Path) -> Path | None:
    world.postfix.milter_socket.parent.chmod(0o700)
    return None


def _other_key(world: World, folder: Path) -> Path | None:
    return world.settings(folder, dns={"nameservers": [world.dns.address]}, sign=_sign(world, selector="s2"))


def _sign(world: World, **changes: str) -> dict[str, Any]:
    sign: dict[str, Any] = json.loads(json.dumps(world.milter.settings["sign"]))
    sign["keys"]["main"] |= {"file": f"{world.milter.base}/nobody.pem", **changes}
    return sign


BY_HAND: list[tuple[str, Callable[[World, Path], Path | None], str]] = [
    ("socket-rights", _shut_socket, "0600"),
    ("socket-directory", _shut_directory, "0700"),
    ("key-record", _other_key, "s2._domainkey.home.example: not published"),
    ("key-record", lambda world, folder: world.settings(folder, sign=_sign(world, file="/nowhere")), "/nowhere"),
    ("authserv-id", lambda world, folder: world.settings(folder, authserv_id="mx"), "the name mx"),
    ("user-missing", lambda world, folder: world.settings(folder, user="no-such-user", sign={}), "no-such-user"),
    ("group-missing", lambda world, folder: world.settings(folder, socket_group="no-such-group"), "no-such-group"),
    ("runs-as-root", lambda world, folder: world.settings(folder, user="", sign={}), "runs as root"),
    ("settings-unreadable", lambda world, folder: _shut(world.settings(folder)), "0600"),
    (
        "resolver-silent",
        lambda world, folder: world.settings(folder, sign={}, dns={"nameservers": ["127.0.0.1:1"], "timeout": 0.2}),
        "127.0.0.1:1",
    ),
]


def _shut(path: Path) -> Path:
    path.chmod(0o600)
    return path


@pytest.fixture
def open_folder(world: World) -> Path:
    """A folder that every user may enter."""
    folder = world.milter.base / "other"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize(("ident", "spoil", "named"), BY_HAND, ids=[each[0] for each in BY_HAND])
def test_faults_that_are_mended_by_hand(
    world: World, ident: str, spoil: Callable[[World, Path], Path | None], named: str, open_folder: Path
) -> None:
    socket = world.postfix.milter_socket
    try:
        sections = world.look(spoil(world, open_folder))
    finally:
        socket.chmod(0o666)
        socket.parent.chmod(0o755)
    found = wrong(sections)
    assert set(found) == {ident}
    assert named in found[ident].text
    assert found[ident].cure
    assert as_script(sections).startswith("# by hand: ")


def test_reports(world: World, open_folder: Path) -> None:
    smtp = f"127.0.0.1:{world.postfix.ports['smtp']}"
    file = open_folder / "reports.db"
    reports = {"store": f"sqlite:{file}", "email": "dmarc@home.example", "smtp": smtp}
    assert set(wrong(world.look(world.settings(open_folder, reports=reports)))) == {"reports-store-rights"}
    shutil.chown(open_folder, "nobody")
    assert not wrong(world.look(world.settings(open_folder, reports=reports)))
    file.write_text("this is text")
    shutil.chown(file, "nobody")
    bad = {**reports, "email": "dmarc@other.example", "smtp": "127.0.0.1:1"}
    found = wrong(world.look(world.settings(open_folder, reports=bad)))
    assert set(found) == {"reports-store", "reports-unsigned", "reports-smtp"}
    assert "is no SQLite database" in found["reports-store"].text
    file.unlink()
    shutil.chown(open_folder, "root")


def test_a_daemon_that_is_down(world: World, open_folder: Path) -> None:
    config = world.settings(open_folder, socket=f"unix:{world.postfix.queue_directory}/milter/other.sock")
    world.host.change("-e", "smtpd_milters = unix:milter/other.sock", "non_smtpd_milters = unix:milter/other.sock")
    found = wrong(world.look(config))
    assert set(found) == {"daemon-down"}
    assert "there is no such socket" in found["daemon-down"].text


def test_a_socket_that_no_chrooted_service_can_see(world: World, open_folder: Path) -> None:
    config = world.settings(open_folder, socket=f"unix:{open_folder}/m.sock")
    found = wrong(world.look(config))
    assert set(found) == {"socket-outside-chroot", "daemon-down"}
    assert f'socket = "unix:{world.postfix.queue_directory}/' in found["socket-outside-chroot"].cure


def test_something_else_on_the_socket(world: World, open_folder: Path) -> None:
    """Postfix's own SMTP listener is no milter."""
    config = world.settings(open_folder, socket=f"inet:{world.postfix.ports['smtp']}@127.0.0.1")
    assert "daemon-other" in wrong(world.look(config))


def _command(world: World, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            program(),
            "doctor",
            "--config",
            world.settings(world.milter.base),
            "--postfix-config",
            world.host.config,
            *options,
        ],
        env={**os.environ, "PATH": world.host.path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_and_its_exit_status(world: World) -> None:
    ignore = ("--ignore", "clock-unsynchronised")
    right = _command(world, *ignore)
    assert (right.returncode, right.stderr) == (0, "")
    assert "  ok      smtpd_milters names authmilter\n" in right.stdout
    assert "\x1b" not in right.stdout  # colours on terminals alone
    world.host.change("-e", "milter_default_action = accept", "milter_protocol = 2")
    both = _command(world, *ignore, "--quiet")
    fix = f"postconf -c {world.host.config} -e 'milter_default_action = tempfail'"
    assert both.returncode == 1
    assert f"          cure: {fix}\n" in both.stdout
    assert "[default-action]" in both.stdout
    data = json.loads(_command(world, *ignore, "--json").stdout)
    assert data["status"] == 1
    bad = {each["id"]: each["fix"] for each in data["findings"] if each["level"] == "mend"}
    assert bad["default-action"] == [fix]
    one = _command(world, *ignore, "--ignore", "default-action", "--ignore", "milter-protocol", "--fix-print")
    assert (one.returncode, one.stdout) == (0, "")


def test_what_cannot_be_looked_at(world: World) -> None:
    ran = _command(world, "--ignore", "clock-unsynchronised", "--postfix-config", "/nowhere")
    assert ran.returncode == 2
    assert "unseen  /nowhere: there is no main.cf" in ran.stdout
    config = world.milter.base / "bad.toml"
    config.write_text("nonsense = 1\n")
    refused = _command(world, "--config", str(config))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 1
