"""One way to ask the blocking and the asyncio resolver, so that one table holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mailcommon.dns.answer import Answer
from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings

Ask = Callable[[DnsSettings, str, str], Answer[Any]]


def ask_blocking(settings: DnsSettings, rdtype: str, name: str) -> Answer[Any]:
    """A new resolver with nothing cached."""
    return DnsResolver(settings).query(rdtype, name)


def ask_started(settings: DnsSettings, rdtype: str, name: str) -> Answer[Any]:
    """As a check does that knows the name early."""
    resolver = DnsResolver(settings)
    resolver.start(rdtype, name)
    return resolver.query(rdtype, name)


def ask_asyncio(settings: DnsSettings, rdtype: str, name: str) -> Answer[Any]:
    """The same with an event loop of its own."""

    async def ask() -> Answer[Any]:
        return await AsyncDnsResolver(settings).query(rdtype, name)

    return asyncio.run(ask())


WAYS = [ask_blocking, ask_started, ask_asyncio]
