"""From settings to a `BimiCheck` and to what fetches for it. Nothing runs before the first fetch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from authmilter.bimi.assets import Nowhere, Source
from authmilter.bimi.fetching import FetchedAssets
from authmilter.bimi.load import Loader
from authmilter.bimi.settings import BimiSettings, MarkSettings
from authmilter.bimi.trust import read_logs, read_roots
from authmilter.bimi_check import BimiCheck
from authmilter.settings import Bimi, Settings
from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.fetch.client import Client, ClientSettings

FETCH_SECONDS = 10.0  # for one fetch; the message that asked for it waits much shorter
_CACHED_ADDRESSES = 2_000


def make_bimi_check(settings: Settings, *, fetch: bool = True) -> BimiCheck:
    """What `[bimi]` describes; without `fetch` nothing is fetched. Raises ValueError for bad files."""
    bimi = settings.bimi
    marks = mark_settings(bimi)
    source: Source = Nowhere()
    if fetch and bimi.evidence != "off":
        source = FetchedAssets(lambda: make_loader(settings, marks, time.time), bimi.budget)
    wanted = BimiSettings(bimi.evidence, bimi.compare, bimi.budget, marks)
    return BimiCheck(wanted, source, time.monotonic, time.time)


def mark_settings(bimi: Bimi) -> MarkSettings:
    """The part about certificates; raises ValueError for files that cannot be used."""
    if bimi.evidence == "off":
        return MarkSettings()
    return MarkSettings(read_roots(bimi.ca_file), bimi.common_marks, bimi.revocation, read_logs(bimi.ct_log_list))


def make_loader(settings: Settings, marks: MarkSettings, now: Callable[[], float]) -> Loader:
    """What fetches and judges, for the event loop that runs."""
    return Loader(make_client(settings), marks, now, settings.bimi.https_port)


def make_client(settings: Settings) -> Client:
    """What fetches, for the event loop that runs."""
    bimi = settings.bimi
    dns = replace(settings.dns.for_resolver(), cache_entries=_CACHED_ADDRESSES)
    return Client(
        AsyncDnsResolver(dns),
        ClientSettings(
            ca_file=bimi.https_ca_file,
            more_roots="" if bimi.https_ca_file else bimi.ca_file,
            https_port=bimi.https_port,
            timeout=FETCH_SECONDS,
            allow_private_addresses=bimi.allow_private_addresses,
        ),
    )
