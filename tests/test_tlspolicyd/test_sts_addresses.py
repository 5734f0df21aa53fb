"""How the addresses of a policy host are found, and what is tried when one does not work."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.connect_proxy import ConnectProxy
from tests.test_tlspolicyd.sts_world import LOOPS, POLICY, World, new_world
from tlspolicyd.facts import Failure


@pytest.fixture(scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_world(tmp_path_factory.mktemp("sts")) as world:
        yield world


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def world(_world: World, request: pytest.FixtureRequest) -> World:
    _world.loop = request.param
    return _world


@pytest.mark.parametrize(
    "record",
    ["A 127.0.0.1", "AAAA ::1", "AAAA ::ffff:127.0.0.1", "AAAA 64:ff9b::7f00:1", "A 10.0.0.1", "A 0.0.0.0"],
)
def test_a_policy_host_on_an_inner_address_is_not_connected_to(world: World, record: str) -> None:
    host = world.host(records=(record,))
    before = world.server.connections
    result = world.fetch(host, allow_private_addresses=False)
    assert result.failure is Failure.FETCH
    assert "no address that may be used" in result.reason
    assert record.split()[1] in result.reason
    assert world.server.connections == before


def test_the_query_tool_does_not_connect_there_either(world: World) -> None:
    before = world.server.connections
    result = world.fetch(world.host(), allow_private_addresses=False, with_certificate=True)
    assert result.certificate == ""
    assert world.server.connections == before


def test_dns_rebinding_has_no_second_look_up(world: World) -> None:
    """First a public address, then 127.0.0.1: only what was judged is connected to."""
    host = world.host(records=("A 192.0.2.1",))
    world.dns.forget()
    result = world.fetch(host, allow_private_addresses=False)
    assert "documentation" in result.reason
    assert world.dns.count(host.name, "A") == 1


def test_an_alias_to_an_inner_name_is_judged_by_its_address(world: World) -> None:
    domain = world.domain("CNAME inner.example.")
    world.zone("inner.example. IN A 127.0.0.1")
    world.server.add(domain, POLICY)
    assert world.fetch(domain, allow_private_addresses=False).failure is Failure.FETCH
    assert world.fetch(domain).policy is not None


def test_ipv6(world: World) -> None:
    assert world.fetch(world.host(records=("AAAA ::1",))).policy is not None


@pytest.mark.parametrize("fault", ["silent", "reset", "no-name", "old-tls"])
def test_one_broken_address_family_does_not_stop_the_fetch(world: World, fault: str) -> None:
    host = world.host(fault, records=("AAAA ::1", "A 127.0.0.1"))
    host.fault_addresses = frozenset(("::1",))
    assert world.fetch(host, timeout=1.0).policy is not None


def test_an_address_that_refuses_connections_does_not_stop_the_fetch(world: World) -> None:
    host = world.host(records=("AAAA ::2", "A 127.0.0.9", "A 127.0.0.1"))
    assert world.fetch(host).policy is not None


def test_no_more_handshakes_than_addresses_tried(world: World) -> None:
    records = tuple(f"A 127.0.0.{number}" for number in (1, 2))
    host = world.host(flaw="expired", records=records)
    assert world.fetch(host).failure is Failure.WEBPKI
    assert host.connections <= 2


@pytest.mark.parametrize("broken", ["A", "AAAA"])
@pytest.mark.parametrize("fault", ["servfail", "timeout", "bogus", "refused"])
def test_look_ups_that_fail_for_one_family(world: World, broken: str, fault: str) -> None:
    other = "AAAA ::1" if broken == "A" else "A 127.0.0.1"
    host = world.host(records=(other,))
    world.zone(f";FAULT {host.name}. {broken} {fault}")
    start = time.monotonic()
    assert world.fetch(host).policy is not None
    assert time.monotonic() - start < 1.0  # the resolver's own limit is two seconds


@pytest.mark.parametrize(("fault", "word"), [("servfail", "servfail"), ("timeout", "timeout"), ("bogus", "bogus")])
def test_look_ups_that_fail(world: World, fault: str, word: str) -> None:
    host = world.host()
    world.zone(f";FAULT {host.name}. * {fault}")
    result = world.fetch(host)
    assert result.failure is Failure.FETCH
    assert word in result.reason


def test_names_without_address(world: World) -> None:
    assert "does not exist" in world.fetch("nowhere.example").reason
    assert "has no address" in world.fetch(world.domain('TXT "x"')).reason


def test_a_proxy_by_setting(world: World) -> None:
    """The proxy looks names up, so that they need not exist here; it may be on any address; TLS is end to end."""
    world.server.add("behind.example", POLICY)
    bad = world.ca.issue("mta-sts.bad.example", flaw="expired")
    world.server.add("bad.example", POLICY, credentials=bad)
    with ConnectProxy(world.server.port) as proxy:
        assert world.fetch("behind.example", proxy=proxy.url, allow_private_addresses=False).policy is not None
        assert proxy.targets == [f"mta-sts.behind.example:{world.server.port}"]
        assert world.fetch("bad.example", proxy=proxy.url).failure is Failure.WEBPKI
        world.zone("proxy.example. IN A 127.0.0.1")
        named = proxy.url.replace("127.0.0.1", "proxy.example")
        assert world.fetch("behind.example", proxy=named, allow_private_addresses=False).policy is not None


def test_a_proxy_that_refuses(world: World) -> None:
    with ConnectProxy(world.server.port, status=403) as proxy:
        result = world.fetch(world.host(), proxy=proxy.url)
    assert result.failure is Failure.FETCH
    assert "proxy" in result.reason
    assert "403" in result.reason


def test_a_proxy_that_is_not_there(world: World) -> None:
    assert world.fetch(world.host(), proxy="http://127.0.0.1:9").failure is Failure.FETCH
    assert world.fetch(world.host(), proxy="http://nowhere.example:9").failure is Failure.FETCH


def test_a_proxy_with_another_scheme(world: World) -> None:
    with pytest.raises(ValueError, match="http://"):
        world.fetch("a.example", proxy="socks5://127.0.0.1:9")
