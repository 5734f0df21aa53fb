"""The wait for cached answers while many fetches hang: quiet, while the fetches begin, and while all are under way.

The policy hosts do TLS, take the request, and never answer it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from bench import daemons, policy_peers, policy_world
from bench.load import LoadFailed
from bench.policy_load import Load, Result, compile_load
from bench.policy_peers import Peer, Running
from bench.policy_rate import DOMAINS, write_keys
from bench.policy_world import World
from bench.run import Bench
from tests.support.waiting import TimedOut, wait_until

CONNECTIONS = 8
_AIM = 1.0  # ms: p99 while all are under way
_BEGIN_SECONDS = 20.0  # within which all fetches have begun


class _Failed(Exception):
    pass


def measure(bench: Bench, peers: Sequence[Peer], count: int, seconds: float, rounds: int) -> None:
    """Measure and print."""
    cached, hanging = policy_world.domains("d", DOMAINS), policy_world.domains("h", count)
    directory = bench.directory / "policy-hang"
    directory.mkdir()
    load = compile_load(directory)
    keys, hanging_keys = write_keys(directory, "cached", cached), write_keys(directory, "hanging", hanging)
    table = Table(title=f"Cached answers, {CONNECTIONS} connections, {count} fetches that hang", title_justify="left")
    table.add_column("daemon")
    for heading in ("", "look-ups/s", "p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="right")
    with policy_world.world(directory, cached, hanging) as world:
        bench.tell("Whether each answers as it should, before and after:")
        for peer in peers:
            try:
                with policy_peers.started(peer, directory / peer.name, world) as one:
                    if not policy_peers.check(one, cached, bench.tell):
                        continue
                    turn = _Turns(load, one, keys, seconds, rounds)
                    rows = [("quiet", turn.taken())]
                    if peer.fetches:
                        rows += _hang(bench, turn, world, hanging_keys, count)
                        policy_peers.check(one, cached, bench.tell)
            except (LoadFailed, TimedOut, _Failed, *daemons.LEFT_OUT) as problem:
                bench.tell(f"{peer.name} is left out: {problem}")
                continue
            for title, results in rows:
                table.add_row(peer.name, title, *_row(results))
    bench.console.print(table)
    bench.tell(
        f"Aim: p99 below {_AIM:g} ms while all are under way. Compare with do-nothing: what it shows is the machine."
    )


class _Turns:
    """Ways to ask one daemon for what it has cached."""

    def __init__(self, load: Load, one: Running, keys: Path, seconds: float, rounds: int) -> None:
        self.load, self.one = load, one
        self._keys, self._seconds, self._rounds = keys, seconds, rounds

    def once(self) -> Result:
        """One turn."""
        result = self.load.run(self.one.port, self._keys, CONNECTIONS, seconds=self._seconds)
        if result.ok != result.requests:
            raise _Failed(f"cached domains were answered with {result.describe()}")
        return result

    def taken(self) -> list[Result]:
        """All turns."""
        return [self.once() for _ in range(self._rounds)]


def _hang(bench: Bench, turn: _Turns, world: World, keys: Path, count: int) -> list[tuple[str, list[Result]]]:
    host = world.policy_host
    before = host.requests
    asking = turn.load.begin(turn.one.port, keys, count, requests=count)
    try:
        beginning = [turn.once()]
        wait_until(lambda: host.requests - before == count, f"{count} requests", timeout=_BEGIN_SECONDS)
        open_before = world.connections()
        under_way = turn.taken()
        open_after = world.connections()
        good = open_before == open_after == count
        bench.tell(
            f"  {'ok ' if good else 'BAD'} {turn.one.peer.name}: {open_before} connections to policy hosts were open "
            f"when the measurement began and {open_after} when it ended"
        )
        if not asking.running:
            answers = asking.result()
            bench.tell(f"  {turn.one.peer.name} answered for these after {answers.max:.1f} s: {answers.describe()}")
        else:
            bench.tell(f"  {turn.one.peer.name} has not answered for these until now")
    finally:
        asking.stop()
    return [("as they begin", beginning), ("all under way", under_way)]


def _row(results: Sequence[Result]) -> tuple[str, ...]:
    def middle(figure: Callable[[Result], float]) -> float:
        return statistics.median(figure(result) for result in results)

    return (
        f"{middle(lambda result: result.rate):,.0f}",
        f"{middle(lambda result: result.p50 * 1000):.3f}",
        f"{middle(lambda result: result.p99 * 1000):.3f}",
        f"{middle(lambda result: result.max * 1000):.1f}",
    )
