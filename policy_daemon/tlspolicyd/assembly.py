"""Settings -> the parts that find out what is known of a domain, put together. The only module that knows them all.

What is made anew when the settings are read again: resolver, fetcher, look-up. What lasts: the policies and their
store.

Diagnostics: `StartError` if something that the settings name cannot be used; then nothing has been changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.counts import DnsCounts
from mailcommon.fetch.client import ClientSettings
from mailcommon.privileges import StartError
from tlspolicyd.cache.store import open_store
from tlspolicyd.clocks import Clocks
from tlspolicyd.discovery import Hooks, Limits
from tlspolicyd.facts import Facts, SiteLevel, StsFact
from tlspolicyd.lookup import Lookup
from tlspolicyd.metrics import Metrics
from tlspolicyd.mx_watch import MxWatch
from tlspolicyd.policies import Policies
from tlspolicyd.refresh import Refresher
from tlspolicyd.settings import Settings
from tlspolicyd.sts.fetch import Fetcher
from tlspolicyd.timing import Timing

_CLAIM_SECONDS = 15.0  # beyond the time limit of a fetch


class _Counting(Hooks):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def fetched(self, outcome: str, seconds: float) -> None:
        self._metrics.fetched(outcome, seconds)

    def refresh_failed(self, reason: str) -> None:
        self._metrics.refresh_failed(reason)


class _Lasting:
    """The policies and what looks after them."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self.refresher = Refresher(policies)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(policies.keeper.run()), loop.create_task(self.refresher.run())]

    def oldest(self) -> float | None:
        """When the oldest policy was fetched, unix seconds."""
        return self.refresher.oldest_fetch or None

    async def close(self) -> None:
        """End what runs, write what is new."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.policies.close()


class AssembledGate:
    """See service.Gate."""

    def __init__(self, lasting: _Lasting, resolver: AsyncDnsResolver, fetcher: Fetcher, settings: Settings) -> None:
        self.lasting = lasting
        self.resolver = resolver
        self._fetcher = fetcher
        self._patience = settings.sts.timeout
        self._policies = lasting.policies
        wait, entries = settings.sts.wait, settings.cache.entries
        self._watch = MxWatch(resolver, lasting.policies.suspect, entries=entries)
        seen = self._watch.answered
        self._with_dane = Lookup(lasting.policies, resolver, wait=wait, entries=entries, answered=seen)
        self._without = Lookup(lasting.policies, resolver, wait=wait, dane=False, answered=seen)
        self.site_level = SiteLevel(settings.site_level)
        self._why_not = "off by setting"
        self._lookup = self._without
        if settings.dane.enabled:
            self.use_dane("")

    def use_dane(self, why_not: str) -> None:
        """See service.Gate."""
        self._why_not = why_not
        self._lookup = self._without if why_not else self._with_dane

    def hot(self, domain: str, port: int) -> Facts | None:
        """See answering.Gate."""
        return self._lookup.hot(domain, port)

    async def facts(self, domain: str, port: int) -> Facts:
        """See answering.Gate."""
        facts = await self._lookup.facts(domain, port)
        if not facts.dane.enabled and self._why_not:
            return replace(facts, dane=replace(facts.dane, reason=self._why_not))
        return facts

    def peek(self, domain: str) -> StsFact | None:
        """See answering.Gate."""
        return self._policies.peek(domain)

    async def close(self, *, last: bool) -> None:
        """See service.Gate."""
        try:
            if last:
                await self._watch.close()  # it must not begin anything any more
                await self.lasting.close()
            else:
                # the fetches that it began go on
                await asyncio.sleep(2 * self._patience)
        finally:
            await self._watch.close()
            await self._fetcher.close()
            await self.resolver.close()


async def assemble(
    settings: Settings, metrics: Metrics, former: AssembledGate | None, changed: Callable[[str], None]
) -> AssembledGate:
    """See service.Assemble."""
    try:
        resolver, fetcher = make_tools(settings, metrics.dns)
        if former is None:
            lasting = await _open(settings, metrics, resolver, fetcher, changed)
        else:
            lasting = former.lasting
            lasting.policies.discovery.resolver = resolver
            lasting.policies.discovery.fetcher = fetcher
    except ValueError as fault:
        raise StartError(str(fault)) from fault
    return AssembledGate(lasting, resolver, fetcher, settings)


def make_tools(settings: Settings, counts: DnsCounts | None = None) -> tuple[AsyncDnsResolver, Fetcher]:
    """What looks names up, counted in `counts`, and what fetches policies; raises ValueError if they cannot be made."""
    sts = settings.sts
    resolver = AsyncDnsResolver(settings.dns.for_resolver(), counts=counts)
    fetcher = Fetcher(
        resolver,
        ClientSettings(
            ca_file=sts.ca_file,
            https_port=sts.https_port,
            timeout=sts.timeout,
            proxy=sts.proxy,
            allow_private_addresses=sts.allow_private_addresses,
            # first contacts may all hang: the refreshes have places beside theirs
            max_concurrent=sts.max_concurrent_fetches + Limits().refreshes + Limits().repeats,
        ),
    )
    return resolver, fetcher


async def _open(
    settings: Settings,
    metrics: Metrics,
    resolver: AsyncDnsResolver,
    fetcher: Fetcher,
    changed: Callable[[str], None],
) -> _Lasting:
    clocks = Clocks()
    policies = Policies(
        resolver,
        fetcher,
        open_store(settings.cache.store, clocks.wall),
        entries=settings.cache.entries,
        timing=Timing(claim=settings.sts.timeout + _CLAIM_SECONDS),
        limits=Limits(fetches=settings.sts.max_concurrent_fetches),
        clocks=clocks,
        on_change=changed,
        hooks=_Counting(metrics),
    )
    await policies.start()
    lasting = _Lasting(policies)
    metrics.watch_cache(policies.keeper.modes, lasting.oldest, lambda: policies.keeper.up)
    return lasting
