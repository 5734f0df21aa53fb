"""Asks the resolver that the settings name, and finds out which one Postfix asks.

Limits: six questions of `[dns] timeout` each.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings, Nameserver, nameservers_of
from mailcommon.doctor.postfix import Postfix
from mailcommon.doctor.resolver import ResolverFacts, Word

# top-level domains that are signed since 2009 to 2011
_SIGNED = ("org", "net", "se")
_ETC = Path("/etc/resolv.conf")


def read_resolver(settings: DnsSettings, postfix: Postfix | None = None) -> ResolverFacts:
    """What can be known of it; `postfix` adds what smtp(8) asks."""
    servers = nameservers_of(settings)
    resolver = DnsResolver(DnsSettings(settings.nameservers, settings.timeout, cache_entries=0))
    word, detail = _validates(resolver)
    again = _again(resolver)
    asked, file = ((), "") if postfix is None else _of_postfix(postfix)
    return ResolverFacts(
        servers=tuple(map(str, servers)),
        remote=tuple(str(server) for server in servers if not _is_local(server)),
        word=word,
        detail=detail,
        again=again,
        postfix=tuple(map(str, asked)),
        postfix_file=file,
    )


def _validates(resolver: DnsResolver) -> tuple[Word, str]:
    answers = []
    for domain in _SIGNED:
        answer = resolver.query("NS", domain)
        if answer.secure:  # RFC 4035 §3.2.3: the AD bit
            return Word.YES, f"the answer about {domain} is marked as validated"
        answers.append(answer)
        if answer.status.failed and len(answers) == 2 and answers[0].status.failed:
            break  # two are enough to say that nobody answers
    if any(not answer.status.failed for answer in answers):
        return Word.NO, f"no answer about {', '.join(_SIGNED)} is marked as validated (AD)"
    return Word.UNKNOWN, answers[0].detail or answers[0].status.value


def _again(resolver: DnsResolver) -> float:
    """Seconds for a question whose answer the resolver has, the best of two: this machine may be busy."""
    taken = []
    for _ in range(2):
        began = time.monotonic()
        if resolver.query("NS", _SIGNED[0]).status.failed:
            return 0.0  # said elsewhere
        taken.append(time.monotonic() - began)
    return min(taken)


def _is_local(server: Nameserver) -> bool:
    if ipaddress.ip_address(server.host).is_loopback:
        return True
    with socket.socket(server.family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((server.host, 0))  # works for addresses of this host alone
        except OSError:
            return False
    return True


def _of_postfix(postfix: Postfix) -> tuple[Sequence[Nameserver], str]:
    # chrooted, the C library reads the file below the queue directory
    chrooted = any(service.chroot for service in postfix.running("smtp"))
    file = postfix.queue_directory / "etc/resolv.conf" if chrooted else _ETC
    return nameservers_of(DnsSettings(), file), str(file)
