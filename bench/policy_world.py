"""What the policy daemons are measured on: domains with policies, their name server, their policy host.

The same for all: one unbound over one zone, at a port of its own and at port 53, and one HTTPS server at port 443 of a
loopback address with a certificate for each policy host. Without root there is neither port 53 nor 443, and only what
can ask elsewhere is measured.

Limits: the policy host runs in this process, on one thread.
"""

from __future__ import annotations

import collections
import resource
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import nameservers
from tests.support.certificates import PrivateCa
from tests.support.policy_host import PolicyHost
from tests.support.ports import free_port, release_port
from tests.support.unbound import PrivateUnbound

ADDRESS = "127.77.53.2"  # of the policy host: a loopback address on which nobody else is at port 443
ABSENT = "nothing.bench.example"  # a domain without a policy
RECORD_ID = "20260101000000"
MAX_AGE = 604_800  # seconds
_TTL = 3600  # seconds; longer than a run


def domains(letter: str, count: int) -> list[str]:
    """`count` names: LETTER0.bench.example and so on."""
    return [f"{letter}{number}.bench.example" for number in range(count)]


def mx_patterns(domain: str) -> tuple[str, ...]:
    """The `mx` of its policy."""
    return (f"mx.{domain}", f"*.mx.{domain}")


def policy_lines(domain: str) -> tuple[str, ...]:
    """The policy as published."""
    patterns = (f"mx: {pattern}" for pattern in mx_patterns(domain))
    return ("version: STSv1", "mode: enforce", *patterns, f"max_age: {MAX_AGE}")


def zone(names: Sequence[str]) -> str:
    """The records of these domains."""
    lines = []
    for name in names:
        lines.append(f'_mta-sts.{name}. {_TTL} IN TXT "v=STSv1; id={RECORD_ID};"')
        lines.append(f"mta-sts.{name}. {_TTL} IN A {ADDRESS}")
        lines.append(f"{name}. {_TTL} IN MX 10 mx.{name}.")
        lines.append(f"mx.{name}. {_TTL} IN A 192.0.2.1")
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class World:
    dns: PrivateUnbound
    addresses: nameservers.Addresses
    policy_host: PolicyHost
    ca_file: Path

    def queries(self) -> collections.Counter[str]:
        """How many queries of each type unbound has had until now; needs `count_queries`."""
        lines = (line.split() for line in self.dns.log_text().splitlines() if line.endswith(" IN"))
        return collections.Counter(words[-2] for words in lines)

    def connections(self) -> int:
        """How many connections to the policy host are open now (proc(5), /proc/net/tcp: state 1 is ESTABLISHED)."""
        octets = "".join(f"{int(part):02X}" for part in reversed(ADDRESS.split(".")))
        local = f"{octets}:{self.policy_host.port:04X}"
        lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
        return sum(words[1] == local and words[3] == "01" for words in lines)


def _raise_file_limit() -> None:
    """The policy host's connections are descriptors of this process, and most shells give it 1,024 only."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def world(
    directory: Path, good: Sequence[str], hanging: Sequence[str] = (), *, text: str = "", count_queries: bool = False
) -> Iterator[World]:
    """The servers for these domains. `hanging`: their hosts do TLS and never answer. `text`: further records."""
    _raise_file_limit()
    ca = PrivateCa()
    ca_file = ca.write_roots(directory / "ca.pem")
    options = ["log-queries: yes"] if count_queries else []
    with ExitStack() as stack:
        try:
            host = stack.enter_context(PolicyHost(ca, (ADDRESS,), 443))
        except OSError:
            host = stack.enter_context(PolicyHost(ca, (ADDRESS,)))
        for name in (*good, *hanging):
            added = host.add(name, "\r\n".join(policy_lines(name)) + "\r\n", fault="hang" if name in hanging else "")
            # else the first who comes would wait for it
            added.contexts[added.credentials, False] = added.credentials.server_context()
        dns, addresses = stack.enter_context(nameservers.caching(zone([*good, *hanging]) + text, options))
        yield World(dns, addresses, host, ca_file)


@contextmanager
def port() -> Iterator[int]:
    """A port for a daemon."""
    number = free_port()
    try:
        yield number
    finally:
        release_port(number)
