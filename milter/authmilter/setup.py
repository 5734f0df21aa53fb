"""What one generation of settings gives to every message: parsed once, shared by all threads of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authmilter.account import Account
from authmilter.actions import Names
from authmilter.arc.sealer import Sealer
from authmilter.arc.settings import ArcSettings
from authmilter.deferrals import Deferrals
from authmilter.dkim.compromised import CompromisedKeys
from authmilter.dkim.settings import DkimSettings
from authmilter.knowledge import Forwarders, Networks, Sealers
from authmilter.reports.collector import Collector
from authmilter.reports.door import Door
from authmilter.settings import Settings
from authmilter.sign.keyring import Keyring, read_keys
from authmilter.sign.signer import Signer
from authmilter.spf.evaluate import SpfLimits
from authmilter.spf.memory import SpfMemory
from authmilter.verdict import Rules
from mailcommon.dns.counts import DnsCounts
from mailcommon.dns.resolver import DnsResolver, Resolver
from mailcommon.settings import SettingsError

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
    sealers: Sealers
    spf: SpfMemory
    check_helo: bool
    dkim: DkimSettings
    arc: ArcSettings | None  # None: chains are not looked at
    signer: Signer
    sealer: Sealer | None  # None: nothing is sealed
    deferrals: Deferrals
    accept_on_fault: bool = False
    account: Account = field(default_factory=Account)
    collector: Collector | None = None  # None: nothing is counted for reports
    door: Door | None = None  # for reports that are sent through here
    bimi: BimiCheck | None = None  # None: not looked at
    now: Callable[[], float] = time.time  # seconds since 1970, for the dates in signatures
    monotonic: Callable[[], float] = time.monotonic


def preload(settings: Settings) -> None:
    """Import what only some settings need: done before the fork, the workers share it."""
    if settings.bimi.enabled:
        import authmilter.bimi_assembly  # noqa: F401


def _bimi(settings: Settings, resolver: Resolver, fetch: bool) -> BimiCheck | None:
    if not settings.bimi.enabled:
        return None
    from authmilter.bimi_assembly import make_bimi_check

    return make_bimi_check(settings, resolver, fetch=fetch)


def compromised_keys(settings: Settings) -> CompromisedKeys | None:
    """What `[dkim]` wants to know about keys, None if it does not."""
    dkim = settings.dkim
    return CompromisedKeys(dkim.blocklist, dkim.check_weak_keys) if dkim.blocklist or dkim.check_weak_keys else None


def read_files(settings: Settings, user: str = "") -> Keyring:
    """Read what the settings name: the private keys as `user`, "" for the user of this process.

    Raises SettingsError for the first file that cannot be used.
    """
    compromised = compromised_keys(settings)
    for fault in compromised.faults if compromised else ():
        raise SettingsError(f"[dkim] {fault}")
    keys = read_keys(settings.signing(), user)
    for fault in keys.faults.values():
        raise SettingsError(f"[sign] {fault}")
    if settings.bimi.enabled:
        from authmilter.bimi_assembly import mark_settings

        try:
            mark_settings(settings.bimi)
        except ValueError as problem:
            raise SettingsError(f"[bimi] {problem}") from problem
    return keys


def make_setup(
    settings: Settings,
    resolver: Resolver | None = None,
    keys: Keyring | None = None,
    *,
    fetch: bool = True,
    counts: DnsCounts | None = None,
) -> Setup:
    """Build it; `resolver` replaces the one that `[dns]` describes, `keys` those that would be read from the files.

    Without `fetch` nothing is fetched for BIMI. `counts` is told of every look-up.
    """
    signing = settings.signing()
    dkim = settings.dkim
    ring = keys or read_keys(signing)
    signer = Signer(signing, ring)
    sealing = settings.sealing()
    source = resolver or DnsResolver(settings.dns.for_resolver(), counts=counts)
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
        sealers=Sealers(settings.trust.arc_sealers),
        spf=SpfMemory(settings.name(), limits),
        check_helo=settings.spf.check_helo,
        dkim=DkimSettings(
            max_signatures=dkim.max_signatures,
            clock_skew=dkim.clock_skew,
            min_rsa_bits=dkim.min_rsa_bits,
            max_rsa_bits=dkim.max_rsa_bits,
            accept_partial_body=dkim.accept_partial_body,
            accept_added_fields=dkim.accept_added_fields,
            refused_domains=frozenset(dkim.refused_domains),
            compromised=compromised_keys(settings),
        ),
        arc=ArcSettings(settings.arc.max_sets, settings.arc.max_keys) if settings.arc.enabled else None,
        signer=signer,
        sealer=Sealer(sealing, ring.keys.get(sealing.file), signer) if sealing else None,
        deferrals=Deferrals(time.monotonic),
        accept_on_fault=settings.on_fault == "accept",
        bimi=_bimi(settings, source, fetch),
    )
