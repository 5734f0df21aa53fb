"""Documents over real TLS: what a `Document` allows, and redirects.

Hostile hosts are met in tests/test_tlspolicyd/test_sts_fetch.py.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import pytest

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from mailcommon.fetch.client import Client
from mailcommon.fetch.fetched import Document, Fault, Fetched
from mailcommon.fetch.location import Location
from tests.support.policy_answers import Host
from tests.test_tlspolicyd.sts_world import World, new_world

TEXT = Document("text", ("text/plain",), 1000)
PATH = "/.well-known/mta-sts.txt"
THRICE = Document("text", ("text/plain",), 1000, redirects=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_world(tmp_path_factory.mktemp("fetch")) as world:
        yield world


def fetch(world: World, host: Host | str, document: Document, target: str = PATH) -> Fetched:
    async def main() -> Fetched:
        resolver = AsyncDnsResolver(DnsSettings((world.dns.address,), timeout=2.0))
        client = Client(resolver, world.settings())
        try:
            return await client.fetch(Location(host if isinstance(host, str) else host.name, target), document)
        finally:
            await client.close()
            await resolver.close()

    return asyncio.run(main())


def test_a_document(world: World) -> None:
    host = world.host(policy="x" * 1000)
    assert fetch(world, host, TEXT) == Fetched(b"x" * 1000)
    assert "Accept: text/plain" in host.heads[0].split("\r\n")


def test_the_limits_are_those_of_the_document(world: World) -> None:
    host = world.host(policy="x" * 1001)
    assert fetch(world, host, TEXT).fault is Fault.SIZE
    assert fetch(world, host, Document("text", ("text/plain",), 1001)).body is not None
    assert fetch(world, host, Document("logo", ("image/svg+xml",), 1001)).fault is Fault.KIND
    host.content_type = "image/svg+xml"
    assert fetch(world, host, Document("logo", ("image/png", "image/svg+xml"), 1001)).body is not None


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("reset", Fault.CONNECT),
        ("plain", Fault.TLS),
        ("garbage", Fault.HTTP),
        ("cut-body", Fault.HTTP),
        ("packed", Fault.KIND),
    ],
)
def test_each_fault_has_its_word(world: World, fault: str, word: Fault) -> None:
    assert fetch(world, world.host(fault), TEXT).fault is word


def test_more_faults_have_their_words(world: World) -> None:
    assert fetch(world, world.host(flaw="expired"), TEXT).fault is Fault.CERTIFICATE
    assert fetch(world, "nowhere.example", TEXT).fault is Fault.ADDRESS
    assert fetch(world, "127.0.0.1", TEXT).fault is Fault.LOCATION
    world.zone(";FAULT broken.example. * servfail")
    assert fetch(world, "broken.example", TEXT).fault is Fault.DNS
    missing = fetch(world, world.host(), TEXT, "/missing")
    assert (missing.fault, missing.status) == (Fault.STATUS, 404)


def test_a_redirect_is_followed_only_if_it_may_be(world: World) -> None:
    host = world.host("redirect", policy="moved")
    assert fetch(world, host, TEXT).status == 301
    assert fetch(world, host, THRICE) == Fetched(b"moved")


def test_a_redirect_to_another_host_is_looked_up_and_verified_anew(world: World) -> None:
    good, bad = world.host(policy="there"), world.host(flaw="wrong-name")
    first = world.host("redirect")
    first.redirect_to = f"https://{good.name}{PATH}"
    world.dns.forget()
    assert fetch(world, first, THRICE) == Fetched(b"there")
    assert world.dns.count(good.name, "A") == 1
    first.redirect_to = f"https://{bad.name}{PATH}"
    assert fetch(world, first, THRICE).fault is Fault.CERTIFICATE


def test_redirects_end(world: World) -> None:
    host = world.host("redirect")
    host.redirect_to = PATH
    assert fetch(world, host, THRICE).status == 301
    assert host.requests == 4


@pytest.mark.parametrize("where", ["http://a.example/", "https://127.0.0.1/", "https://a.example:25/", "file:///etc/x"])
def test_redirects_that_lead_out_of_https(world: World, where: str) -> None:
    host = world.host("redirect")
    host.redirect_to = where
    result = fetch(world, host, THRICE)
    assert result.fault is Fault.LOCATION
    assert host.requests == 1


def test_any_media_type_if_none_is_named(world: World) -> None:
    host = world.host(policy="x")
    for kind in ("image/png", "", "nonsense"):
        host.content_type = kind
        assert fetch(world, host, Document("file", (), 1000)) == Fetched(b"x")
    assert "Accept: */*" in host.heads[0].split("\r\n")


def test_a_packed_body_is_given_as_it_comes_where_it_may_be_packed(world: World) -> None:
    host = world.host(policy="x", fault="packed")
    assert fetch(world, host, Document("file", (), 1000)).fault is Fault.KIND
    got = fetch(world, host, Document("file", (), 1000, packed=True))
    assert got.body
    assert gzip.decompress(got.body) == b"x"
