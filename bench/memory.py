"""Peak memory while many clients send a large message each, all at once."""

from __future__ import annotations

from rich.table import Table

from bench import corpus, nameservers, peers
from bench.load import LoadFailed
from bench.run import Bench, CorpusFiles, describe_answers, write_corpus


def measure(bench: Bench, clients: int, megabytes: int) -> None:
    """Send and print."""
    files = write_corpus(bench.directory, "large", corpus.large(megabytes))
    table = Table(title=f"{clients} clients, each sending {megabytes} MB at once", title_justify="left")
    table.add_column("milter")
    for heading in ("at rest MB", "peak MB", "more MB", "seconds", "answers"):
        table.add_column(heading, justify="right")
    with nameservers.caching(files.corpus.zone) as (_, addresses):
        for peer in bench.peers:
            row = _one(bench, peer, files, clients, addresses)
            if row:
                table.add_row(peer.name, *row)
    bench.console.print(table)
    bench.tell("Sums over a milter's processes; what they share is counted in each.")


def _one(
    bench: Bench, peer: peers.Peer, files: CorpusFiles, clients: int, addresses: nameservers.Addresses
) -> tuple[str, ...] | None:
    place = bench.directory / f"memory-{peer.name}"
    place.mkdir()
    with peers.started([peer], place, addresses, bench.tell) as running:
        for one in running:
            rest = one.usage().now
            try:
                result = bench.load(clients).run(one.socket, files.for_peer(peer), messages=clients, words=peer.finds)
            except LoadFailed as problem:
                bench.tell(f"{peer.name} is left out: {problem}")
                return None
            if any(hits != clients for hits in result.words.values()):
                bench.tell(f"BAD {peer.name}: found {result.words} in {clients} messages")
            peak = one.usage().peak
            figures = (rest, peak, peak - rest)
            return (*(f"{figure:,.0f}" for figure in figures), f"{result.seconds:.1f}", describe_answers(result))
    return None
