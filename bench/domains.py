"""The senders of the corpus: providers with their hosts, domains that send through them, and the DNS zone of all.

Every name is made, none is anybody's: addresses are those of RFC 5737, and the zone is served as a root of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.support.dkim_signer import PrivateKey, dns_record, make_key

TTL = 7200  # seconds; longer than a run
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_POLICIES = ("reject", "quarantine", "none")
_TOP = ("com", "net", "org")


@dataclass(frozen=True, slots=True)
class Host:
    """A mail server that sends: its address and the name that both DNS and HELO give it."""

    ip: str
    name: str
    publishes: bool  # an SPF record for that name


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    hosts: tuple[Host, ...]

    @property
    def spf(self) -> str:
        """The name to include."""
        return f"_spf.{self.name}"


@dataclass(frozen=True, slots=True)
class Domain:
    """One Author Domain."""

    name: str
    organizational: str  # where the DMARC record is: the same or the one above
    provider: Provider
    policy: str
    includes: bool  # its SPF record names the provider's, else the addresses
    key: PrivateKey
    selector: str


def make_providers(count: int) -> list[Provider]:
    """Give providers with one to three hosts each."""
    providers = []
    for number in range(count):
        name = f"provider{number:03}.net"
        hosts = []
        for place in range(1 + number % 3):
            serial = number * 3 + place
            ip = f"{_NETWORKS[serial // 250]}.{1 + serial % 250}"
            hosts.append(Host(ip, f"out{place}.{name}", publishes=place == 1))
        providers.append(Provider(name, tuple(hosts)))
    return providers


def make_domains(providers: list[Provider], count: int, *, prefix: str, keys: int, includes: bool) -> list[Domain]:
    """Give domains in turn of the providers: policies mixed, a third with the record at the organizational domain.

    `keys`: how many different RSA-2048 keys there are. `includes`: whether every second SPF record has an include.
    """
    domains = []
    for number in range(count):
        organizational = f"{prefix}{number:03}.{_TOP[number % 3]}"
        # runs of the providers' length, so that no property goes with one provider
        turn = number + number // len(providers)
        below = turn % 3 == 2
        domains.append(
            Domain(
                name=f"news.{organizational}" if below else organizational,
                organizational=organizational,
                provider=providers[number % len(providers)],
                policy=_POLICIES[(turn // 3) % 3],
                includes=includes and turn % 2 == 1,
                key=make_key("rsa", 2048, number % keys),
                selector=f"s{2020 + number % 7}",
            )
        )
    return domains


def _txt(name: str, text: str) -> str:
    strings = " ".join(f'"{text[start : start + 250]}"' for start in range(0, len(text), 250))
    return f"{name}. {TTL} IN TXT {strings}"


def _addresses(provider: Provider) -> str:
    return " ".join(f"ip4:{host.ip}" for host in provider.hosts)


def _provider_zone(provider: Provider) -> Iterator[str]:
    yield _txt(provider.spf, f"v=spf1 {_addresses(provider)} ~all")
    yield _txt(f"bounce.{provider.name}", f"v=spf1 {_addresses(provider)} -all")
    for host in provider.hosts:
        reverse = ".".join(reversed(host.ip.split(".")))
        yield f"{host.name}. {TTL} IN A {host.ip}"
        yield f"{reverse}.in-addr.arpa. {TTL} IN PTR {host.name}."
        if host.publishes:
            yield _txt(host.name, f"v=spf1 ip4:{host.ip} -all")


def _domain_zone(domain: Domain) -> Iterator[str]:
    allowed = f"include:{domain.provider.spf}" if domain.includes else _addresses(domain.provider)
    yield _txt(domain.name, f"v=spf1 {allowed} -all")
    yield f"{domain.name}. {TTL} IN MX 10 {domain.provider.hosts[0].name}."
    yield _txt(f"{domain.selector}._domainkey.{domain.name}", dns_record(domain.key))
    yield _txt(f"_dmarc.{domain.organizational}", f"v=DMARC1; p={domain.policy}; rua=mailto:dmarc@{domain.name}")


def zone(providers: Iterable[Provider], domains: Iterable[Domain]) -> str:
    """Give the zone's text, with absolute names."""
    lines = [line for provider in providers for line in _provider_zone(provider)]
    lines += [line for domain in domains for line in _domain_zone(domain)]
    return "\n".join(lines) + "\n"
