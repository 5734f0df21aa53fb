"""`authmilter serve` as a process: what keeps it from starting, what it leaves behind, and what it survives."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import authmilter, write_settings
from tests.support.milter_client import MilterClient
from tests.support.milter_daemon import MilterDaemon
from tests.support.processes import session_members
from tests.support.stranger import Strangers, results
from tests.support.waiting import wait_until

MESSAGE = b"From: u@a.example\n\nhello\n"
ZONE = 'a.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"\n_dmarc.a.example. IN TXT "v=DMARC1; p=reject"\n'


def refused(folder: Path, **settings: Any) -> str:
    """Why `serve` does not start; nothing of it is left."""
    settings.setdefault("socket", f"unix:{folder}/milter.sock")
    before = sorted(folder.iterdir())
    config = write_settings(folder, settings)
    line = authmilter("serve", "--config", config).refused()
    assert sorted(folder.iterdir()) == sorted({*before, config})
    return line


def running_commands() -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue
    return found


# What keeps it from starting


def test_the_directory_of_the_socket_is_missing(tmp_path: Path) -> None:
    line = refused(tmp_path, socket=f"unix:{tmp_path}/no/milter.sock")
    assert line.startswith(f"{tmp_path}/no does not exist: ")


def test_the_socket_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert "another process answers there already" in refused(tmp_path)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))  # the other one still serves it


def test_a_socket_that_nobody_answers_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "milter.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    assert path.is_socket()
    with MilterDaemon({"dns": {"nameservers": ["127.0.0.1:1"]}}, socket=f"unix:{path}") as daemon:
        MilterClient(daemon.address).quit()


@pytest.mark.parametrize("content", [b"", b"precious"])
def test_a_file_stands_where_the_socket_is_to_be(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "milter.sock"
    path.write_bytes(content)
    assert "exists and is not a socket" in refused(tmp_path)
    assert path.read_bytes() == content


def test_a_directory_stands_where_the_socket_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "milter.sock").mkdir()
    assert "exists and is not a socket" in refused(tmp_path)


def test_a_link_to_a_file_stands_where_the_socket_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "milter.sock").symlink_to(tmp_path / "precious")
    assert "exists and is not a socket" in refused(tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize(("key", "word"), [("user", "user"), ("socket_group", "group")])
def test_there_is_no_such_user_or_group(tmp_path: Path, key: str, word: str) -> None:
    assert f"{key}: there is no {word} nobody-of-that-name on this host" in refused(
        tmp_path, **{key: "nobody-of-that-name"}
    )


def test_the_port_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refused(tmp_path, socket=f"inet:{port}@127.0.0.1")
    assert f"inet:{port}@127.0.0.1" in line


def test_the_address_is_not_of_this_host(tmp_path: Path) -> None:
    assert "inet:10025@192.0.2.1" in refused(tmp_path, socket="inet:10025@192.0.2.1")


def test_nothing_is_left_running(tmp_path: Path) -> None:
    refused(tmp_path, socket=f"unix:{tmp_path}/no/milter.sock")
    assert not [command for command in running_commands() if str(tmp_path) in command]


# What it does while it runs


@pytest.fixture(scope="module")
def gate() -> Iterator[Strangers]:
    with Strangers(ZONE) as running:
        yield running


def verdict(gate: Strangers) -> str:
    with gate.client() as milter:
        return results(milter.send(MESSAGE, mail_from="u@a.example"))["dmarc"]


def test_rights_of_the_socket() -> None:
    with MilterDaemon({"socket_mode": "0660"}) as daemon:
        assert stat.S_IMODE(Path(daemon.address.removeprefix("unix:")).stat().st_mode) == 0o660


def test_a_worker_that_dies_is_replaced(gate: Strangers) -> None:
    before = gate.daemon.workers()
    mark = gate.daemon.log.mark()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(gate.daemon.workers()) - set(before)) == 1, "a new worker")
    gate.daemon.log.wait(rf"worker {before[0]} ended \(signal SIGKILL\), starting another", after=mark)
    assert [verdict(gate) for _ in range(8)] == ["pass"] * 8


def test_settings_that_are_bad_leave_the_old_ones(gate: Strangers) -> None:
    mark = gate.daemon.log.mark()
    try:
        gate.daemon.reload({"authserv_id": "not a host name"})
        gate.daemon.log.wait("settings not taken, the old ones stay: .*authserv_id", after=mark)
        assert verdict(gate) == "pass"  # under the old name
    finally:
        gate.daemon.reload({"authserv_id": "mx.home.example"})
        gate.daemon.log.wait("new settings taken", after=mark)


def test_new_settings_are_taken_by_every_worker(gate: Strangers) -> None:
    mark = gate.daemon.log.mark()
    try:
        gate.daemon.reload({"trust": {"networks": ["192.0.2.0/24"]}})
        gate.daemon.log.wait("new settings taken", after=mark)

        def all_trust() -> bool:
            with gate.client() as milter:
                return not milter.send(MESSAGE, mail_from="u@b.example").all("Authentication-Results")

        for _ in range(6):
            wait_until(all_trust, "the trusted network")
    finally:
        mark = gate.daemon.log.mark()
        gate.daemon.reload({"trust": {"networks": []}})
        gate.daemon.log.wait("new settings taken", after=mark)


def test_what_needs_a_restart_is_said(gate: Strangers) -> None:
    mark = gate.daemon.log.mark()
    try:
        gate.daemon.reload({"workers": 3})
        gate.daemon.log.wait("a restart is needed before these take effect: workers", after=mark)
        assert len(gate.daemon.workers()) == 2
    finally:
        gate.daemon.reload({"workers": 2})


def test_workers_end_with_their_parent() -> None:
    with MilterDaemon() as daemon:
        workers = daemon.workers()
        os.kill(daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: not set(workers) & set(session_members(daemon.process.pid)), "end of the workers")


def test_a_stop_leaves_nothing() -> None:
    daemon = MilterDaemon()
    daemon.start()
    path = Path(daemon.address.removeprefix("unix:"))
    process = daemon.process
    try:
        process.send(signal.SIGTERM)
        assert process.wait(25.0) == 0
        assert not process.members()
        assert not path.exists()
        assert daemon.log.text().rstrip().endswith("stopped")
    finally:
        daemon.stop(at_once=True)
