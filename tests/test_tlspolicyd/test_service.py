"""`tlspolicyd serve` as a process: sockets, signals, readiness, reload, the end, the metrics page."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import COMMAND, PolicyDaemon
from tests.support.ports import free_port, release_port
from tests.support.processes import StartFailed
from tests.support.socketmap_client import SocketmapClient, encode
from tests.support.waiting import wait_until

ZONE = """
none.example. 300 IN MX 10 mx.none.example.
;FAULT slow.example. * delay=0.5
;FAULT _mta-sts.slow.example. * delay=0.5
"""
SIGNED = """
org. 300 IN NS ns.org.
;FAULT org. * ad
"""
UNSIGNED = "org. 300 IN NS ns.org.\nnet. 300 IN NS ns.net.\nse. 300 IN NS ns.se.\n"


@pytest.fixture(scope="module")
def dns() -> Iterator[FakeDns]:
    with FakeDns(ZONE) as server:
        yield server


def settings(dns: FakeDns, **other: object) -> dict[str, object]:
    return {"dns": {"nameservers": [dns.address]}, **other}


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    yield number
    release_port(number)


def test_unix_socket(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns, socket_mode="0640")) as daemon:
        path = Path(daemon.address.removeprefix("unix:"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert daemon.ask("none.example") == "NOTFOUND "
        assert daemon.ask("none.example", "policy-tlsrpt") == "NOTFOUND "
        assert daemon.ask("none.example", "other").startswith("PERM ")
        daemon.log.wait("decision=notfound domain=none.example source=none ")
        second = subprocess.run(
            [*COMMAND, "serve", "--config", daemon.config], capture_output=True, text=True, timeout=20, check=False
        )
        assert second.returncode == 2
        assert "another process answers there" in second.stderr
        assert daemon.ask("none.example") == "NOTFOUND "
        daemon.process.send(signal.SIGTERM)
        assert daemon.process.wait(10) == 0
        assert not path.exists()


def test_tcp_socket(dns: FakeDns, port: int) -> None:
    with PolicyDaemon(settings(dns), socket=f"inet:{port}@127.0.0.1") as daemon:
        assert daemon.ask("none.example") == "NOTFOUND "


def test_a_socket_that_a_killed_daemon_left_is_replaced(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon:
        daemon.restart()
        assert daemon.ask("none.example") == "NOTFOUND "


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"socket": "unix:/nowhere/at/all/s"}, "/nowhere/at/all does not exist"),
        ({"socket": "unix:/etc/passwd"}, "exists and is not a socket"),
        ({"socket": "inet:1@192.0.2.1"}, "192.0.2.1"),
        ({"user": "no-such-user"}, "there is no user no-such-user"),
        ({"socket_group": "no-such-group"}, "there is no group no-such-group"),
        ({"sts": {"ca_file": "/nowhere/ca.pem"}}, "/nowhere/ca.pem"),
        ({"metrics": {"listen": "192.0.2.1:9"}}, r"\[metrics\] listen: 192.0.2.1:9"),
        ({"log_level": "loud"}, "line .: log_level: should be"),
    ],
)
def test_what_hinders_the_start_is_one_line(wrong: dict[str, object], why: str) -> None:
    daemon = PolicyDaemon(wrong)
    daemon.address = f"unix:{daemon.base}/none"  # the harness must not remove what the settings name
    with pytest.raises(StartFailed, match=why) as caught:
        daemon.start()
    assert "Traceback" not in str(caught.value)


def test_readiness_and_stopping_are_told(dns: FakeDns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with PolicyDaemon(settings(dns)) as daemon:
            assert systemd.recv(100) == b"READY=1"
            daemon.process.send(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            assert daemon.process.wait(10) == 0


ACTIVATE = """
import os, socket, sys
one = socket.socket(socket.AF_UNIX); one.bind(sys.argv[1]); one.listen()
os.dup2(one.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_socket_of_systemd(dns: FakeDns, tmp_path: Path) -> None:
    handed = tmp_path / "handed"
    command = (sys.executable, "-c", ACTIVATE, str(handed))
    daemon = PolicyDaemon(settings(dns, socket="unix:/nowhere/at/all/s"), command=command)
    daemon.address = f"unix:{handed}"
    with daemon:
        assert daemon.ask("none.example") == "NOTFOUND "
        daemon.log.wait("listening on 1 sockets of systemd")
        daemon.process.send(signal.SIGTERM)
        assert daemon.process.wait(10) == 0
        assert handed.exists()  # it is not ours


def test_sigterm_finishes_the_answers_under_way(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon, daemon.client() as busy, daemon.client() as idle:
        assert idle.ask("policy", "[a]") == "NOTFOUND "
        busy.sock.sendall(encode(b"policy [a]") + encode(b"policy slow.example") + encode(b"policy [b]"))
        assert busy.reply() == b"NOTFOUND "
        wait_until(lambda: dns.count("_mta-sts.slow.example"), "the look-up", timeout=5.0)
        daemon.process.send(signal.SIGTERM)
        assert idle.closed()
        with pytest.raises(OSError, match=r"refused|No such file"):
            wait_until(lambda: daemon.client().close(), "the end of listening", timeout=5.0)
        assert [busy.reply(), busy.reply()] == [b"NOTFOUND ", b"NOTFOUND "]
        assert busy.closed()
        assert daemon.process.wait(10) == 0
        assert "stopped" in daemon.log.text()


def test_reload_takes_good_settings_and_keeps_the_old_for_bad_ones(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon, daemon.client() as client:
        assert client.ask("policy", "[a]") == "NOTFOUND "
        for bad, why in (
            ({"log_level": "loud"}, "log_level: should be"),
            ({"log_level": "info", "sts": {"ca_file": "/nowhere/ca.pem"}}, "/nowhere/ca.pem"),
            ({"sts": {"wiat": 1.0}}, "did you mean wait"),
        ):
            mark = daemon.log.mark()
            daemon.reload(bad)
            daemon.log.wait(f"settings not taken, the old ones stay: .*{why}", after=mark)
            assert client.ask("policy", "[a]") == "NOTFOUND "
        mark = daemon.log.mark()
        daemon.reload(
            {"sts": {"wait": 1.0}, "log_level": "debug", "socket_mode": "0600", "cache": {"store": "memory:"}}
        )
        daemon.log.wait(r"restart is needed before these take effect: socket_mode, \[cache\] store", after=mark)
        daemon.log.wait("new settings taken", after=mark)
        assert client.ask("policy", "none.example") == "NOTFOUND "  # the connection has stayed


LOADING = """
import asyncio, os, signal, sys
from tlspolicyd import assembly
from tlspolicyd.cli import main
assemble, told = assembly.assemble, []
async def slow(*arguments):
    if not told:
        told.append(os.kill(os.getpid(), signal.SIGHUP))
        await asyncio.sleep(0.1)
    return await assemble(*arguments)
assembly.assemble = slow
main(sys.argv[4:])
"""


def test_reload_while_the_policies_are_loaded_comes_after_it(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns), command=(sys.executable, "-c", LOADING)) as daemon:
        daemon.log.wait("new settings taken")
        assert daemon.ask("none.example") == "NOTFOUND "


def test_reload_changes_the_name_server(dns: FakeDns) -> None:
    with FakeDns("") as other, PolicyDaemon(settings(dns)) as daemon:
        daemon.reload({"dns": {"nameservers": [other.address]}})
        daemon.log.wait("new settings taken")
        assert daemon.ask("another.example") == "NOTFOUND "
        assert other.count("_mta-sts.another.example") > 0


def test_many_reloads_leave_nothing_behind(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns, sts={"timeout": 0.1})) as daemon:
        fds = Path(f"/proc/{daemon.process.pid}/fd")
        before = len(os.listdir(fds))  # noqa: PTH208 - names alone
        for number in range(5):
            mark = daemon.log.mark()
            daemon.reload({"sts": {"timeout": 0.1, "wait": number / 10}})
            daemon.log.wait("new settings taken", after=mark)
            assert daemon.ask(f"d{number}.example") == "NOTFOUND "
        wait_until(lambda: len(os.listdir(fds)) <= before + 1, "closed descriptors", timeout=5.0)  # noqa: PTH208


@pytest.mark.parametrize(
    ("zone", "line"),
    [
        (SIGNED, "INFO DANE is on: the resolver validates"),
        (UNSIGNED, "WARNING DANE is off: the resolver does not validate"),
        (";FAULT * * servfail", "WARNING DANE is on: the resolver could not be tried: org: "),
    ],
)
def test_the_log_says_whether_the_resolver_validates(zone: str, line: str) -> None:
    with FakeDns(zone) as server, PolicyDaemon(settings(server, dane={"enabled": True})) as daemon:
        daemon.log.wait(line)


def test_dane_off_by_setting_is_said_and_asks_nothing(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon:
        daemon.log.wait("DANE is off by setting")


def test_metrics_page(dns: FakeDns, port: int) -> None:
    with PolicyDaemon(settings(dns, metrics={"listen": f"127.0.0.1:{port}"})) as daemon:
        with daemon.client() as client:
            for _ in range(3):
                client.ask("policy", "none.example")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            page = answer.read().decode()
            connection.close()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        for line in (
            'tlspolicyd_lookups_total{outcome="notfound",ready="no"} 2.0',
            'tlspolicyd_lookups_total{outcome="notfound",ready="yes"} 1.0',
            'tlspolicyd_cache_policies{mode="enforce"} 0.0',
            'tlspolicyd_dns_queries_total{outcome="nxdomain"} 1.0',
            "tlspolicyd_cache_oldest_seconds 0.0",
            "tlspolicyd_connections 1.0",
            "tlspolicyd_faults_total 0.0",
        ):
            assert line in page, page


def test_hostile_octets_end_only_their_own_connection(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns)) as daemon, daemon.client() as good:
        for octets in (
            b"-1:",
            b"999999999999:",
            b"01:x,",
            b"3:abcd",
            b"\0\0\0",
            b"8:policy\0a,",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            with daemon.client() as bad:
                bad.sock.sendall(octets)
                assert bad.closed()
            assert good.ask("policy", "none.example") == "NOTFOUND "
        assert daemon.log.text().count("closed: ") == 7
        assert "Traceback" not in daemon.log.text()


def test_hundreds_of_connections_at_once(dns: FakeDns) -> None:
    with PolicyDaemon(settings(dns, max_connections=1000)) as daemon:
        begun = time.monotonic()
        clients: list[SocketmapClient] = []
        try:
            clients.extend(daemon.client() for _ in range(300))
            for client in clients:
                client.send("policy", "none.example")
            assert {client.reply() for client in clients} == {b"NOTFOUND "}
        finally:
            for client in clients:
                client.close()
        assert time.monotonic() - begun < 10
