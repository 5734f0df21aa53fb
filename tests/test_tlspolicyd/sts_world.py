"""A DNS server, a policy host and a fetcher between them, for the tests of fetching."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from mailcommon.fetch.client import ClientSettings
from tests.support.certificates import PrivateCa
from tests.support.dns_server import FakeDns
from tests.support.policy_answers import Host
from tests.support.policy_host import PolicyHost
from tlspolicyd.sts.fetch import Fetcher, FetchResult

T = TypeVar("T")

POLICY = "version: STSv1\nmode: enforce\nmx: mx.a.example\nmx: *.b.example\nmax_age: 604800\n"
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@dataclass
class World:
    ca: PrivateCa
    ca_file: Path
    dns: FakeDns
    server: PolicyHost
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    _zone: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def domain(self, *records: str) -> str:
        """A new domain, whose policy host has the records ("A 127.0.0.1" if none is given)."""
        domain = f"d{next(self._numbers)}.example"
        self.zone(*(f"mta-sts.{domain}. 300 IN {record}" for record in records or ("A 127.0.0.1",)))
        return domain

    def zone(self, *lines: str) -> None:
        """More lines for the DNS."""
        self._zone += lines
        self.dns.load("\n".join(self._zone))

    def host(
        self, fault: str = "", flaw: str = "", policy: str | bytes = POLICY, records: tuple[str, ...] = ()
    ) -> Host:
        """The policy host of a new domain."""
        domain = self.domain(*records)
        return self.server.add(domain, policy, credentials=self.ca.issue(f"mta-sts.{domain}", flaw=flaw), fault=fault)

    def run(self, work: Callable[[Fetcher], Awaitable[T]], **settings: Any) -> T:
        """`work` with a fetcher, in an event loop of its own."""

        async def main() -> T:
            resolver = AsyncDnsResolver(DnsSettings((self.dns.address,), timeout=2.0))
            fetcher = Fetcher(resolver, self.settings(**settings))
            try:
                return await work(fetcher)
            finally:
                await fetcher.close()
                await resolver.close()

        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(main())

    def settings(self, **changes: Any) -> ClientSettings:
        """Those of the tests: our authority, our port, loopback allowed, five seconds."""
        return ClientSettings(
            **{
                "ca_file": str(self.ca_file),
                "https_port": self.server.port,
                "timeout": 5.0,
                "allow_private_addresses": True,
                **changes,
            }
        )

    def fetch(self, host: Host | str, *, with_certificate: bool = False, **settings: Any) -> FetchResult:
        """The policy of one domain."""
        domain = host if isinstance(host, str) else host.name.removeprefix("mta-sts.")
        return self.run(lambda fetcher: fetcher.fetch(domain, with_certificate=with_certificate), **settings)


@contextmanager
def new_world(folder: Path) -> Iterator[World]:
    """A world on 127.0.0.1, 127.0.0.2 and ::1."""
    ca = PrivateCa()
    ca_file = ca.write_roots(folder / "ca.pem")
    with FakeDns() as dns, PolicyHost(ca, ("127.0.0.1", "127.0.0.2", "::1")) as server:
        yield World(ca, ca_file, dns, server)
