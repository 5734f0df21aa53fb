"""What `tlspolicyd query` and `tlspolicyd cache refresh` need of the daemon's parts, put together for one run.

The store is read, and for a query never written: what is fetched to explain an answer is not kept.

Diagnostics: ValueError if something that the settings name cannot be used; a store that cannot be read is a remark.
"""

from __future__ import annotations

import time

from mailcommon.dns.async_resolver import AsyncDnsResolver
from tlspolicyd import cache_commands, validation
from tlspolicyd.assembly import make_tools
from tlspolicyd.cache.store import Store, StoreFault, open_store
from tlspolicyd.explain import Parts, explain
from tlspolicyd.explain_json import as_json as explain_as_json
from tlspolicyd.explain_text import as_text
from tlspolicyd.facts import SiteLevel
from tlspolicyd.lookup import Lookup
from tlspolicyd.policies import Policies
from tlspolicyd.query import POLICY, read_query
from tlspolicyd.settings import Settings
from tlspolicyd.sts.fetch import Fetcher


async def run(settings: Settings, key: str, *, as_json: bool) -> tuple[str, list[str]]:
    """The explanation of what Postfix gets for `key`, and what hindered it."""
    resolver, fetcher = make_tools(settings)
    try:
        return await _explain(settings, resolver, fetcher, key, as_json=as_json)
    finally:
        await fetcher.close()
        await resolver.close()


async def refresh(settings: Settings, domain: str | None, *, as_json: bool) -> tuple[str, bool]:
    """See cache_commands.refresh."""
    resolver, fetcher = make_tools(settings)
    try:
        return await cache_commands.refresh(settings.cache.store, resolver, fetcher, domain, as_json=as_json)
    finally:
        await fetcher.close()
        await resolver.close()


async def _explain(
    settings: Settings, resolver: AsyncDnsResolver, fetcher: Fetcher, key: str, *, as_json: bool
) -> tuple[str, list[str]]:
    policies = Policies(resolver, fetcher, Store())
    remarks = await _adopt(settings.cache.store, key, policies)
    dane = settings.dane.enabled
    if dane:
        found = await validation.find_out(resolver)
        dane = found.word is not validation.Word.NO
        if found.word is not validation.Word.YES:
            remarks.append(f"DANE: the resolver {found.word}: {found.detail}")
    # no mail waits here, so that there is time for the whole fetch
    lookup = Lookup(policies, resolver, dane=dane, wait=settings.sts.timeout)
    explanation = await explain(key, Parts(lookup, resolver, fetcher, SiteLevel(settings.site_level)))
    await policies.close()
    return explain_as_json(explanation) if as_json else as_text(explanation, time.time()).rstrip(), remarks


async def _adopt(url: str, key: str, policies: Policies) -> list[str]:
    """Take what the store has of the domain; returns why that was not possible."""
    domain = read_query(POLICY, key).domain
    if domain is None or url == "memory:":
        return []
    store = open_store(url, time.time, mend=False)
    try:
        entry = await store.read(domain)
    except StoreFault as fault:
        return [f"the cache is left out: {fault}"]
    finally:
        await store.close()
    if entry is not None:
        policies.keeper.adopt(domain, entry)
    return []
