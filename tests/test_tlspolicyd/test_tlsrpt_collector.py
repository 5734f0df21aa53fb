"""The datagram socket: what the kernel delivers is counted, whatever it is and however fast; the socket comes back."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import grp
import http.client
import itertools
import json
import os
import pwd
import socket
import stat
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mailcommon.privileges import StartError
from mailcommon.store import open_store
from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import PolicyDaemon
from tests.support.ports import free_port, release_port
from tests.support.processes import StartFailed
from tests.support.waiting import wait_until
from tlspolicyd.facts import Facts, SiteLevel, StsFact
from tlspolicyd.facts import Failure as StsFailure
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import tables
from tlspolicyd.tlsrpt.collector import Collector
from tlspolicyd.tlsrpt.datagram import MAX_OCTETS
from tlspolicyd.tlsrpt.watching import Watching


def event(domain: str = "a.example", failed: bool = False) -> bytes:
    policy: dict[str, Any] = {"policy-type": 9, "policy-domain": domain, "t": 0, "f": 0}
    if failed:
        detail = {"c": 201, "s": "192.0.2.1", "n": f"mx.{domain}", "h": "250-x\r\n250 HELP", "r": "192.0.2.2"}
        policy |= {"failure-details": [detail], "t": 1, "f": 1}
    return json.dumps({"d": domain, "pr": "v=TLSRPTv1; rua=mailto:x@y.example", "policies": [policy]}).encode()


def send(path: Path, *datagrams: bytes) -> None:
    """As libtlsrpt does, but waiting for room."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_OCTETS)
        for datagram in datagrams:
            sender.sendto(datagram, str(path))


class Nothing:
    """Knows of one domain that its policy cannot be had."""

    site_level = SiteLevel.DANE

    async def facts(self, domain: str, port: int) -> Facts:
        raise AssertionError((domain, port))

    def peek(self, domain: str) -> StsFact | None:
        if domain != "failing.example":
            return None
        return StsFact(domain, signalled=True, failure=StsFailure.FETCH)


def settings(folder: Path, **tlsrpt: Any) -> Settings:
    given = {"socket": f"unix:{folder}/tlsrpt.sock", "store": f"sqlite:{folder}/reports.db", **tlsrpt}
    return Settings.model_validate({"socket_mode": "0620", "tlsrpt": given})


def stored(folder: Path) -> dict[str, tuple[int, int]]:
    """Domain -> sessions, failures in the store."""
    store = open_store(f"sqlite:{folder}/reports.db", [tables.SCHEMA])
    try:
        found = tables.pending(store, datetime.date.max)
        return {each.domain: (each.sessions, each.failures) for each in found}
    finally:
        store.close()


def run(watching: Watching, work: Any) -> None:
    """`work` in a thread while the watching runs in a loop; then its end."""

    async def main() -> None:
        task = asyncio.ensure_future(watching.run(Nothing))
        try:
            await asyncio.to_thread(work)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await watching.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_counted_and_written(tmp_path: Path) -> None:
    watching = Watching(settings(tmp_path))
    path = tmp_path / "tlsrpt.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    run(watching, lambda: send(path, event(), event(failed=True), event("b.example"), event("failing.example")))
    assert stored(tmp_path) == {"a.example": (2, 1), "b.example": (1, 0), "failing.example": (1, 1)}
    assert watching.sessions == {"success": 2, "failure": 2}
    assert not path.exists()


def test_what_waits_in_the_socket_at_the_end_is_counted(tmp_path: Path) -> None:
    watching = Watching(settings(tmp_path))

    async def main() -> None:
        task = asyncio.ensure_future(watching.run(Nothing))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        send(tmp_path / "tlsrpt.sock", event(), event())
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await watching.close()

    asyncio.run(main())
    assert stored(tmp_path) == {"a.example": (2, 0)}


def test_a_burst_loses_nothing(tmp_path: Path) -> None:
    """10,000 datagrams a second and more, of many domains, with failures in detail."""
    watching = Watching(settings(tmp_path))
    number = 30_000
    datagrams = [event(f"d{n % 500}.example", failed=n % 3 == 0) for n in range(number)]
    took = []

    def work() -> None:
        began = time.monotonic()
        send(tmp_path / "tlsrpt.sock", *datagrams)
        wait_until(lambda: sum(watching.sessions.values()) == number, "all of them", timeout=60.0)
        took.append(time.monotonic() - began)

    run(watching, work)
    found = stored(tmp_path)
    assert sum(sessions for sessions, _ in found.values()) == number
    assert sum(failures for _, failures in found.values()) == number // 3
    rate = number / took[0]
    print(f"{rate:.0f} datagrams/s")
    assert rate > 5000  # twice and more on an idle machine


def test_other_work_has_its_turn_between_a_few_datagrams(tmp_path: Path) -> None:
    path, handed_on, turns = tmp_path / "tlsrpt.sock", [], []
    collector = Collector(path, 0o600, "")
    collector.open()

    def slow(octets: bytes) -> None:
        handed_on.append(octets)
        time.sleep(0.001)

    async def main() -> None:
        collector.start(slow)
        sender = asyncio.ensure_future(asyncio.to_thread(send, path, *[event()] * 300))
        while len(handed_on) < 300:
            turns.append(len(handed_on))
            await asyncio.sleep(0)
        await sender
        collector.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60.0))
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 8


def test_strange_datagrams(tmp_path: Path) -> None:
    watching = Watching(settings(tmp_path))
    strange = [b"", b"{", b"x" * (MAX_OCTETS + 100), event(), b'{"dpv":"2"}', event().replace(b"a.example", b"a", 1)]

    def work() -> None:
        for each in (*strange, *[b"["] * 100, event()):
            send(tmp_path / "tlsrpt.sock", each)

    run(watching, work)
    assert watching.malformed == {"not JSON": 102, "too long": 1, "version": 1, "domain": 1}
    assert stored(tmp_path) == {"a.example": (2, 0)}


@pytest.mark.parametrize("how", ["removed", "replaced", "folder moved"])
def test_the_socket_is_made_anew(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    watching = Watching(settings(tmp_path, socket=f"unix:{folder}/tlsrpt.sock"))
    path = folder / "tlsrpt.sock"

    def work() -> None:
        send(path, event())
        wait_until(lambda: watching.sessions["success"] == 1, "the first")
        former = path.stat().st_ino
        if how == "folder moved":
            folder.rename(tmp_path / "elsewhere")
            folder.mkdir()
        else:
            path.rename(tmp_path / "old")
        if how == "replaced":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.bind(str(path))
        wait_until(lambda: path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o620, "a new socket")
        assert path.stat().st_ino != former
        send(path, event())

    run(watching, work)
    assert stored(tmp_path) == {"a.example": (2, 0)}


def test_rights_cannot_be_had_before_they_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    change = Path.chmod

    def chmod(path: Path, mode: int) -> None:
        seen.append(stat.S_IMODE(path.stat().st_mode))
        change(path, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    collector = Collector(tmp_path / "s", 0o666, "")
    collector.open()
    collector.close()
    assert seen == [0]


def test_places_where_there_can_be_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="is not a socket"):
        Collector(tmp_path / "file", 0o660, "").open()
    with pytest.raises(StartError, match="make the directory"):
        Collector(tmp_path / "no" / "s", 0o660, "").open()
    with pytest.raises(StartError, match="there is no group"):
        Collector(tmp_path / "s", 0o660, "no-such-group")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "taken"))
        with pytest.raises(StartError, match="another process reads"):
            Collector(tmp_path / "taken", 0o660, "").open()
    collector = Collector(tmp_path / "taken", 0o660, "")
    collector.open()  # what a process left behind that died is no hindrance
    collector.close()


# The daemon


@pytest.fixture(scope="module")
def dns() -> Iterator[FakeDns]:
    with FakeDns("none.example. 300 IN MX 10 mx.none.example.\n") as server:
        yield server


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    yield number
    release_port(number)


def daemon_settings(dns: FakeDns, folder: Path, **more: Any) -> dict[str, Any]:
    tlsrpt = {"socket": f"unix:{folder}/tlsrpt.sock", "store": f"sqlite:{folder}/reports.db"}
    return {"dns": {"nameservers": [dns.address]}, "tlsrpt": tlsrpt, **more}


def test_daemon_counts_across_reload_and_restart(dns: FakeDns, tmp_path: Path, port: int) -> None:
    path = tmp_path / "tlsrpt.sock"
    with PolicyDaemon(daemon_settings(dns, tmp_path, metrics={"listen": f"127.0.0.1:{port}"})) as daemon:
        send(path, event(), b"{")
        daemon.reload({"log_level": "debug"})
        daemon.log.wait("new settings taken")
        send(path, event())
        wait_until(lambda: stored(tmp_path).get("a.example") == (2, 0), "both", context=daemon.log.text)
        page = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        page.request("GET", "/metrics")
        text = page.getresponse().read().decode()
        page.close()
        assert 'tlspolicyd_tlsrpt_sessions_total{result="success"} 2.0' in text
        assert 'tlspolicyd_tlsrpt_malformed_total{reason="not JSON"} 1.0' in text
        assert "tlspolicyd_tlsrpt_dropped_total 0.0" in text
        daemon.restart()  # by SIGKILL: the socket is left behind
        send(path, event())
    assert stored(tmp_path) == {"a.example": (3, 0)}  # SIGTERM writes what is new
    assert not path.exists()


def test_daemon_answers_while_it_is_flooded(dns: FakeDns, tmp_path: Path) -> None:
    with PolicyDaemon(daemon_settings(dns, tmp_path)) as daemon:
        stop = threading.Event()

        def flood() -> None:
            datagrams = [event(f"d{n}.example", failed=True) for n in range(1000)]
            while not stop.is_set():
                send(tmp_path / "tlsrpt.sock", *datagrams)

        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            daemon.log.wait("listening")
            took = []
            with daemon.client() as client:
                for _ in range(100):
                    began = time.monotonic()
                    assert client.ask("policy", "[127.0.0.1]") == "NOTFOUND "
                    took.append(time.monotonic() - began)
            print(f"answers {statistics.median(took) * 1000:.1f} ms, slowest {max(took) * 1000:.0f} ms")
            assert max(took) < 2.0
        finally:
            stop.set()
            flooder.join()


def test_daemon_with_a_store_that_cannot_be_used_answers_all_the_same(dns: FakeDns, tmp_path: Path) -> None:
    given = daemon_settings(dns, tmp_path)
    given["tlsrpt"]["store"] = f"sqlite:{tmp_path}/no/such/folder.db"
    with PolicyDaemon(given) as daemon:
        send(tmp_path / "tlsrpt.sock", event())
        daemon.log.wait("counts cannot be written, they are kept")
        assert daemon.ask("none.example") == "NOTFOUND "


def test_daemon_does_not_start_without_a_place_for_the_socket(dns: FakeDns, tmp_path: Path) -> None:
    given = daemon_settings(dns, tmp_path)
    given["tlsrpt"]["socket"] = f"unix:{tmp_path}/no/tlsrpt.sock"
    with pytest.raises(StartFailed, match=r"\[tlsrpt\] socket: .*make the directory"), PolicyDaemon(given):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_the_socket_is_made_anew_by_the_user_that_the_daemon_has_become() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="gatepost-tlsrpt-", dir="/tmp") as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        Path(folder).chmod(0o2750)  # as the README has it: new files get the group of the folder
        path = Path(folder) / "tlsrpt.sock"

        async def work() -> None:
            collector.start(lambda _: None)
            path.unlink()
            collector.check()

        collector = Collector(path, 0o660, grp.getgrgid(nobody.pw_gid).gr_name)
        collector.open()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                asyncio.run(work())
                found = path.stat()
                right = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
                status = int(right != (nobody.pw_uid, nobody.pw_gid, 0o660))
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        collector.close()
