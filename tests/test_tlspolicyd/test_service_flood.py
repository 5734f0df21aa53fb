"""10,000 questions about one new domain at the same moment, through the daemon's socket: one fetch for all of them."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

import pytest

from tests.support.certificates import PrivateCa
from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import PolicyDaemon
from tests.support.policy_host import PolicyHost
from tests.support.requirements import require
from tests.support.socketmap_client import encode

MANY = 10_000
DELAY = 6.0  # seconds from the request for the policy to the answer
ZONE = """
_mta-sts.a.example. 300 TXT "v=STSv1; id=1"
mta-sts.a.example. 300 A 127.0.0.1
a.example. 300 MX 10 mx.a.example.
mx.a.example. 300 A 127.0.0.2
org. 300 NS ns.org.
"""
POLICY = "version: STSv1\nmode: enforce\nmx: mx.a.example\nmax_age: 86400\n"
REPLY = encode(b"OK secure match=mx.a.example servername=hostname")


def descriptors() -> None:
    """This process and the daemon need one for each connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < MANY + 500:
        require(f"only {most} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def ask_all(path: str) -> set[bytes]:
    """Open all connections, then ask on each before the policy can be there; the replies."""
    connections = []
    for _ in range(MANY):
        while True:
            try:
                connections.append(await asyncio.open_unix_connection(path))
                break
            except BlockingIOError:  # the queue of new connections is full for the moment
                await asyncio.sleep(0.01)
    begun = time.monotonic()
    for _, writer in connections:
        writer.write(encode(b"policy a.example"))
    assert time.monotonic() - begun < DELAY
    replies = await asyncio.gather(*(reader.readexactly(len(REPLY)) for reader, _ in connections))
    for _, writer in connections:
        writer.close()
    return set(replies)


@pytest.mark.parametrize("dane", [False, True], ids=["DANE off", "DANE on"])
def test_10000_look_ups_at_once_are_one_fetch(tmp_path: Path, dane: bool) -> None:
    descriptors()
    ca = PrivateCa()
    with FakeDns((";FAULT org. * ad\n" if dane else "") + ZONE) as dns, PolicyHost(ca) as hosts:
        hosts.add("a.example", POLICY).delay = DELAY
        settings = {
            "dns": {"nameservers": [dns.address]},
            "dane": {"enabled": dane},
            "max_connections": MANY + 10,
            "sts": {
                "ca_file": str(ca.write_roots(tmp_path / "ca.pem")),
                "https_port": hosts.port,
                "allow_private_addresses": True,
                "wait": 50.0,
            },
        }
        with PolicyDaemon(settings) as daemon:
            replies = asyncio.run(ask_all(daemon.address.removeprefix("unix:")))
            assert replies == {REPLY}
            host = hosts.host("a.example")
            assert (host.connections, host.requests) == (1, 1)
            asked = sorted((query.name, query.rdtype) for query in dns.queries if query.name.endswith("example"))
            needed = [("_mta-sts.a.example", "TXT"), ("mta-sts.a.example", "A"), ("mta-sts.a.example", "AAAA")]
            assert asked == sorted(needed + ([("a.example", "MX")] if dane else []))
            # and one decision in the log
            assert daemon.log.text().count("domain=a.example source=") == 1
