"""New policies per second with an empty cache, and what each needs for it: HTTPS connections and DNS queries.

Each daemon begins anew in each round. The policy host is Python and one thread, in this process: it is the limit where
"host CPU" comes near to 100%.
"""

from __future__ import annotations

import collections
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench import daemons, policy_peers, policy_world, usage
from bench.load import LoadFailed
from bench.policy_load import Load, Result, compile_load
from bench.policy_peers import OURS, RESOLVER, Peer, Running
from bench.policy_rate import write_keys
from bench.policy_world import World
from bench.run import Bench
from tests.support.dns_server import FakeDns

CONNECTIONS = 8
# RFC 8461 §3.1, §3.3: the record, then the policy host's addresses of both families, and one request
_NEEDED = {"TXT": 1, "A": 1, "AAAA": 1}


@dataclass(frozen=True, slots=True)
class _Sample:
    """One turn of one daemon."""

    result: Result
    cpu: float  # seconds of the daemon
    host_cpu: float  # seconds of the policy host
    other_cpu: float  # seconds of all else on this machine
    connections: int
    requests: int
    queries: collections.Counter[str]


def _cpu(one: Running, world: World) -> tuple[float, ...]:
    """Seconds until now: of the daemon, the policy host, the name server, the whole machine."""
    return one.usage().cpu, time.process_time(), usage.of(world.dns.members()).cpu, usage.machine()


def _ask(load: Load, one: Running, world: World, keys: Path, count: int) -> _Sample:
    connections, requests, queries = world.policy_host.connections, world.policy_host.requests, world.queries()
    counted = _cpu(one, world)
    result = load.run(one.port, keys, CONNECTIONS, requests=count)
    daemon, host, dns, everything = (after - before for before, after in zip(counted, _cpu(one, world), strict=True))
    one.settle()  # what is not needed for the answers counts too
    if result.own != count:
        raise LoadFailed(f"{count} domains were answered with {result.describe()}, {result.own} by the name")
    return _Sample(
        result,
        daemon,
        host,
        max(0.0, everything - daemon - host - dns - result.cpu),
        world.policy_host.connections - connections,
        world.policy_host.requests - requests,
        world.queries() - queries,
    )


def measure(bench: Bench, peers: Sequence[Peer], count: int, rounds: int) -> None:
    """Measure and print."""
    domains = policy_world.domains("n", count)
    directory = bench.directory / "policy-new"
    directory.mkdir()
    load, keys = compile_load(directory), write_keys(directory, "new", domains)
    samples: dict[str, list[_Sample]] = {peer.name: [] for peer in peers if peer.fetches}
    with policy_world.world(directory, domains, count_queries=True) as world:
        bench.tell(f"{count} new domains, {CONNECTIONS} connections, and whether each answers as it should:")
        # the first round is for the servers to warm up
        for turn in range(rounds + 1):
            for peer in [peer for peer in peers if peer.name in samples]:
                try:
                    with policy_peers.started(peer, directory / f"{peer.name}-{turn}", world) as one:
                        sample = _ask(load, one, world, keys, count)
                        if turn:
                            samples[peer.name].append(sample)
                        else:
                            policy_peers.check(one, domains, bench.tell)
                except (LoadFailed, *daemons.LEFT_OUT) as problem:
                    bench.tell(f"{peer.name} is left out: {problem}")
                    del samples[peer.name]
        _print(bench, samples, count)
        if any(peer is OURS for peer in peers):
            _with_dane(bench, load, world, directory, domains)


def _print(bench: Bench, samples: dict[str, list[_Sample]], count: int) -> None:
    table = Table(
        title=f"{count} new policies, {CONNECTIONS} connections; CPU ms, HTTPS, DNS: for each", title_justify="left"
    )
    table.add_column("daemon")
    for heading in ("policies/s", "p50 ms", "p99 ms", "CPU ms", "host CPU", "other CPU", "HTTPS", "DNS", "of which"):
        table.add_column(heading, justify="right")
    for name, taken in samples.items():
        last = taken[-1]
        table.add_row(
            name,
            f"{statistics.median(sample.result.rate for sample in taken):,.0f}",
            f"{statistics.median(sample.result.p50 * 1000 for sample in taken):.1f}",
            f"{statistics.median(sample.result.p99 * 1000 for sample in taken):.1f}",
            f"{statistics.median(sample.cpu / count * 1000 for sample in taken):.2f}",
            f"{statistics.median(sample.host_cpu / sample.result.seconds for sample in taken):.0%}",
            f"{statistics.median(sample.other_cpu / sample.result.seconds for sample in taken):.0%}",
            f"{last.connections / count:.3f}",
            f"{last.queries.total() / count:.3f}",
            _types(last.queries, count),
        )
    bench.console.print(table)
    if "ours" in samples:
        sample = samples["ours"][-1]
        wanted = {kind: number * count for kind, number in _NEEDED.items()}
        least = sample.queries == wanted and sample.connections == sample.requests == count
        bench.tell(
            f"  {'ok ' if least else 'BAD'} ours: {sample.connections} HTTPS connections, {sample.requests} requests, "
            f"{sample.queries.total()} DNS queries for {count} domains; needed {count}, {count}, {sum(wanted.values())}"
        )
        if RESOLVER in samples:
            bench.tell(f"ours / {RESOLVER} (aim: 1.0): {_ratios(samples['ours'], samples[RESOLVER])}")


def _ratios(ours: Sequence[_Sample], theirs: Sequence[_Sample]) -> str:
    rates = [mine.result.rate / other.result.rate for mine, other in zip(ours, theirs, strict=True)]
    costs = statistics.median(other.cpu / mine.cpu for mine, other in zip(ours, theirs, strict=True))
    by_round = ", ".join(f"{rate:.2f}" for rate in rates)
    return f"{statistics.median(rates):.2f} (by round {by_round}); by CPU time per policy {costs:.2f}"


def _types(queries: collections.Counter[str], count: int) -> str:
    return ", ".join(f"{kind} {number / count:.3g}" for kind, number in sorted(queries.items()))


def _with_dane(bench: Bench, load: Load, world: World, directory: Path, domains: Sequence[str]) -> None:
    """What DANE adds, which the peer does not have: behind a server that claims to validate (AD)."""
    bench.tell("The same with DANE, behind a slower DNS server in Python:")
    keys = write_keys(directory, "dane", domains)
    root = "org. IN NS ns.org.\n;FAULT org. NS ad\n"
    signed = "".join(f";FAULT {name} * ad\n;FAULT mx.{name} * ad\n" for name in domains)
    for title, more in (("zones not signed", ""), ("zones signed, no TLSA records", signed)):
        with FakeDns(policy_world.zone(domains) + root + more) as dns:
            place = directory / f"dane-{'signed' if more else 'unsigned'}"
            with policy_peers.started(OURS, place, world, nameserver=dns.address, dane=True) as one:
                dns.forget()
                try:
                    sample = _ask(load, one, world, keys, len(domains))
                except LoadFailed as problem:
                    bench.tell(f"  BAD ours, {title}: {problem}")
                    continue
                queries = collections.Counter(query.rdtype for query in dns.queries)
                bench.tell(
                    f"  ours, {title}: {sample.connections / len(domains):.3g} HTTPS connections and "
                    f"{queries.total() / len(domains):.3g} DNS queries each ({_types(queries, len(domains))}), "
                    f"{sample.result.rate:,.0f} policies/s"
                )
