"""The wait for an answer when nothing is cached and every DNS answer takes 30 ms: one client, one message at a time.

Each message has names and an address of its own. The time runs from the connection to the filter's final answer.
"""

from __future__ import annotations

from rich.table import Table

from bench import corpus, nameservers, peers
from bench.load import LoadFailed
from bench.run import Bench, describe_answers, write_corpus

DELAY = 0.030  # seconds


def measure(bench: Bench, count: int) -> None:
    """Send `count` messages to each and print."""
    table = Table(
        title=f"Nothing cached, {DELAY * 1000:.0f} ms per DNS answer, one client",
        title_justify="left",
    )
    table.add_column("milter")
    for heading in ("p50 ms", "round trips", "p99 ms", "queries/message", "answers"):
        table.add_column(heading, justify="right")
    medians: dict[str, float] = {}
    for peer in bench.peers:
        row = _one(bench, peer, count)
        if row:
            medians[peer.name] = row[0]
            table.add_row(peer.name, f"{row[0]:.1f}", f"{row[0] / DELAY / 1000:.2f}", *row[1:])
    if "opendkim" in medians and "opendmarc" in medians:
        both = medians["opendkim"] + medians["opendmarc"]
        table.add_row("opendkim then opendmarc (sum)", f"{both:.1f}", f"{both / DELAY / 1000:.2f}", "", "", "")
    bench.console.print(table)


def _one(bench: Bench, peer: peers.Peer, count: int) -> tuple[float, str, str, str] | None:
    files = write_corpus(bench.directory, f"fresh-{peer.name}", corpus.fresh(count))
    place = bench.directory / f"cold-{peer.name}"
    place.mkdir()
    with (
        nameservers.slow(files.corpus.zone, DELAY) as (dns, addresses),
        peers.started([peer], place, addresses, bench.tell) as running,
    ):
        dns.forget()
        for one in running:
            try:
                result = bench.load(1).run(one.socket, files.for_peer(peer), messages=count, words=peer.finds)
            except LoadFailed as problem:
                bench.tell(f"{peer.name} is left out: {problem}")
                return None
            found = {word: files.corpus.expected[word] for word in peer.finds}
            if result.words != found:
                bench.tell(f"BAD {peer.name}: found {result.words} where {found} is right")
            times = result.from_connect
            queries = f"{len(dns.queries) / count:.1f}"
            return times.p50 * 1000, f"{times.p99 * 1000:.1f}", queries, describe_answers(result)
    return None
