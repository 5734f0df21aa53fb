"""Signing keys in the life of the daemon: start, another user, SIGHUP, workers that are replaced."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authmilter import worker
from tests.support.command import authmilter, write_settings
from tests.support.inbound import settings_of
from tests.support.milter_client import MilterClient
from tests.support.milter_daemon import MilterDaemon
from tests.support.signing import Keys
from tests.support.waiting import wait_until

MESSAGE = b"From: u@example.org\n\nhello\n"
NO_DNS = {"dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.1}}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    path = Path(tempfile.mkdtemp(prefix="gatepost-keys-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def tables_of(keys: Keys, selector: str) -> dict[str, Any]:
    return keys.tables({"one": ("example.org", selector, "ed25519")}, {"example.org": ["one"]})


def signed_by(daemon: MilterDaemon) -> str:
    """The selector that a message of a user is signed with, "" if it is not."""
    with MilterClient(daemon.address, timeout=10.0) as milter:
        milter.open(ip="192.0.2.1", helo="client.example")
        outcome = milter.send(MESSAGE, mail_from="u@example.org", login="u")
    fields = outcome.all("DKIM-Signature")
    return fields[0].partition("s=")[2].partition(";")[0] if fields else ""


def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    tables = tables_of(Keys(tmp_path), "s1")
    path = tmp_path / "example.org.s1.pem"
    settings = {"socket": f"unix:{tmp_path}/milter.sock", **tables}
    config = write_settings(tmp_path, settings)
    path.chmod(0o644)
    line = authmilter("serve", "--config", config).refused()
    assert f"[sign] {path}: has mode 0644, at most 0640 is allowed: chmod 0640 {path}" in line
    path.unlink()
    line = authmilter("serve", "--config", config).refused()
    assert f"[sign] {path}: there is no such file: make a key with `authmilter key new`" in line
    assert not (tmp_path / "milter.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_keys_are_read_as_the_daemons_user(folder: Path) -> None:
    tables = tables_of(Keys(folder), "s1")
    path = folder / "example.org.s1.pem"
    settings = {"socket": f"unix:{folder}/milter.sock", "user": "nobody", **NO_DNS, **tables}
    line = authmilter("serve", "--config", write_settings(folder, settings)).refused()
    if "install Python and Gatepost where every user can read" in line:
        pytest.skip(line)  # a Python in somebody's home
    assert f"{path}: cannot be read by user nobody: chown root:nogroup {path} && chmod 0640 {path}" in line
    shutil.chown(path, "root", "nogroup")
    path.chmod(0o640)
    with MilterDaemon(settings, socket=settings["socket"]) as daemon:
        assert signed_by(daemon) == "s1"
        # SIGHUP comes when root's rights are gone
        mark = daemon.log.mark()
        new = tables_of(Keys(folder), "s2")
        shutil.chown(folder / "example.org.s2.pem", "root", "nogroup")
        (folder / "example.org.s2.pem").chmod(0o640)
        daemon.reload(new)
        daemon.log.wait("new settings taken", after=mark)
        for _ in range(6):
            wait_until(lambda: signed_by(daemon) == "s2", "the new key")
        # a worker that is replaced has the new one from its parent
        moved = (folder / "example.org.s2.pem").rename(folder / "away")
        before = daemon.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(daemon.workers()) - set(before)) == len(before), "new workers")
        assert [signed_by(daemon) for _ in range(6)] == ["s2"] * 6
        moved.rename(folder / "example.org.s2.pem")
        secret = (folder / "example.org.s2.pem").read_text().splitlines()[1]
        assert secret not in daemon.log.text()


def test_sighup_with_a_bad_key_leaves_the_old_one(tmp_path: Path) -> None:
    with MilterDaemon({**NO_DNS, **tables_of(Keys(tmp_path), "s1")}) as daemon:
        assert signed_by(daemon) == "s1"
        new = tables_of(Keys(tmp_path), "s2")
        (tmp_path / "example.org.s2.pem").write_text("no key")
        mark = daemon.log.mark()
        daemon.reload(new)
        daemon.log.wait(r"settings not taken, the old ones stay: .*s2\.pem: is no private key", after=mark)
        assert signed_by(daemon) == "s1"
        # the file of the key in use may be gone: whoever has it keeps it, a new worker too
        (tmp_path / "example.org.s1.pem").unlink()
        before = daemon.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(daemon.workers()) - set(before)) == len(before), "new workers")
        assert [signed_by(daemon) for _ in range(6)] == ["s1"] * 6


def test_a_worker_outlives_settings_that_it_cannot_carry_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The parent has found them good; no sockets may be left, say."""
    current = worker.Current()
    current.take(settings_of())
    before = current()

    def fail(*_: object) -> None:
        raise OSError("no sockets")

    monkeypatch.setattr(worker, "make_setup", fail)
    worker._take(current, settings_of().model_dump_json().encode())
    worker._take(current, b"{")
    assert current() is before
    assert caplog.text.count("new settings not taken, the old ones stay") == 2


def test_signing_can_be_switched_on_and_off(tmp_path: Path) -> None:
    with MilterDaemon({**NO_DNS}) as daemon:
        assert signed_by(daemon) == ""
        mark = daemon.log.mark()
        daemon.reload(tables_of(Keys(tmp_path), "s1"))
        daemon.log.wait("new settings taken", after=mark)
        wait_until(lambda: signed_by(daemon) == "s1", "signing")
        daemon.log.wait(r"decision=accept rule=own .*signed=example\.org:s1", after=mark)
        mark = daemon.log.mark()
        daemon.reload({"sign": {}})
        daemon.log.wait("new settings taken", after=mark)
        for _ in range(6):
            wait_until(lambda: signed_by(daemon) == "", "no signing")
