"""Messages per second, waiting time, CPU and memory of each milter on one corpus, and the ratios that are aimed at.

The milters take turns (A B C A B C), so that a slow moment of the machine does not hit one alone; medians are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from bench import corpus, nameservers, peers, usage
from bench.load import LoadFailed, Result
from bench.run import Bench, CorpusFiles, check_work, write_corpus
from tests.support.unbound import PrivateUnbound

CLIENTS = 8
PER_CONNECTION = (1, 10)
WITH_METRICS = "ours-metrics"  # what counting costs
WITHOUT_ARC = "ours-no-arc"  # the mail has no ARC set: what looking for one costs


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one milter."""

    result: Result
    cpu: float  # seconds of the milter
    dns_cpu: float  # seconds of the name server
    other_cpu: float  # seconds of all else on this machine


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the turns of one milter."""

    rate: float  # messages/s
    p50: float  # ms from MAIL to the answer
    p99: float  # ms
    cpu: float  # seconds per 1,000 messages
    load_share: float  # of one CPU, used by the load generator
    dns_share: float  # of one CPU, used by the name server
    other_share: float  # of one CPU, used by others: the run is worth little if this is not small


def _median(samples: Sequence[Sample]) -> Figures:
    def middle(values: list[float]) -> float:
        return statistics.median(values)

    return Figures(
        rate=middle([sample.result.rate for sample in samples]),
        p50=middle([sample.result.from_mail.p50 * 1000 for sample in samples]),
        p99=middle([sample.result.from_mail.p99 * 1000 for sample in samples]),
        cpu=middle([sample.cpu / sample.result.messages * 1000 for sample in samples]),
        load_share=middle([sample.result.cpu / sample.result.seconds for sample in samples]),
        dns_share=middle([sample.dns_cpu / sample.result.seconds for sample in samples]),
        other_share=middle([sample.other_cpu / sample.result.seconds for sample in samples]),
    )


def _turn(
    bench: Bench, one: peers.Running, files: CorpusFiles, dns: PrivateUnbound, each: int, seconds: float
) -> Sample:
    before, dns_before, all_before = one.usage().cpu, usage.of(dns.members()).cpu, usage.machine()
    result = bench.load(CLIENTS, each).run(one.socket, files.for_peer(one.peer), seconds=seconds)
    everything = usage.machine() - all_before
    mine, of_dns = one.usage().cpu - before, usage.of(dns.members()).cpu - dns_before
    return Sample(result, mine, of_dns, max(0.0, everything - mine - of_dns - result.cpu))


def measure(bench: Bench, seconds: float, rounds: int) -> None:
    """Measure and print."""
    files = write_corpus(bench.directory, "mixed", corpus.mixed())
    bench.tell(f"Corpus: {files.corpus.describe()}")
    compare(bench, bench.peers, files, "rate", seconds, rounds, _tell_ratios)


def compare(
    bench: Bench,
    milters: Sequence[peers.Peer],
    files: CorpusFiles,
    name: str,
    seconds: float,
    rounds: int,
    tell_ratios: Callable[[Bench, dict[str, Figures]], None],
) -> None:
    """Let `milters` take turns on a corpus, print a table and what `tell_ratios` makes of it."""
    place = bench.directory / name
    place.mkdir()
    with (
        nameservers.caching(files.corpus.zone) as (dns, addresses),
        peers.started(milters, place, addresses, bench.tell) as running,
    ):
        bench.tell("Warm-up, and whether each does its work:")
        # twice: what is cached per process is then known to each
        working = [one for one in running if check_work(bench, one, files, CLIENTS, 2)]
        for each in PER_CONNECTION:
            samples: dict[str, list[Sample]] = {one.peer.name: [] for one in working}
            for _ in range(rounds):
                for one in list(working):
                    try:
                        samples[one.peer.name].append(_turn(bench, one, files, dns, each, seconds))
                    except LoadFailed as problem:
                        bench.tell(f"{one.peer.name} is left out: {problem}")
                        working.remove(one)
                        del samples[one.peer.name]
            peaks = {one.peer.name: one.usage().peak for one in working}
            figures = {name: _median(taken) for name, taken in samples.items()}
            _print(bench, each, figures, peaks)
            tell_ratios(bench, figures)


def _print(bench: Bench, each: int, figures: dict[str, Figures], peaks: dict[str, float]) -> None:
    plural = "s" if each > 1 else ""
    table = Table(title=f"{CLIENTS} clients, {each} message{plural} per connection", title_justify="left")
    table.add_column("milter")
    for heading in ("messages/s", "p50 ms", "p99 ms", "CPU s/1,000", "peak MB", "load CPU", "DNS CPU", "other CPU"):
        table.add_column(heading, justify="right")
    for name, row in figures.items():
        table.add_row(
            name,
            f"{row.rate:,.0f}",
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            f"{row.cpu:.2f}",
            f"{peaks[name]:.0f}",
            f"{row.load_share:.0%}",
            f"{row.dns_share:.0%}",
            f"{row.other_share:.0%}",
        )
    bench.console.print(table)


def _tell_ratios(bench: Bench, figures: dict[str, Figures]) -> None:
    rates = {name: row.rate for name, row in figures.items()}
    chain = 0.0
    if "opendkim" in rates and "opendmarc" in rates:
        chain = 1 / (1 / rates["opendkim"] + 1 / rates["opendmarc"])
        bench.tell(f"opendkim then opendmarc: {chain:,.0f} messages/s (computed: 1/(1/a + 1/b))")
    if "ours" not in rates:
        return
    ratios = {
        "opendkim then opendmarc": chain,
        **{name: rates.get(name, 0) for name in ("rspamd", "noop", "noop+1", WITHOUT_ARC)},
    }
    for name, rate in ratios.items():
        if rate:
            bench.tell(f"ours / {name}: {rates['ours'] / rate:.2f}")
    if WITH_METRICS in figures:
        ours, counting = figures["ours"], figures[WITH_METRICS]
        bench.tell(f"{WITH_METRICS} / ours: rate {counting.rate / ours.rate:.3f}, CPU {counting.cpu / ours.cpu:.3f}")
    if WITHOUT_ARC in figures:
        # steadier than the rate where others use the machine too
        bench.tell(f"CPU per message, {WITHOUT_ARC} / ours: {figures[WITHOUT_ARC].cpu / figures['ours'].cpu:.2f}")
