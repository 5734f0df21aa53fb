"""Hosts of indicators and evidence, a resolver that knows them, and what fetches from them: all real, on loopback.

    with BimiWorld() as world:
        host = world.web("brand.example", {"/logo.svg": LOGO, "/mark.pem": world.marks.issue("a.example")})
        source = world.source()
        source.get(Kind.INDICATOR, world.uri("https://brand.example/logo.svg"), 2.0)
        host.fault = "hang"

`settings` is the [bimi] table that a milter needs to live in it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from authmilter.bimi import uri
from authmilter.bimi.assets import Source
from authmilter.bimi.uri import Uri
from authmilter.bimi_assembly import make_bimi_check
from tests.support.certificates import PrivateCa
from tests.support.dns_server import FakeDns
from tests.support.inbound import settings_of
from tests.support.marks import LOGO, MarkCa
from tests.support.policy_answers import Host
from tests.support.policy_host import PolicyHost

CRL_HOST = "crl.marks.example"


class BimiWorld:
    """Start it as a context manager."""

    def __init__(self, zone: str = "", *, addresses: tuple[str, ...] = ("127.0.0.1",), dns: bool = True) -> None:
        """zone: what the resolver knows beside the hosts. Without `dns` there is none; `hosts_zone` is for another."""
        self._stack = contextlib.ExitStack()
        self._addresses = addresses
        self._zone = zone
        self._with_dns = dns
        self._sources: list[Source] = []
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-bimi-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.marks = MarkCa()
        self._ca = PrivateCa()
        self.hosts = PolicyHost(self._ca, addresses)
        self.dns: FakeDns | None = None

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.enter_context(self.hosts)
        self.marks.write_roots(self.folder / "marks.pem")
        self.marks.write_logs(self.folder / "logs.json")
        self._ca.write_roots(self.folder / "hosts.pem")
        self.web(CRL_HOST, {"/issuer.crl": self.marks.crl()})
        if self._with_dns:
            self.dns = self._stack.enter_context(FakeDns(self._zone + self.hosts_zone()))
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None) -> None:
        for source in self._sources:
            source.close()
        self._stack.close()

    def hosts_zone(self, *more: str) -> str:
        """Zone text with the hosts' addresses: any host below .example that begins with web, crl or brand."""
        names = ("web.example", "brand.example", CRL_HOST, *more)
        return "".join(f"{name}. 300 IN A {address}\n" for name in names for address in self._addresses)

    def web(self, name: str, files: dict[str, bytes] | None = None, fault: str = "") -> Host:
        """A host with files; LOGO is at /logo.svg unless they say otherwise."""
        return self.hosts.add_files(name, {"/logo.svg": LOGO} if files is None else files, fault)

    def settings(self, **bimi: Any) -> dict[str, Any]:
        """The [bimi] table."""
        return {
            "enabled": True,
            "ca_file": str(self.folder / "marks.pem"),
            "ct_log_list": str(self.folder / "logs.json"),
            "https_ca_file": str(self.folder / "hosts.pem"),
            "https_port": self.hosts.port,
            "allow_private_addresses": True,
            **bimi,
        }

    def tables(self, **bimi: Any) -> dict[str, Any]:
        """Settings of a milter: [bimi], and [dns] if there is a resolver here."""
        tables: dict[str, Any] = {"bimi": self.settings(**bimi)}
        if self.dns:
            tables["dns"] = {"nameservers": [self.dns.address], "timeout": 2.0}
        return tables

    def source(self, **bimi: Any) -> Source:
        """What a milter with these settings fetches with."""
        check = make_bimi_check(settings_of(self.tables(**bimi)))
        self._sources.append(check.source)
        return check.source

    @staticmethod
    def uri(text: str) -> Uri:
        """The URI of a record."""
        found = uri.parse(text)
        assert isinstance(found, Uri), found
        return found
