"""`tlspolicyd cache`: on the store, beside a daemon that runs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.requirements import require
from tests.support.valkey import PrivateValkey, missing
from tests.test_tlspolicyd.policy_world import FETCH_FAILED, Clock, Dns, Hosts, Result, World, in_loop, policy, record
from tlspolicyd.cache.store import open_store
from tlspolicyd.cache_commands import CacheError, forget, list_policies, refresh
from tlspolicyd.facts import Mode, Policy


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/policies.db"
        return
    require(missing())
    with PrivateValkey() as server:
        yield server.url


async def daemon(url: str) -> World:
    world = World(open_store(url, time.time), clock=Clock(time.time()))
    await world.policies.start()
    for number in range(3):
        world.publish(f"d{number}.example", f"id{number}", policy(f"mx{number}.example"))
        await world.use(f"d{number}.example")
    await world.policies.keeper.sync()
    world.forget_counts()
    return world


@in_loop
async def test_list(url: str) -> None:
    world = await daemon(url)
    text = await list_policies(url)
    assert [line.split(":")[0] for line in text.splitlines()] == ["d0.example", "d1.example", "d2.example"]
    assert "enforce, id id1, fetched 0 seconds ago" in text
    assert "mx mx1.example" in text
    assert await list_policies(url, "D1.example.") == text.splitlines()[1]
    assert await list_policies(url, "other.example") == "no policy of other.example"
    (one,) = json.loads(await list_policies(url, "d1.example", as_json=True))
    assert one["mx"] == ["mx1.example"]
    assert (one["mode"], one["id"], one["max_age"], one["readable"]) == ("enforce", "id1", 604_800, True)
    assert 604_700 < one["expires_in"] <= 604_800
    await world.policies.close()


@in_loop
async def test_forget_is_noticed_by_the_daemon(url: str) -> None:
    world = await daemon(url)
    assert await forget(url, "d1.example") == "forgotten: d1.example"
    await world.policies.keeper.sync()
    assert world.changed == ["d1.example"]
    assert world.policies.peek("d1.example") is None
    assert world.policies.peek("d0.example") is not None
    assert await forget(url, "d1.example") == "no policy of d1.example"
    assert json.loads(await forget(url, as_json=True)) == {"forgotten": ["d0.example", "d2.example"]}
    await world.policies.keeper.sync()
    assert len(world.policies) == 0
    assert await list_policies(url) == "no policies"
    await world.policies.close()


@in_loop
async def test_forget_lifts_the_pause_after_a_failed_fetch(url: str) -> None:
    world = await daemon(url)
    world.dns.answers["d1.example"] = record("new")
    world.hosts.results["d1.example"] = FETCH_FAILED
    world.clock.go(400)
    await world.use("d1.example")
    await forget(url, "d1.example")
    await world.policies.keeper.sync()
    world.publish("d1.example", "new")
    await asyncio.sleep(0)
    if not world.policies.keeper.store.shared:  # there the other hosts' pause holds too
        assert await world.use("d1.example") == policy("mx.d1.example")
    await world.policies.close()


@in_loop
async def test_refresh_is_noticed_by_the_daemon(url: str) -> None:
    world = await daemon(url)
    world.publish("d1.example", "id1", policy("new.example"))
    text, well = await refresh(url, world.dns, world.hosts, "d1.example")
    assert (text, well) == ("d1.example: fetched, mode enforce, id id1", True)
    await world.policies.keeper.sync()
    assert await world.use("d1.example") == policy("new.example")
    assert world.changed == ["d1.example"]
    await world.policies.close()


@in_loop
async def test_refresh_all_says_what_failed_and_keeps_it(url: str) -> None:
    world = await daemon(url)
    world.hosts.results["d1.example"] = Result(failure=FETCH_FAILED.failure, reason="no\x1b[31m\nline")
    text, well = await refresh(url, world.dns, world.hosts)
    assert not well
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("d1.example: not fetched: sts-policy-fetch-error")
    assert "the policy held stays, mode enforce" in lines[1]
    assert "\x1b" not in text
    results, _ = await refresh(url, world.dns, world.hosts, as_json=True)
    assert [one["fetched"] for one in json.loads(results)] == [True, False, True]
    assert "d1.example" in await list_policies(url)
    await world.policies.close()


@in_loop
async def test_refresh_of_a_domain_without_a_policy(url: str) -> None:
    world = await daemon(url)
    text, well = await refresh(url, world.dns, world.hosts, "none.example")
    assert not well
    assert "no TXT record" in text
    await world.policies.close()


@in_loop
async def test_what_cannot_be_done(tmp_path: Path) -> None:
    for url in ("memory:", f"sqlite:{tmp_path}/none.db", "redis://127.0.0.1:1/0", "what:ever"):
        with pytest.raises(CacheError):
            await list_policies(url)
        with pytest.raises(CacheError):
            await forget(url, "a.example")
        with pytest.raises(CacheError):
            await refresh(url, Dns(), Hosts(), "a.example")
    assert list(tmp_path.iterdir()) == [], "a command creates no store"
    with pytest.raises(CacheError):
        await list_policies("memory:", "no domain\n")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"\xff" * 9000)
    with pytest.raises(CacheError):
        await list_policies(f"sqlite:{damaged}")
    assert damaged.read_bytes() == b"\xff" * 9000, "nor sets one aside"


@in_loop
async def test_the_text_is_safe_for_a_terminal(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/policies.db"
    world = await daemon(url)
    world.publish("x.example", "1", Policy(Mode.ENFORCE, ("mx\x1b[2J.example",), 600))
    await world.use("x.example")
    await world.policies.close()
    assert "\x1b" not in await list_policies(url) + await list_policies(url, as_json=True)
