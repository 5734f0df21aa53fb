"""What the parts get from the settings when they are put together."""

from __future__ import annotations

import asyncio

import pytest

from mailcommon.fetch.client import Client
from mailcommon.fetch.fetched import Document, Fault, Fetched, failed
from mailcommon.fetch.location import Location
from tests.test_tlspolicyd.policy_world import in_loop
from tlspolicyd.assembly import make_tools
from tlspolicyd.settings import Settings


@in_loop
async def test_first_contacts_that_hang_leave_refreshes_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate(
        {"sts": {"max_concurrent_fetches": 3, "timeout": 0.2}, "dns": {"nameservers": ["127.0.0.1:9"]}}
    )
    resolver, fetcher = make_tools(settings)

    async def timed(_: Client, location: Location, _document: Document) -> Fetched:
        if location.host != "mta-sts.refreshed.example":
            await asyncio.sleep(30)
        return failed(Fault.TIME, "asked")

    monkeypatch.setattr(Client, "_timed", timed)
    hanging = [asyncio.ensure_future(fetcher.fetch(f"d{number}.example")) for number in range(3)]
    await asyncio.sleep(0)
    assert (await fetcher.fetch("refreshed.example")).reason == "asked"
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await fetcher.close()
    await resolver.close()
