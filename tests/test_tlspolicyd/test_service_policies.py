"""The whole daemon with real DNS packets and a real policy host: what Postfix gets, and when that changes."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import PrivateCa
from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import COMMAND, PolicyDaemon
from tests.support.policy_host import PolicyHost
from tests.support.ports import free_port, release_port
from tests.support.waiting import wait_until

ENFORCE = "version: STSv1\nmode: enforce\nmx: mx.a.example\nmx: *.b.example\nmax_age: 86400\n"
TESTING = "version: STSv1\nmode: testing\nmx: mx.a.example\nmax_age: 86400\n"
SECURE = "OK secure match=mx.a.example:.b.example servername=hostname"


def zone(*domains: str, record_id: str = "1") -> str:
    lines = []
    for domain in domains:
        lines += [
            f'_mta-sts.{domain}. 300 IN TXT "v=STSv1; id={record_id}"',
            f"mta-sts.{domain}. 300 IN A 127.0.0.1",
            f"{domain}. 300 IN MX 10 mx.{domain}.",
        ]
    return "\n".join(lines) + "\n"


class World:
    def __init__(self, dns: FakeDns, hosts: PolicyHost, roots: Path) -> None:
        self.dns = dns
        self.hosts = hosts
        self.settings: dict[str, Any] = {
            "dns": {"nameservers": [dns.address]},
            "sts": {"ca_file": str(roots), "https_port": hosts.port, "allow_private_addresses": True, "timeout": 5.0},
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ca = PrivateCa()
    with FakeDns(zone("a.example", "t.example", "hang.example")) as dns, PolicyHost(ca) as hosts:
        hosts.add("a.example", ENFORCE)
        hosts.add("t.example", TESTING)
        hosts.add("hang.example", ENFORCE, fault="hang")
        yield World(dns, hosts, ca.write_roots(tmp_path / "ca.pem"))


def test_first_answer_later_answers_and_both_maps(world: World) -> None:
    with PolicyDaemon(world.settings) as daemon:
        for key in ("a.example", "A.Example", "a.example.", "a.example:25", "a.example", "a.example"):
            assert daemon.ask(key) == SECURE
        assert daemon.ask("a.example", "policy-tlsrpt").startswith(f"{SECURE} policy_type=sts policy_domain=a.example")
        assert daemon.ask("t.example") == "NOTFOUND "
        for key in ("sub.a.example", ".a.example", "[a.example]", "example"):
            assert daemon.ask(key) == "NOTFOUND "  # STS-6: nothing is inherited
        assert world.hosts.host("a.example").requests == 1
        # one line per decision that is no cache hit
        assert daemon.log.text().count("domain=a.example") == 1
        daemon.log.wait(
            r"decision=secure domain=a\.example source=mta-sts rule=\S+ mode=enforce id=1 mx=mx\.a\.example,"
        )


def test_sts_1_a_record_behind_an_alias_and_in_several_strings(world: World) -> None:
    policy = ENFORCE.replace("a.example", "alias.example")
    world.hosts.add("alias.example", policy)
    world.hosts.add("strings.example", policy)
    long = "x=" + "y" * 300  # the server cuts it
    world.dns.load(
        "_mta-sts.alias.example. CNAME sts.provider.example.\n"
        'sts.provider.example. TXT "v=STSv1; id=1"\n'
        f'_mta-sts.strings.example. TXT "v=ST" "Sv1; " "id=1; {long}"\n'
        "mta-sts.alias.example. A 127.0.0.1\nmta-sts.strings.example. A 127.0.0.1\n"
    )
    with PolicyDaemon(world.settings) as daemon:
        for domain in ("alias.example", "strings.example"):
            assert daemon.ask(domain) == "OK secure match=mx.alias.example:.b.example servername=hostname"


def test_an_answer_waits_no_longer_than_it_may(world: World) -> None:
    settings = world.settings | {"sts": world.settings["sts"] | {"wait": 0.2}}
    with PolicyDaemon(settings) as daemon, daemon.client(timeout=3.0) as client:
        assert client.ask("policy", "hang.example") == "NOTFOUND "
        assert client.ask("policy", "a.example") == SECURE


def test_a_policy_forgotten_by_command_is_forgotten_by_the_daemon(world: World) -> None:
    with PolicyDaemon(world.settings) as daemon:
        assert [daemon.ask("a.example") for _ in range(3)] == [SECURE] * 3  # the last one ready

        def cache(*arguments: str) -> str:
            argv = [*COMMAND, "cache", *arguments, "--config", str(daemon.config)]
            return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout

        wait_until(lambda: "a.example" in cache("list"), "the policy in the store")
        world.hosts.add("a.example", TESTING)
        assert "forgotten: a.example" in cache("forget", "a.example")
        # the reply that was ready is gone too, and the policy is fetched anew
        wait_until(lambda: daemon.ask("a.example") == "NOTFOUND ", "another policy", timeout=20.0)


def test_policies_outlive_the_daemon_and_the_policy_host(world: World) -> None:
    with PolicyDaemon(world.settings) as daemon:
        assert daemon.ask("a.example") == SECURE
        daemon.process.send(signal.SIGTERM)
        assert daemon.process.wait(10) == 0
        world.dns.load(";FAULT * * servfail")
        daemon.start()
        assert daemon.ask("a.example") == SECURE  # STS-5, STS-13
        assert world.hosts.host("a.example").requests == 1


def test_reload_keeps_the_policies(world: World) -> None:
    with PolicyDaemon(world.settings) as daemon:
        assert daemon.ask("a.example") == SECURE
        world.dns.load("")
        daemon.reload({"log_level": "debug"})
        daemon.log.wait("new settings taken")
        assert daemon.ask("a.example") == SECURE
        assert daemon.ask("t.example") == "NOTFOUND "


def test_metrics_of_fetches(world: World) -> None:
    port = free_port()
    try:
        with PolicyDaemon(world.settings | {"metrics": {"listen": f"127.0.0.1:{port}"}}) as daemon:
            assert daemon.ask("a.example") == SECURE
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            page = connection.getresponse().read().decode()
            connection.close()
    finally:
        release_port(port)
    for line in (
        'tlspolicyd_fetches_total{outcome="ok"} 1.0',
        'tlspolicyd_fetch_seconds_count{outcome="ok"} 1.0',
        'tlspolicyd_cache_policies{mode="enforce"} 1.0',
    ):
        assert line in page, page
