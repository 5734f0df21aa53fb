"""`tlspolicyd cache list|refresh|forget`: on the store itself, whether or not the daemon runs.

The daemon sees within two seconds what is changed here. Each function returns the text to print.

Diagnostics: `CacheError` with one line for a person: a store that cannot be used, a domain that is none.
Security: text of policies and servers is made safe for the terminal.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mailcommon.log import safe_value
from mailcommon.names import to_alabel
from tlspolicyd.cache.entry import Entry, decode
from tlspolicyd.cache.store import Row, Store, StoreFault, open_store
from tlspolicyd.discovery import Fetcher, Kind, TxtResolver
from tlspolicyd.policies import Policies

_AT_ONCE = 16  # refreshes
_BATCH = 500


class CacheError(Exception):
    """What was asked for cannot be done; the text says why."""


async def list_policies(url: str, domain: str | None = None, *, as_json: bool = False) -> str:
    """The unexpired policies in the store `url`, or that of one domain."""
    wanted = _name(domain)
    now = time.time()
    async with _store(url) as store:
        rows = await _rows(store, wanted)
    found = sorted((name, entry) for name, entry in rows if entry is not None and entry.expires_at > now)
    if as_json:
        return json.dumps([_as_object(name, entry, now) for name, entry in found], indent=2)
    if not found:
        return f"no policy of {wanted}" if wanted else "no policies"
    return "\n".join(_as_line(name, entry, now) for name, entry in found)


async def forget(url: str, domain: str | None = None, *, as_json: bool = False) -> str:
    """Forget the policy of `domain`, or every one."""
    wanted = _name(domain)
    async with _store(url) as store:
        names = sorted(name for name, entry in await _rows(store, wanted) if entry is not None)
        for start in range(0, len(names), _BATCH):
            rows: list[Row] = [(name, None) for name in names[start : start + _BATCH]]
            await store.write(rows, time.time())
    if as_json:
        return json.dumps({"forgotten": names})
    if wanted and not names:
        return f"no policy of {wanted}"
    return f"forgotten: {wanted}" if wanted else f"forgotten: {len(names)} policies"


async def refresh(
    url: str, resolver: TxtResolver, fetcher: Fetcher, domain: str | None = None, *, as_json: bool = False
) -> tuple[str, bool]:
    """Fetch the policy of `domain`, or every one that is held, now. Returns the text and whether all went well."""
    wanted = _name(domain)
    async with _store(url) as store:
        policies = Policies(resolver, fetcher, store)
        await policies.keeper.load()
        if not policies.keeper.up:
            raise CacheError(f"{store.name} cannot be read")
        names = [wanted] if wanted else sorted(policies.keeper.domains())
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> dict[str, object]:
            async with gate:
                found = await policies.refresh(name)
            fact = policies.peek(name)
            good = found is not None and found.kind is Kind.FETCHED
            return {
                "domain": name,
                "fetched": good,
                "failure": str(found.failure) if found is not None and found.failure else None,
                "reason": found.reason if found is not None else "error inside",
                "mode": str(fact.policy.mode) if fact is not None and fact.policy is not None else None,
                "id": fact.id if fact is not None else "",
            }

        results = await asyncio.gather(*map(one, names))
        if policies.keeper.unwritten and not await policies.keeper.sync():
            raise CacheError(f"{store.name} cannot be written")
    well = all(result["fetched"] for result in results)
    if as_json:
        return json.dumps(results, indent=2), well
    return "\n".join(map(_as_outcome, results)) or "no policies", well


def _as_outcome(result: dict[str, object]) -> str:
    if result["fetched"]:
        return f"{result['domain']}: fetched, mode {result['mode'] or 'unset'}, id {result['id']}"
    held = f"; the policy held stays, mode {result['mode']}" if result["mode"] else ""
    failure = f"{result['failure']} " if result["failure"] else ""
    return f"{result['domain']}: not fetched: {failure}{safe_value(result['reason'])}{held}"


@asynccontextmanager
async def _store(url: str) -> AsyncIterator[Store]:
    if url == "memory:":
        raise CacheError('[cache] store is "memory:": the policies are in the daemon alone')
    try:
        store = open_store(url, time.time, mend=False)
    except ValueError as fault:
        raise CacheError(str(fault)) from fault
    try:
        yield store
    except StoreFault as fault:
        raise CacheError(str(fault)) from fault
    finally:
        await store.close()


async def _rows(store: Store, domain: str | None) -> list[Row]:
    if domain is not None:
        return [(domain, await store.read(domain))]
    return [row async for batch in store.load() for row in batch]


def _name(domain: str | None) -> str | None:
    if domain is None:
        return None
    name = to_alabel(domain)
    if name is None:
        raise CacheError(f"{safe_value(domain)} is not a domain name")
    return name


def _as_object(name: str, entry: Entry, now: float) -> dict[str, object]:
    known = decode(entry)
    mx: Sequence[str] = known[1].mx if known else ()
    return {
        "domain": name,
        "mode": str(entry.mode),
        "id": known[0] if known else None,
        "mx": list(mx),
        "max_age": entry.max_age,
        "fetched_at": entry.fetched_at,
        "expires_at": entry.expires_at,
        "expires_in": int(entry.expires_at - now),
        "readable": known is not None,
    }


def _as_line(name: str, entry: Entry, now: float) -> str:
    known = decode(entry)
    if known is None:
        return f"{name}: {entry.mode}, damaged, until {_moment(entry.expires_at)}"
    record_id, policy = known
    mx = " ".join(map(safe_value, policy.mx)) or "-"
    age = _duration(now - entry.fetched_at)
    return f"{name}: {entry.mode}, id {record_id}, fetched {age} ago, until {_moment(entry.expires_at)}, mx {mx}"


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    seconds = max(seconds, 0)
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} seconds"
