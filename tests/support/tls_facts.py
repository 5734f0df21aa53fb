"""Facts about a domain's TLS policy, made short for tables."""

from __future__ import annotations

from tlspolicyd.facts import DaneFact, Facts, Failure, Mode, MxHost, Policy, StsFact, Tlsa

DOMAIN = "a.example"


def host(number: int, tlsa: Tlsa, secure: bool = True, address: bool = True) -> MxHost:
    """The host mxNUMBER.a.example."""
    return MxHost(f"mx{number}.{DOMAIN}", 10 * number, secure, tlsa, address=address)


def dane(*tlsa: Tlsa, secure: bool = True, gone: int = 0) -> DaneFact:
    """A host for each of `tlsa`, then `gone` hosts that have no address."""
    hosts = [host(number, each) for number, each in enumerate(tlsa)]
    hosts += [host(len(tlsa) + number, Tlsa.NONE, address=False) for number in range(gone)]
    return DaneFact(hosts=tuple(hosts), expires_in=300, mx_secure=secure)


def sts(
    mode: Mode | None = None,
    *mx: str,
    unreadable: bool = False,
    failure: Failure | None = None,
    lines: tuple[str, ...] = (),
) -> StsFact:
    """A policy of `mode` with these patterns (none: all hosts of the domain), or that there is none."""
    policy = None if mode is None else Policy(mode, mx or (f"*.{DOMAIN}",), 86_400, lines)
    signalled = policy is not None or failure is not None
    return StsFact(DOMAIN, policy, "1", 1000.0, 87_400.0, True, signalled, failure, unreadable)


def facts(dane_fact: DaneFact, sts_fact: StsFact) -> Facts:
    """Both, of a.example."""
    return Facts(DOMAIN, sts_fact, dane_fact)
