"""What the manager hears of the policy daemon, and that it hears nothing of one that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import PolicyDaemon
from tests.support.service_manager import ServiceManager
from tests.support.waiting import wait_until
from tlspolicyd.self_check import CLOSED, why_silent


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path, monkeypatch, watchdog=2.0) as manager:
        yield manager


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with FakeDns("") as server:
        yield server


def settings(dns: FakeDns, **more: object) -> dict[str, object]:
    return {"dns": {"nameservers": [dns.address]}, **more}


def test_ready_reload_watchdog_stop(manager: ServiceManager, dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon:
        manager.wait("READY=1")
        assert daemon.ask("[a]") == "NOTFOUND "
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


def test_a_daemon_that_stands_still_feeds_nothing(manager: ServiceManager, dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon:
        manager.wait("WATCHDOG=1")
        daemon.process.send(signal.SIGSTOP)
        manager.silence(2.0)
        daemon.process.send(signal.SIGCONT)
        manager.wait("WATCHDOG=1")


def test_a_socket_that_was_removed_feeds_nothing(manager: ServiceManager, dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon:
        manager.wait("WATCHDOG=1")
        Path(daemon.address.removeprefix("unix:")).unlink()
        daemon.log.wait("no answer on the own socket: No such file or directory")
        manager.silence(2.0)


def test_a_full_house_is_alive(manager: ServiceManager, dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns, max_connections=1)) as daemon, contextlib.ExitStack() as stack:

        def come_in() -> bool:
            only = stack.enter_context(daemon.client())
            with contextlib.suppress(ConnectionError):  # the one place is taken by a self-check just now
                return only.ask("policy", "[a]") == "NOTFOUND "
            return False

        wait_until(come_in, "the one place")
        for _ in range(8):  # more than had been sent before
            manager.wait("WATCHDOG=1")


def test_tcp(manager: ServiceManager, dns: FakeDns) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with PolicyDaemon(settings(dns), socket=f"inet:{port}@0.0.0.0"):
        manager.wait("READY=1")
        manager.wait("WATCHDOG=1")


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", CLOSED), (b"5:TEMP ,..", "another reply than expected"), (b"9:NOTFOUND ,", "")]
)
def test_answers_of_others(tmp_path: Path, answer: bytes, why: str) -> None:
    async def ask() -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer.ljust(12 if answer else 0))
            writer.close()

        async with await asyncio.start_unix_server(serve, tmp_path / "s"):
            return await why_silent((socket.AF_UNIX, str(tmp_path / "s")))

    assert asyncio.run(ask()) == why


def test_nobody_listens(tmp_path: Path) -> None:
    assert asyncio.run(why_silent((socket.AF_UNIX, str(tmp_path / "s")))) == "No such file or directory"
