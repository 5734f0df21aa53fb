"""What the manager hears of the milter, and what becomes of a process that stands still (SIGSTOP)."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authmilter.member import Member
from authmilter.pulse import Pulse, why_silent
from tests.support.milter_client import MilterClient
from tests.support.milter_daemon import MilterDaemon
from tests.support.service_manager import ServiceManager
from tests.support.waiting import wait_until

NO_DNS = {"dns": {"nameservers": ["127.0.0.1:1"]}}


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path, monkeypatch, watchdog=3.0) as manager:
        yield manager


def test_ready_reload_watchdog_stop(manager: ServiceManager) -> None:
    with MilterDaemon(NO_DNS) as daemon:
        manager.wait("READY=1")
        MilterClient(daemon.address).quit()
        manager.wait("WATCHDOG=1")
        daemon.process.send(signal.SIGHUP)
        assert int(manager.wait("RELOADING=1")["MONOTONIC_USEC"]) > 0
        assert manager.wait("READY=1")["STATUS"] == "New settings taken"
        daemon.config.write_text("nonsense = 1\n")
        daemon.process.send(signal.SIGHUP)
        assert manager.wait("READY=1")["STATUS"].startswith("Settings not taken, the old ones stay: ")
        manager.wait("WATCHDOG=1")
        daemon.process.send(signal.SIGTERM)
        manager.wait("STOPPING=1")


def test_a_worker_that_hangs_is_replaced_and_the_manager_not_alarmed(manager: ServiceManager) -> None:
    with MilterDaemon(NO_DNS) as daemon:
        manager.wait("WATCHDOG=1")
        workers = set(daemon.workers())
        hung = min(workers)
        os.kill(hung, signal.SIGSTOP)
        daemon.log.wait(f"worker {hung} does not answer, killing it")
        daemon.log.wait(rf"worker {hung} ended \(signal SIGKILL\), starting another")
        wait_until(lambda: len(set(daemon.workers()) - {hung}) == len(workers), "its successor")
        manager.silence(0.001, 2.0)  # what was sent until now
        manager.wait("WATCHDOG=1")
        MilterClient(daemon.address).quit()


def test_all_workers_hang(manager: ServiceManager) -> None:
    with MilterDaemon(NO_DNS) as daemon:
        manager.wait("WATCHDOG=1")
        for pid in daemon.workers():
            os.kill(pid, signal.SIGSTOP)
        manager.silence(0.9)  # two intervals: the beat under way at SIGSTOP may still come
        manager.wait("WATCHDOG=1")  # of the successors


@pytest.mark.parametrize("asked_before", [0, 5])
def test_only_three_missed_in_a_row_are_deadly(asked_before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _signal: killed.append(pid))
    monkeypatch.setattr(os, "fork", lambda: 4_000_000)  # the socket plays no part
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        pulse = Pulse("unix:/nowhere", 15.0)
        pulse.answered = True
        worker = Member(4_000_001, -1, ours, 0.0, 0)
        for _ in range(asked_before):
            pulse.beat([worker])
            theirs.send(theirs.recv(64))
        for _ in range(3):  # asks; the second and the third find one more without an answer
            pulse.beat([worker])
            assert not killed
        theirs.send(theirs.recv(64))  # late, as on a busy host
        for _ in range(3):
            pulse.beat([worker])
            assert not killed
        pulse.beat([worker])
        assert killed == [4_000_001]


def test_settings_for_a_worker_that_hangs_do_not_hold_the_parent_up(manager: ServiceManager) -> None:
    long = {"exclude_domains": [f"{number}.excluded.example" for number in range(8000)]}  # more than a pipe holds
    with MilterDaemon({**NO_DNS, "reports": long}) as daemon:
        manager.wait("WATCHDOG=1")
        hung = min(daemon.workers())
        os.kill(hung, signal.SIGSTOP)
        daemon.process.send(signal.SIGHUP)
        assert manager.wait("READY=1")["STATUS"] == "New settings taken"
        daemon.log.wait(rf"worker {hung} ended \(signal SIGKILL\), starting another")
        manager.wait("WATCHDOG=1")


def test_long_settings_reach_the_workers(manager: ServiceManager) -> None:
    long = {"exclude_domains": [f"{number}.excluded.example" for number in range(8000)]}
    with MilterDaemon({**NO_DNS, "reports": long}) as daemon:
        manager.wait("WATCHDOG=1")
        text = daemon.config.read_text()
        daemon.config.write_text('log_level = "debug"\nlog_format = "json"\n' + text)
        for _ in range(3):
            daemon.process.send(signal.SIGHUP)
            assert manager.wait("READY=1")["STATUS"] == "New settings taken"
        client = MilterClient(daemon.address)
        with client:
            client.open(ip="192.0.2.1", name="mx.a.example", helo="mx.a.example")
            client.send(b"From: u@a.example\r\n\r\nhi\r\n", mail_from="", rcpts=["me@home.example"])
        daemon.log.wait('"decision": ')
        assert "not taken" not in daemon.log.text()


def test_a_parent_that_hangs_feeds_nothing(manager: ServiceManager) -> None:
    with MilterDaemon(NO_DNS) as daemon:
        manager.wait("WATCHDOG=1")
        daemon.process.send(signal.SIGSTOP)
        manager.silence(2.0)
        daemon.process.send(signal.SIGCONT)
        manager.wait("WATCHDOG=1")
        assert "does not answer" not in daemon.log.text()  # time that stood still is nobody's fault


def _open(pid: int) -> set[str]:
    return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


def test_workers_notice_at_once_that_the_parent_is_gone(manager: ServiceManager) -> None:
    with MilterDaemon(NO_DNS) as daemon:
        manager.wait("WATCHDOG=1")
        workers = daemon.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # so that the child that asks the socket waits
        try:
            wait_until(lambda: len(daemon.children()) > len(workers), "the child that asks")
            asking = next(pid for pid in daemon.children() if pid not in workers)
            parents = {end for end in _open(daemon.process.pid) if "pipe:" in end}
            followed = parents & {end for pid in workers for end in _open(pid)}
            assert followed
            assert not followed & _open(asking)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)


def test_a_socket_that_was_removed_feeds_nothing(manager: ServiceManager) -> None:
    with MilterDaemon(NO_DNS) as daemon:
        manager.wait("WATCHDOG=1")
        Path(daemon.address.removeprefix("unix:")).unlink()
        daemon.log.wait("no answer on the own socket .*: No such file or directory")
        manager.silence(2.0)


def test_who_is_watched_is_the_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServiceManager(tmp_path, monkeypatch, watchdog=0.2) as manager:
        monkeypatch.setenv("WATCHDOG_PID", "1")
        with MilterDaemon(NO_DNS):
            manager.wait("READY=1")
            manager.silence(1.0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"", errno.ECONNRESET), (b"\0\0\0\1c", errno.EPROTO), (b"\0\0\0\15O", 0)],
)
def test_answers_of_others(tmp_path: Path, answer: bytes, why: int) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()

        def serve() -> None:
            with listening.accept()[0] as asking:
                asking.recv(100)
                asking.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        assert why_silent(f"unix:{tmp_path}/s") == why
        server.join()


def test_nobody_listens(tmp_path: Path) -> None:
    assert why_silent(f"unix:{tmp_path}/s") == errno.ENOENT
    assert why_silent("inet:1@127.0.0.1") == errno.ECONNREFUSED
