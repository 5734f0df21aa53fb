"""Cached look-ups per second, waiting time and CPU of each policy daemon, and the ratios that are aimed at.

The daemons take turns (A B C A B C), so that a slow moment of the machine does not hit one alone; medians are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench import policy_peers, policy_world, usage
from bench.load import LoadFailed
from bench.policy_load import Load, Result, compile_load
from bench.policy_peers import RESOLVER, Peer, Running
from bench.run import Bench

CONNECTIONS = (1, 8, 32)
DOMAINS = 200
_AIMS = {RESOLVER: 2.0, "do-nothing": 0.9}  # ours / that one, at the connections of _AIMED
_AIMED = (8, 32)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One turn of one daemon."""

    result: Result
    cpu: float  # seconds of the daemon
    other_cpu: float  # seconds of all but the daemon and the load generator


def write_keys(directory: Path, name: str, domains: Sequence[str]) -> Path:
    """A file for the load generator."""
    path = directory / f"{name}.keys"
    path.write_text("".join(f"{domain}\n" for domain in domains))
    return path


def _turn(load: Load, one: Running, keys: Path, connections: int, seconds: float) -> _Sample:
    before, all_before = one.usage().cpu, usage.machine()
    result = load.run(one.port, keys, connections, seconds=seconds)
    everything, mine = usage.machine() - all_before, one.usage().cpu - before
    if result.ok != result.requests or (one.peer.fetches and result.own != result.requests):
        raise LoadFailed(f"{result.requests} requests were answered with {result.describe()}, {result.own} by the name")
    return _Sample(result, mine, max(0.0, everything - mine - result.cpu))


def measure(bench: Bench, peers: Sequence[Peer], seconds: float, rounds: int) -> None:
    """Measure and print."""
    domains = policy_world.domains("d", DOMAINS)
    directory = bench.directory / "policy-rate"
    directory.mkdir()
    load, keys = compile_load(directory), write_keys(directory, "cached", domains)
    with (
        policy_world.world(directory, domains) as world,
        policy_peers.all_started(peers, directory / "daemons", world, bench.tell) as running,
    ):
        bench.tell(f"Policies of {DOMAINS} domains into each cache, and whether each answers as it should:")
        working = [one for one in running if policy_peers.check(one, domains, bench.tell)]
        for connections in CONNECTIONS:
            samples: dict[str, list[_Sample]] = {one.peer.name: [] for one in working}
            for _ in range(rounds):
                for one in list(working):
                    try:
                        samples[one.peer.name].append(_turn(load, one, keys, connections, seconds))
                    except LoadFailed as problem:
                        bench.tell(f"BAD {one.peer.name} is left out: {problem}")
                        working.remove(one)
                        del samples[one.peer.name]
            _print(bench, connections, samples)
        bench.tell("Whether each still does:")
        for one in working:
            policy_peers.check(one, domains, bench.tell)


def _print(bench: Bench, connections: int, samples: dict[str, list[_Sample]]) -> None:
    plural = "s" if connections > 1 else ""
    table = Table(title=f"Cached look-ups, {connections} connection{plural}", title_justify="left")
    table.add_column("daemon")
    for heading in ("look-ups/s", "p50 ms", "p99 ms", "CPU µs each", "load CPU", "other CPU"):
        table.add_column(heading, justify="right")
    for name, taken in samples.items():
        middle = _median(taken)
        table.add_row(
            name,
            f"{middle(lambda sample: sample.result.rate):,.0f}",
            f"{middle(lambda sample: sample.result.p50 * 1000):.3f}",
            f"{middle(lambda sample: sample.result.p99 * 1000):.3f}",
            f"{middle(_cost) * 1e6:.1f}",
            f"{middle(lambda sample: sample.result.cpu / sample.result.seconds):.0%}",
            f"{middle(lambda sample: sample.other_cpu / sample.result.seconds):.0%}",
        )
    bench.console.print(table)
    for name, aim in _AIMS.items():
        if "ours" in samples and name in samples:
            wanted = f" (aim: {aim})" if connections in _AIMED else ""
            bench.tell(f"ours / {name}{wanted}: {_ratios(samples['ours'], samples[name])}")


def _ratios(ours: Sequence[_Sample], theirs: Sequence[_Sample]) -> str:
    """The turns of a round follow each other, so that what slows the machine for longer slows both alike."""
    rates = [mine.result.rate / other.result.rate for mine, other in zip(ours, theirs, strict=True)]
    # what others do on this machine changes the CPU time of a look-up less than its rate
    costs = _median(theirs)(_cost) / _median(ours)(_cost)
    by_round = ", ".join(f"{rate:.2f}" for rate in rates)
    return f"{statistics.median(rates):.2f} (by round {by_round}); by CPU time per look-up {costs:.2f}"


def _cost(sample: _Sample) -> float:
    return sample.cpu / sample.result.requests


def _median(samples: Sequence[_Sample]) -> Callable[[Callable[[_Sample], float]], float]:
    return lambda figure: statistics.median(figure(sample) for sample in samples)
