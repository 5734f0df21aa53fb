"""What every benchmark needs: a directory, the load generator, the corpora as files, output for people."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.corpus import Corpus
from bench.load import Load, LoadFailed, Result, compile_load
from bench.peers import Peer, Running


@dataclass(frozen=True, slots=True)
class Bench:
    directory: Path
    program: Path  # the load generator
    console: Console
    peers: Sequence[Peer]

    def tell(self, text: str) -> None:
        """A line for people."""
        self.console.print(text, markup=False, highlight=False)

    def load(self, clients: int, per_connection: int = 1) -> Load:
        """Give a way to send."""
        return Load(self.program, clients, per_connection)


@contextmanager
def bench(peers: Sequence[Peer]) -> Iterator[Bench]:
    """A directory with the compiled load generator, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir="/tmp") as name:
        directory = Path(name)
        # written lines would be cut at 80 columns when the output goes into a file
        console = Console() if os.isatty(1) else Console(width=160)
        yield Bench(directory, compile_load(directory), console, peers)


@dataclass(frozen=True, slots=True)
class CorpusFiles:
    """A corpus as the load generator reads it, in both forms."""

    corpus: Corpus
    plain: Path
    after_dkim: Path

    def for_peer(self, peer: Peer) -> Path:
        """The form that this milter is given."""
        return self.after_dkim if peer.after_dkim else self.plain


def write_corpus(directory: Path, name: str, corpus: Corpus) -> CorpusFiles:
    """Write both forms into `directory`."""
    plain, after = directory / f"{name}.packets", directory / f"{name}.after-dkim.packets"
    plain.write_bytes(corpus.packets())
    after.write_bytes(corpus.packets(after_dkim=True))
    return CorpusFiles(corpus, plain, after)


def check_work(bench: Bench, running: Running, files: CorpusFiles, clients: int, times: int = 1) -> bool:
    """Send the whole corpus and see that the milter finds what is in it. Says what it found; False if it does not."""
    peer = running.peer
    count = len(files.corpus.messages) * times
    expected = {word: files.corpus.expected[word] * times for word in peer.finds}
    try:
        result = bench.load(clients, 10).run(
            running.socket, files.for_peer(peer), messages=count, words=peer.finds, field=peer.field
        )
    except LoadFailed as problem:
        bench.tell(f"  {peer.name}: {problem}")
        return False
    good = result.words == expected and not result.faults
    found = (
        ", ".join(f"{word} {result.words[word]}/{expected[word]}" for word in peer.finds) or "finds nothing, as meant"
    )
    bench.tell(
        f"  {'ok ' if good else 'BAD'} {peer.name}: {count} messages, {found}; answers {describe_answers(result)}"
    )
    return good


_ANSWERS = {"c": "continue", "a": "accept", "r": "reject", "y": "reject with text", "t": "tempfail", "d": "discard"}


def describe_answers(result: Result) -> str:
    """The milter's final answers in words."""
    return ", ".join(f"{_ANSWERS.get(letter, letter)} {count}" for letter, count in sorted(result.answers.items()))
