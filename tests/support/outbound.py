"""The whole outbound gate, all of it real: Postfix, the policy daemon, and a world of recipients to send to.

The world is a signed DNS tree behind a validating unbound, MX hosts with certificates of a private CA on loopback
addresses at port 25, and HTTPS policy hosts. It is declared first and started then:

    world = Outbound()
    world.mx("mx.a.example")
    world.domain("a.example", "mx.a.example", policy=policy("mx.a.example"))
    with world:
        world.postfix.deliver("u@a.example").status       # "sent"
        world.hosts.find("u@a.example")                   # what came, over which TLS

Diagnostics: `Unavailable` if the machine lacks something (see `missing`); `StartFailed` if a server does not come up.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import postfix, signed_zone
from tests.support.certificates import Credentials, PrivateCa
from tests.support.loopback import Network
from tests.support.mx_host import MxHosts, StartTls
from tests.support.policy_daemon import PolicyDaemon
from tests.support.policy_host import PolicyHost
from tests.support.postfix_installation import HOST, Installation
from tests.support.processes import Unavailable
from tests.support.sending_postfix import POLICY_MAP, SendingPostfix
from tests.support.signed_zone import SignedUnbound


def missing() -> str:
    """Why there can be no such world on this machine, "" if there can."""
    return postfix.missing() or signed_zone.missing()


def policy(*mx: str, mode: str = "enforce", max_age: int = 86400, extra: Sequence[str] = ()) -> str:
    """The text of an MTA-STS policy; `extra`: further lines."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in mx), f"max_age: {max_age}", *extra]
    return "".join(f"{line}\r\n" for line in lines)


def fingerprint(credentials: Credentials) -> str:
    """A TLSA record for a host's certificate itself (RFC 6698 §2.1: DANE-EE, whole certificate, SHA-256)."""
    return f"3 0 1 {hashlib.sha256(credentials.der).hexdigest()}"


def _name_and_type(line: str) -> tuple[str, str]:
    """Owner and type of a record written as "name ttl IN type ..."."""
    fields = line.split()
    return fields[0].lower(), fields[3]


class Outbound:
    """World, daemon and Postfix. Declare, then `start()` and `stop()`, or use it as a context manager."""

    def __init__(
        self,
        *,
        installation: Installation = HOST,
        policy_map: str = POLICY_MAP,
        postfix_settings: Mapping[str, str] | None = None,
        services: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        faults: Mapping[str, Sequence[Any]] | None = None,
        daemon: bool = True,
    ) -> None:
        """services: further lines of master.cf. settings: of the daemon, over what the world needs. faults: of
        `SignedUnbound`: unsigned, bogus and so on.

        daemon: False = it is not started; whoever answers Postfix instead listens on `postfix.policy_socket`.
        """
        if problem := missing():
            raise Unavailable(problem)
        self._installation, self._policy_map = installation, policy_map
        self._postfix_settings = dict(postfix_settings or {})
        self._services = tuple(services)
        self._settings = dict(settings or {})
        self._faults = dict(faults or {})
        self._with_daemon = daemon
        self._records: list[str] = []
        self._declared: list[tuple[str, str, Path | None, StartTls]] = []
        self._reports: dict[str, Any] | None = None
        self._stack = contextlib.ExitStack()
        self.ca = PrivateCa()
        self.network = Network()
        self.hosts = MxHosts()
        self.policy_host = PolicyHost(self.ca)
        self._base = Path(tempfile.mkdtemp(prefix="gatepost-world-", dir="/tmp"))

    def credentials(self, *names: str, flaw: str = "") -> Credentials:
        """A certificate of the world's CA, see `PrivateCa.issue`."""
        return self.ca.issue(*names, flaw=flaw)

    def certificate(self, credentials: Credentials) -> Path:
        """A file with it, for `MxHost.certificate`."""
        descriptor, name = tempfile.mkstemp(dir=self._base, suffix=".pem")
        os.close(descriptor)
        return credentials.write(Path(name))

    def record(self, line: str) -> None:
        """One more DNS record, with absolute names."""
        self._records.append(line)

    def replace_record(self, line: str) -> None:
        """Put `line` in the place of all records of its name and type, and let the resolver forget."""
        key = _name_and_type(line)
        self._records = [*(old for old in self._records if _name_and_type(old) != key), line]
        self.dns.reload("\n".join(self._records))

    def mx(
        self,
        name: str,
        *,
        credentials: Credentials | None = None,
        flaw: str = "",
        starttls: StartTls = StartTls.GOOD,
        tlsa: str = "",
        runs: bool = True,
    ) -> str:
        """An MX host; gives its name back. credentials: None = for its name, with `flaw`. tlsa: what its TLSA record
        says, "own" = what fits. runs: False = it has an address and nobody listens there.
        """
        address = self.network.address()
        shown = credentials or self.credentials(name, flaw=flaw)
        self.record(f"{name}. 60 IN A {address}")
        if tlsa:
            self.record(f"_25._tcp.{name}. 60 IN TLSA {fingerprint(shown) if tlsa == 'own' else tlsa}")
        if runs:
            self._declared.append((name, address, self.certificate(shown), starttls))
        return name

    def domain(self, name: str, *mx: str, policy: str | bytes | None = None, id: str = "1", fault: str = "") -> None:  # noqa: A002 RFC 8461's word
        """A recipient domain with its MX hosts, the best first. policy: the text that its policy host serves, with
        `fault` of `PolicyHost`; None = no MTA-STS.
        """
        for preference, host in enumerate(mx, 1):
            self.record(f"{name}. 60 IN MX {preference} {host}.")
        if policy is not None:
            self.record(f'_mta-sts.{name}. 60 IN TXT "v=STSv1; id={id};"')
            self.record(f"mta-sts.{name}. 60 IN A 127.0.0.1")
            self.policy_host.add(name, policy, fault=fault)

    def use_reports(self, contact: str, **tlsrpt: Any) -> None:
        """Let the daemon count for TLS reports. Without `log` in `tlsrpt` it takes Postfix's datagrams."""
        self._reports = {"contact": contact, **tlsrpt}

    def start(self) -> None:
        """Start everything that was declared; stops what ran if one fails."""
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._base, ignore_errors=True)
            stack.callback(self.network.release)
            resolver = self.network.address()
            self.dns = stack.enter_context(self._resolver(resolver))
            stack.enter_context(self.hosts)
            for name, address, certificate, starttls in self._declared:
                self.hosts.add(name, address, certificate=certificate, starttls=starttls)
            stack.enter_context(self.policy_host)
            roots = self.ca.write_roots(self._base / "ca.pem")
            self.postfix = SendingPostfix(
                nameserver=resolver,
                ca_file=roots,
                policy_map=self._policy_map,
                settings=self._postfix_settings,
                services=self._services,
                installation=self._installation,
            )
            stack.callback(self.postfix.stop)
            needed: dict[str, Any] = {
                "dns": {"nameservers": [self.dns.address]},
                "sts": {
                    "ca_file": str(roots),
                    "https_port": self.policy_host.port,
                    "allow_private_addresses": True,
                    "timeout": 5.0,
                },
                "dane": {"enabled": True},
            }
            for key, value in self._settings.items():
                needed[key] = {**needed.get(key, {}), **value} if isinstance(value, Mapping) else value
            if self._reports is not None:
                needed["tlsrpt"] = self._report_settings(self._reports)
            self.daemon = PolicyDaemon(needed, socket=f"unix:{self.postfix.policy_socket}")
            stack.callback(self.daemon.stop)
            if self._with_daemon:
                self.daemon.start()
            self.postfix.start()
            self._stack = stack.pop_all()

    def _report_settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        settings = {"store": f"sqlite:{self._base}/reports.db"}
        if given.get("log") == "maillog":
            return {**settings, **given, "log": str(self.postfix.log.path)}
        return {**settings, "socket": f"unix:{self.postfix.queue_directory}/tlspolicyd/tlsrpt.sock", **given}

    def _resolver(self, address: str) -> SignedUnbound:
        # By a top-level domain that is signed the daemon finds out whether a resolver validates.
        return SignedUnbound("\n".join(self._records), listen=address, signed=["org"], **self._faults)

    def stop(self) -> None:
        """Stop what was started. May be called twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
