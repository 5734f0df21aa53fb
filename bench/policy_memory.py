"""Resident memory with many cached policies, and the time from the start of the process to its first answer.

The store is written by the cache's own code before the start. "asked" is the state after every domain was asked for
once: then the facts, the ready replies and the DNS answers of what is asked for most are in memory too.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench import daemons, policy_peers, policy_world
from bench.load import LoadFailed
from bench.policy_load import compile_load
from bench.policy_peers import OURS, Peer, Place, Running
from bench.policy_rate import write_keys
from bench.run import Bench
from tests.support.processes import Unavailable
from tests.support.socketmap_client import SocketmapClient
from tests.support.waiting import wait_until
from tlspolicyd.cache.entry import make_entry
from tlspolicyd.cache.sqlite import SqliteStore
from tlspolicyd.cache.store import Row
from tlspolicyd.facts import Mode, Policy

CONNECTIONS = 8
_BATCH = 1000  # rows in one transaction
_START_SECONDS = 60.0


@dataclass(slots=True)
class _Start:
    seconds: float  # from the start of the process to the first answer
    memory: float  # MB at rest after it


def write_store(path: Path, domains: Sequence[str]) -> None:
    """A store with a policy for each of these domains, fetched within the last hour."""

    async def write() -> None:
        store = SqliteStore(str(path))
        now = time.time()
        try:
            for at in range(0, len(domains), _BATCH):
                rows: list[Row] = []
                for number, domain in enumerate(domains[at : at + _BATCH], at):
                    policy = Policy(
                        Mode.ENFORCE,
                        policy_world.mx_patterns(domain),
                        policy_world.MAX_AGE,
                        policy_world.policy_lines(domain),
                    )
                    fetched = now - number % 3600
                    rows.append((domain, make_entry(policy, policy_world.RECORD_ID, fetched, fetched)))
                await store.write(rows, now)
        finally:
            await store.close()

    asyncio.run(write())


def _start(peer: Peer, place: Place, domain: str) -> tuple[Running, _Start]:
    begun = time.monotonic()
    running = policy_peers.launch(peer, place)

    def answered() -> str:
        running.process.require_alive()
        try:
            with SocketmapClient(f"inet:{place.port}@127.0.0.1", _START_SECONDS) as client:
                return client.ask("policy", domain)
        except ConnectionError:
            return ""

    try:
        answer = wait_until(answered, f"{peer.name}'s answer", timeout=_START_SECONDS, interval=0.002)
        seconds = time.monotonic() - begun
        wanted = "OK " if domain.startswith("m") else "NOTFOUND "
        if not answer.startswith(wanted):
            raise LoadFailed(f"{domain} got {answer!r}")
        running.settle()
    except BaseException:
        running.process.stop(3.0)
        raise
    return running, _Start(seconds, running.usage().now)


def measure(bench: Bench, peers: Sequence[Peer], policies: int, rounds: int) -> None:
    """Measure and print."""
    domains = policy_world.domains("m", policies)
    directory = bench.directory / "policy-memory"
    directory.mkdir()
    store = directory / "prepared.db"
    write_store(store, domains)
    bench.tell(f"{policies:,} policies in a store of {store.stat().st_size / 1e6:.0f} MB")
    keys = write_keys(directory, "all", domains)
    load = compile_load(directory)
    table = Table(title="Start and memory", title_justify="left")
    table.add_column("daemon")
    for heading in ("policies", "first answer after ms", "at rest MB", "asked MB", "peak MB", "p99 ms of asking"):
        table.add_column(heading, justify="right")
    records = "".join(f'_mta-sts.{name}. 3600 IN TXT "v=STSv1; id={policy_world.RECORD_ID};"\n' for name in domains)
    cases = [(peer, 0) for peer in peers if peer.fetches] + ([(OURS, policies)] if OURS in peers else [])
    with policy_world.world(directory, [], text=records) as world:
        for peer, count in cases:
            starts: list[_Start] = []
            asked: tuple[str, ...] = ("", "", "")
            try:
                for turn in range(rounds):
                    place_directory = directory / f"{peer.name}-{count}-{turn}"
                    place_directory.mkdir()
                    if count:
                        shutil.copy(store, place_directory / "policies.db")
                    with policy_world.port() as port:
                        place = Place(place_directory, world, port, world.addresses.with_port)
                        domain = domains[count // 2] if count else policy_world.ABSENT
                        running, start = _start(peer, place, domain)
                        try:
                            starts.append(start)
                            if count and turn == rounds - 1:
                                result = load.run(port, keys, CONNECTIONS, requests=count)
                                running.settle()
                                used = running.usage()
                                asked = (f"{used.now:,.0f}", f"{used.peak:,.0f}", f"{result.p99 * 1000:.2f}")
                                good = result.own == count
                                bench.tell(
                                    f"  {'ok ' if good else 'BAD'} {peer.name}: {result.own:,} of {count:,} domains "
                                    f"answered by their policy, {world.policy_host.requests} fetched"
                                )
                        finally:
                            running.process.stop(3.0)
            except (LoadFailed, Unavailable, *daemons.LEFT_OUT) as problem:
                bench.tell(f"{peer.name} is left out: {problem}")
                continue
            table.add_row(
                peer.name,
                f"{count:,}",
                f"{statistics.median(start.seconds for start in starts) * 1000:,.0f}",
                f"{statistics.median(start.memory for start in starts):,.0f}",
                *asked,
            )
    bench.console.print(table)
