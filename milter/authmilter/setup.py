"""What one generation of settings gives to every message: parsed once, shared by all threads of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authmilter.actions import Names
from authmilter.deferrals import Deferrals
from authmilter.dkim.settings import DkimSettings
from authmilter.knowledge import Forwarders, Networks
from authmilter.settings import Settings
from authmilter.spf.evaluate import SpfLimits
from authmilter.spf.memory import SpfMemory
from authmilter.verdict import Rules
from mailcommon.dns.resolver import DnsResolver, Resolver

if TYPE_CHECKING:
    from authmilter.bimi_check import BimiCheck


@dataclass(frozen=True, slots=True)
class Setup:
    """Handed in to `Transaction`; the clocks and the resolver are here so that tests and `check` can set them."""

    names: Names
    rules: Rules
    resolver: Resolver
    trusted: Networks
    keep_results: Networks
    forwarders: Forwarders
    spf: SpfMemory
    check_helo: bool
    dkim: DkimSettings
    deferrals: Deferrals
    accept_on_fault: bool = False
    bimi: BimiCheck | None = None  # None: not looked at
    now: Callable[[], float] = time.time  # seconds since 1970, for the dates in signatures
    monotonic: Callable[[], float] = time.monotonic


def preload(settings: Settings) -> None:
    """Import what only some settings need: done before the fork, the workers share it."""
    if settings.bimi.enabled:
        import authmilter.bimi_assembly  # noqa: F401


def require_readable(settings: Settings) -> None:
    """Raises ValueError if the user that this process is now cannot read a file of the settings."""
    if settings.bimi.enabled:
        from authmilter.bimi_assembly import mark_settings

        mark_settings(settings.bimi)


def _bimi(settings: Settings, fetch: bool) -> BimiCheck | None:
    if not settings.bimi.enabled:
        return None
    from authmilter.bimi_assembly import make_bimi_check

    return make_bimi_check(settings, fetch=fetch)


def make_setup(settings: Settings, resolver: Resolver | None = None, *, fetch: bool = True) -> Setup:
    """Build it; `resolver` replaces the one that `[dns]` describes. Without `fetch` nothing is fetched for BIMI."""
    source = resolver or DnsResolver(settings.dns.for_resolver())
    limits = SpfLimits(settings.spf.max_void_lookups, settings.spf.seconds)
    return Setup(
        names=Names(
            settings.name(),
            settings.own_ids,
            settings.results.auth,
            settings.spf.received_spf,
            settings.bimi.keep_fields,
        ),
        rules=settings.rules(),
        resolver=source,
        trusted=Networks(settings.trust.networks),
        keep_results=Networks(settings.trust.keep_results_from),
        forwarders=Forwarders(settings.trust.forwarders),
        spf=SpfMemory(settings.name(), limits),
        check_helo=settings.spf.check_helo,
        dkim=DkimSettings(
            max_signatures=settings.dkim.max_signatures,
            clock_skew=settings.dkim.clock_skew,
            min_rsa_bits=settings.dkim.min_rsa_bits,
            max_rsa_bits=settings.dkim.max_rsa_bits,
            accept_partial_body=settings.dkim.accept_partial_body,
            accept_added_fields=settings.dkim.accept_added_fields,
            refused_domains=frozenset(settings.dkim.refused_domains),
        ),
        deferrals=Deferrals(time.monotonic),
        accept_on_fault=settings.on_fault == "accept",
        bimi=_bimi(settings, fetch),
    )
