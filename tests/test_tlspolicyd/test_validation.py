"""Whether the resolver validates is taken from its word about signed domains, over the wire."""

from __future__ import annotations

import asyncio

import pytest

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tlspolicyd.validation import Word, find_out

NAMES = "".join(f"{name}. 300 IN NS ns.{name}.\n" for name in ("org", "net", "se"))


@pytest.mark.parametrize(
    ("zone", "word"),
    [
        (NAMES + ";FAULT org. NS ad", Word.YES),
        (NAMES + ";FAULT org. NS servfail\n;FAULT net. NS ad", Word.YES),
        (NAMES + ";FAULT org. NS bogus\n;FAULT net. NS bogus\n;FAULT se. NS ad", Word.YES),
        (NAMES, Word.NO),
        (NAMES + ";FAULT org. NS servfail", Word.NO),
        (";FAULT * * servfail", Word.UNKNOWN),
        (";FAULT * * timeout", Word.UNKNOWN),
        (";FAULT * * garbage", Word.UNKNOWN),
        ("", Word.UNKNOWN),  # a resolver of a private tree: none of the names exists
    ],
)
def test_find_out(zone: str, word: Word) -> None:
    async def ask(address: str) -> Word:
        return (await find_out(AsyncDnsResolver(DnsSettings((address,), timeout=0.3)))).word

    with FakeDns(zone) as dns:
        assert asyncio.run(ask(dns.address)) is word
