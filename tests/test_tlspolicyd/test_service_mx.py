"""The whole daemon, and a domain whose mail has moved to a host that the cached policy does not allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import PrivateCa
from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import PolicyDaemon
from tests.support.policy_host import PolicyHost
from tests.support.waiting import wait_until

AD = ";FAULT * * ad\n"  # the resolver of the test says that all is validated, or validation is found to be missing
ZONE = """
_mta-sts.a.example. 300 TXT "v=STSv1; id=1"
mta-sts.a.example. 300 A 127.0.0.1
mx.a.example. 300 A 127.0.0.2
new.a.example. 300 A 127.0.0.2
org. 300 NS ns.org.
"""


def policy(mx: str) -> str:
    return f"version: STSv1\nmode: enforce\nmx: {mx}\nmax_age: 86400\n"


def secure(mx: str) -> str:
    return f"OK secure match={mx} servername=hostname"


@pytest.mark.parametrize("dane", [False, True], ids=["DANE off", "DANE on"])
def test_complaint_4_the_daemon_looks_for_a_newer_policy(tmp_path: Path, dane: bool) -> None:
    """Its id has not changed, and the refresh of the day is far away."""
    ca = PrivateCa()
    zone = (AD if dane else "") + ZONE
    with FakeDns(f"{zone}a.example. 300 MX 10 new.a.example.\n") as dns, PolicyHost(ca) as hosts:
        hosts.add("a.example", policy("mx.a.example"))
        settings: dict[str, Any] = {
            "dns": {"nameservers": [dns.address]},
            "dane": {"enabled": dane},
            "sts": {
                "ca_file": str(ca.write_roots(tmp_path / "ca.pem")),
                "https_port": hosts.port,
                "allow_private_addresses": True,
                "timeout": 5.0,
            },
        }
        with PolicyDaemon(settings) as daemon:
            # with DANE on the facts about the hosts are kept from here on
            assert daemon.ask("a.example") == secure("mx.a.example")
            hosts.add("a.example", policy("new.a.example"))
            assert daemon.ask("a.example") == secure("mx.a.example")  # what is at hand, and the look begins
            wait_until(
                lambda: daemon.ask("a.example") == secure("new.a.example"), "the new policy", context=daemon.log.text
            )
            for _ in range(20):
                daemon.ask("a.example")
            daemon.log.wait(r"domain=a\.example event=\S*the policy held allows no MX host")
            assert hosts.host("a.example").requests == 1  # of the host that was put in place of the first one
            assert dns.count("a.example", "MX") == 1


def test_an_answer_does_not_wait_for_the_mx_look_up(tmp_path: Path) -> None:
    ca = PrivateCa()
    zone = f"{ZONE}a.example. 300 MX 10 mx.a.example.\n;FAULT a.example. MX timeout\n"
    with FakeDns(zone) as dns, PolicyHost(ca) as hosts:
        hosts.add("a.example", policy("mx.a.example"))
        settings: dict[str, Any] = {
            "dns": {"nameservers": [dns.address], "timeout": 20.0},
            "sts": {
                "ca_file": str(ca.write_roots(tmp_path / "ca.pem")),
                "https_port": hosts.port,
                "allow_private_addresses": True,
            },
        }
        with PolicyDaemon(settings) as daemon, daemon.client(timeout=5.0) as client:
            for _ in range(3):
                assert client.ask("policy", "a.example") == secure("mx.a.example")
            wait_until(lambda: dns.count("a.example", "MX"), "the MX question")
            assert client.ask("policy", "a.example") == secure("mx.a.example")


def test_a_policy_that_fits_costs_one_mx_question_and_no_fetch(tmp_path: Path) -> None:
    ca = PrivateCa()
    with FakeDns(f"{ZONE}a.example. 300 MX 10 mx.a.example.\n") as dns, PolicyHost(ca) as hosts:
        hosts.add("a.example", policy("mx.a.example"))
        settings: dict[str, Any] = {
            "dns": {"nameservers": [dns.address]},
            "sts": {
                "ca_file": str(ca.write_roots(tmp_path / "ca.pem")),
                "https_port": hosts.port,
                "allow_private_addresses": True,
            },
        }
        with PolicyDaemon(settings) as daemon:
            for key in ("a.example", "a.example", "a.example:587", "A.example", "a.example"):
                assert daemon.ask(key) == secure("mx.a.example")
            wait_until(lambda: dns.count("a.example", "MX"), "the MX question")
            daemon.stop()
            assert dns.count("a.example", "MX") == 1
            assert hosts.host("a.example").requests == 1
