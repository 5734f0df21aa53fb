"""`tlspolicyd doctor` on hosts that are right and on hosts that postconf(1) has broken, Postfix 3.7 and 3.10.

Each fault is named with its cure, and where the cure is a postconf command, a shell that runs what is printed mends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailcommon.doctor.findings import Level, Section, status, without
from mailcommon.doctor.render import as_script
from tests.support import postfix as postfix_support
from tests.support import signed_zone
from tests.support.certificates import PrivateCa
from tests.support.daemon_process import toml
from tests.support.doctored import Doctored, level_of, on_each_postfix, wrong
from tests.support.loopback import Network
from tests.support.policy_daemon import PolicyDaemon
from tests.support.ports import free_port, release_port
from tests.support.postfix_installation import Installation
from tests.support.processes import Unavailable
from tests.support.requirements import require
from tests.support.sending_postfix import POLICY_MAP, POLICY_MAP_TLSRPT, SendingPostfix
from tests.support.signed_zone import SignedUnbound
from tests.support.unbound import PrivateUnbound
from tlspolicyd.doctor.examine import examine
from tlspolicyd.settings import load

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

# what the machine that runs the tests is like is not their matter
ELSEWHERE = frozenset({"clock-unsynchronised"})


@dataclass
class World:
    """A right host."""

    host: Doctored
    postfix: SendingPostfix
    daemon: PolicyDaemon
    resolver: str

    def look(self, config: Path | None = None) -> tuple[Section, ...]:
        """What doctor says."""
        file = config or self.settings()
        return without(examine(load(file), file, self.host.config), ELSEWHERE)

    def settings(self, **changes: Any) -> Path:
        """A settings file like the daemon's, but for `changes`, in a folder that everybody may enter."""
        path = self.daemon.base / "other.toml"
        # it runs as root in truth: this machine's Python may be where nobody else can read it
        path.write_text(toml({**self.daemon.settings, "user": "nobody", **changes}))
        path.chmod(0o644)
        return path

    def settings_of(self, section: str, key: str) -> str:
        """One of the daemon's settings."""
        return str(self.daemon.settings[section][key])


def _world(installation: Installation, folder: Path) -> Iterator[World]:
    require(postfix_support.missing() or signed_zone.missing())
    modern = installation.version >= (3, 10)
    with contextlib.ExitStack() as stack:
        try:
            network = Network()
        except Unavailable as problem:
            require(str(problem))
            raise
        stack.callback(network.release)
        address = network.address()
        stack.enter_context(SignedUnbound("", listen=address, signed=["org"]))
        postfix = SendingPostfix(
            nameserver=address,
            ca_file=PrivateCa().write_roots(folder / "ca.pem"),
            policy_map=POLICY_MAP_TLSRPT if modern else POLICY_MAP,
            settings={"smtp_tls_mandatory_protocols": ">=TLSv1.2"},
            installation=installation,
        )
        daemon = PolicyDaemon(socket=f"unix:{postfix.policy_socket}")
        store = daemon.base / "store"
        store.mkdir()
        port = free_port()
        stack.callback(release_port, port)
        daemon.configure(
            {
                "dns": {"nameservers": [f"{address}:53"]},
                "dane": {"enabled": True},
                "cache": {"store": f"sqlite:{store}/policies.db"},
                "metrics": {"listen": f"127.0.0.1:{port}"},
            }
        )
        stack.enter_context(daemon)
        stack.enter_context(postfix)
        for path in (store, *store.iterdir()):
            shutil.chown(path, "nobody")
        yield World(Doctored(postfix, folder), postfix, daemon, address)


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
    for ident in ("map", "tls", "socket", "daemon", "resolver", "store", "metrics"):
        assert level_of(sections, ident) is Level.OK, ident


SOCKET = "tlspolicyd/tlspolicyd.sock"

BROKEN: list[tuple[str, Sequence[str], str]] = [  # the finding, what postconf is told, what the fault names
    ("map-missing", ["smtp_tls_policy_maps ="], "does not name tlspolicyd"),
    ("map-missing", ["smtp_tls_policy_maps = static:may"], "does not name tlspolicyd"),
    ("map-path", [f"smtp_tls_policy_maps = socketmap:unix:{{queue}}/{SOCKET}:{{map}}"], "tlspolicyd listens at"),
    ("map-path", [f"smtp_tls_policy_maps = socketmap:unix:{SOCKET[11:]}:{{map}}"], "tlspolicyd listens at"),
    ("map-path", ["smtp_tls_policy_maps = socketmap:unix:private/{socket}:{map}"], "tlspolicyd listens at"),
    ("map-name", [f"smtp_tls_policy_maps = socketmap:unix:{SOCKET}:postfix"], "asks for the map postfix"),
    ("map-name", [f"smtp_tls_policy_maps = socketmap:unix:{SOCKET}:{{other}}"], "asks for the map {other}"),
    ("security-level", ["smtp_tls_security_level = may"], "smtp_tls_security_level is may"),
    ("security-level", ["smtp_tls_security_level ="], "smtp_tls_security_level is none"),
    ("dns-support", ["smtp_dns_support_level = enabled"], "smtp_dns_support_level is enabled"),
    ("dns-support", ["smtp_dns_support_level ="], "smtp_dns_support_level is empty"),
    ("host-lookup", ["smtp_host_lookup = native"], "smtp_host_lookup is native"),
    ("ca-file", ["smtp_tls_CAfile ="], "smtp_tls_CAfile is empty"),
    ("ca-file", ["smtp_tls_CAfile = /nowhere.pem"], "/nowhere.pem cannot be read"),
    ("ca-file", ["smtp_tls_CAfile = {config}/main.cf"], "has no certificate in it"),
    ("ca-file", ["smtp_tls_CAfile =", "smtp_tls_CApath = /etc/ssl/certs"], "smtp_tls_CApath"),
    ("tls-protocols", ["smtp_tls_mandatory_protocols = >=TLSv1"], "smtp_tls_mandatory_protocols is >=TLSv1"),
    ("tls-protocols", ["smtp_tls_mandatory_protocols = !SSLv2, !SSLv3"], "!SSLv2, !SSLv3"),
    ("tls-ciphers", ["smtp_tls_mandatory_ciphers = null"], "smtp_tls_mandatory_ciphers is null"),
    ("map-missing", ["smtp/unix/smtp_tls_policy_maps="], "smtp_tls_policy_maps of smtp/unix"),
    ("security-level", ["relay/unix/smtp_tls_security_level=may"], "relay/unix in master.cf has"),
]


def _say(text: str, world: World) -> str:
    modern = world.postfix.installation.version >= (3, 10)
    names = {"map": "policy-tlsrpt", "other": "policy"} if modern else {"map": "policy", "other": "policy-tlsrpt"}
    names |= {"queue": str(world.postfix.queue_directory), "config": world.host.config, "socket": "tlspolicyd.sock"}
    return text.format(**names)


@pytest.mark.parametrize(("ident", "changes", "named"), BROKEN, ids=lambda value: str(value)[:60])
def test_each_fault_is_named_and_the_printed_fix_mends_it(
    world: World, ident: str, changes: Sequence[str], named: str
) -> None:
    for change in changes:
        world.host.change("-P" if "/unix/" in change else "-e", _say(change, world))
    before = world.look()
    found = wrong(before)
    assert set(found) == {ident}
    assert _say(named, world) in found[ident].text
    assert found[ident].why
    assert status(before) == 1
    script = as_script(before, world.host.config).splitlines()
    world.host.run("\n".join(script[:-1]))
    after = world.look()
    assert not wrong(after)
    assert status(after) == 0


BY_HAND: list[tuple[str, Callable[[World], Path], str]] = [
    ("sts-ca-file", lambda world: world.settings(sts={"ca_file": "/nowhere.pem"}), "/nowhere.pem"),
    ("sts-port", lambda world: world.settings(sts={"https_port": 8443}), "8443"),
    ("store-directory", lambda world: world.settings(cache={"store": "sqlite:/nowhere/p.db"}), "/nowhere"),
    ("store-rights", lambda world: world.settings(cache={"store": f"sqlite:{world.daemon.base}/p.db"}), "nobody"),
    ("store", lambda world: world.settings(cache={"store": "redis://127.0.0.1:1/0"}), "redis://127.0.0.1:1/0"),
    ("metrics", lambda world: world.settings(metrics={"listen": "127.0.0.1:1"}), "127.0.0.1:1"),
    ("runs-as-root", lambda world: world.settings(user=""), "runs as root"),
    ("user-missing", lambda world: world.settings(user="no-such-user"), "no-such-user"),
]


@pytest.mark.parametrize(("ident", "spoil", "named"), BY_HAND, ids=[each[0] for each in BY_HAND])
def test_faults_that_are_mended_by_hand(world: World, ident: str, spoil: Callable[[World], Path], named: str) -> None:
    sections = world.look(spoil(world))
    found = wrong(sections)
    assert set(found) == {ident}
    assert named in found[ident].text
    assert found[ident].cure
    assert as_script(sections).startswith("# by hand: ")


def reporting(world: World, **changes: str) -> Path:
    smtp = f"127.0.0.1:{world.postfix.ports['smtp']}"
    store = world.settings_of("cache", "store").replace("policies", "reports")
    return world.settings(tlsrpt={"contact": "a@home.example", "smtp": smtp, "store": store, **changes})


def test_tls_reports_of_a_postfix_that_tells(world: World) -> None:
    queue = world.postfix.queue_directory
    config = reporting(world, socket=f"unix:{queue}/tlspolicyd/tlsrpt.sock")
    before = world.look(config)
    if world.postfix.installation.version < (3, 10):
        assert set(wrong(before)) == {"tlsrpt-version"}
        return
    assert set(wrong(before)) == {"tlsrpt-enable", "tlsrpt-socket"}
    world.host.run("\n".join(as_script(before, world.host.config).splitlines()[:-1]))
    assert not wrong(world.look(config))
    assert set(wrong(world.look())) == {"tlsrpt-nobody"}


def test_tls_reports_from_a_log(world: World) -> None:
    world.host.change("-e", "smtp_tls_loglevel = 0")
    world.postfix.log.path.chmod(0o644)
    before = world.look(reporting(world, log=str(world.postfix.log.path)))
    assert set(wrong(before)) == {"tlsrpt-loglevel"}
    world.host.run("\n".join(as_script(before, world.host.config).splitlines()[:-1]))
    bad = reporting(world, log="/no/log", contact="", store="sqlite:/no/r.db")
    assert set(wrong(world.look(bad))) == {"tlsrpt-log-missing", "tlsrpt-contact", "tlsrpt-store-directory"}
    assert set(wrong(world.look(reporting(world, log="journal:", smtp="127.0.0.1:1")))) == {"tlsrpt-smtp"}


def test_rights_of_socket_and_directory(world: World) -> None:
    socket = world.postfix.policy_socket
    for path, mode, ident in ((socket, 0o600, "socket-rights"), (socket.parent, 0o700, "socket-directory")):
        usual = path.stat().st_mode & 0o777
        path.chmod(mode)
        try:
            found = wrong(world.look())
        finally:
            path.chmod(usual)
        assert set(found) == {ident}
        assert str(path) in found[ident].text


def test_a_resolver_that_postfix_does_not_ask_and_that_does_not_validate(world: World) -> None:
    with PrivateUnbound("") as other:
        found = wrong(world.look(world.settings(dns={"nameservers": [other.address]})))
        assert set(found) == {"resolver-differs", "resolver-not-validating"}
        assert f"Postfix asks {world.resolver}:53" in found["resolver-differs"].text
        # without DANE nothing rests on it
        calm = world.settings(dns={"nameservers": [other.address]}, dane={"enabled": False})
        assert not wrong(world.look(calm))


def test_a_daemon_that_is_down(world: World) -> None:
    config = world.settings(socket=f"unix:{world.postfix.queue_directory}/tlspolicyd/other.sock")
    name = "policy-tlsrpt" if world.postfix.installation.version >= (3, 10) else "policy"
    world.host.change("-e", f"smtp_tls_policy_maps = socketmap:unix:tlspolicyd/other.sock:{name}")
    assert set(wrong(world.look(config))) == {"daemon-down"}


def test_something_else_on_the_socket(world: World) -> None:
    config = world.settings(socket=f"inet:{world.postfix.ports['smtp']}@127.0.0.1")
    assert "daemon-other" in wrong(world.look(config))


def test_the_command_and_its_exit_status(world: World) -> None:
    def command(*options: str) -> subprocess.CompletedProcess[str]:
        words: list[str | Path] = ["doctor", "--config", world.settings(), "--postfix-config", world.host.config]
        return subprocess.run(
            [sys.executable, "-m", "tlspolicyd", *words, "--ignore", "clock-unsynchronised", *options],
            env={**os.environ, "PATH": world.host.path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    right = command("--quiet")
    assert (right.returncode, right.stderr) == (0, "")
    world.host.change("-e", "smtp_dns_support_level =")
    printed = command("--fix-print")
    where = f"-c {world.host.config}"
    assert printed.returncode == 1
    assert printed.stdout == f"postconf {where} -e 'smtp_dns_support_level = dnssec'\npostfix {where} reload\n"
    (bad,) = (each for each in json.loads(command("--json").stdout)["findings"] if each["level"] == "mend")
    assert (bad["area"], bad["id"]) == ("postfix", "dns-support")
    assert command("--postfix-config", "/nowhere").returncode == 2
