"""What reports cost: the milter's rate while messages are counted, and a whole day of them, counted and sent.

The day is made in one process with the milter's own code, in batches as small as one worker writes them at full load:
what a message costs is then CPU time of that process, beside what the milter spends on it anyway.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from authmilter.facts import (
    Author,
    Client,
    DkimFact,
    DkimResult,
    DmarcFact,
    DmarcResult,
    MessageFacts,
    Policy,
    PublishedPolicy,
    SpfFact,
    SpfResult,
)
from authmilter.reports import ledger
from authmilter.reports.collector import Collector
from authmilter.reports.sending import SCHEMAS
from authmilter.verdict import Decision, Verdict
from bench import corpus, nameservers, peers, usage
from bench.run import Bench, check_work, write_corpus
from mailcommon.store import open_store
from tests.support.postfix import PrivatePostfix, missing
from tests.support.processes import Unavailable
from tests.support.unbound import PrivateUnbound

_CLIENTS = 8
_BATCH = 125  # messages: half a second of one of six workers at 1,500 messages/s
_AGENT = 'agent.example. 300 IN TXT "x"\n*._report._dmarc.agent.example. 300 IN TXT "v=DMARC1"\n'


def measure_rate(bench: Bench, seconds: float, rounds: int) -> None:
    """The milter with and without counting, in turns."""
    files = write_corpus(bench.directory, "mixed", corpus.mixed())
    place = bench.directory / "reports-rate"
    place.mkdir()
    store = f'[reports]\nstore = "sqlite:{place}/reports.db"\nemail = "reports@mx.example"\n'
    two = [peers.ours("plain", ""), peers.ours("counting", store)]
    with (
        nameservers.caching(files.corpus.zone) as (_, addresses),
        peers.started(two, place, addresses, bench.tell) as running,
    ):
        for one in running:
            check_work(bench, one, files, _CLIENTS, 2)
        table = Table(title="Counting messages for the reports", title_justify="left")
        for heading in ("round", "plain messages/s", "counting", "ratio", "plain CPU s/1,000", "counting", "ratio"):
            table.add_column(heading, justify="right")
        for number in range(rounds):
            figures = []
            # the one that begins changes, so that a drift of the machine hits both
            for one in running if number % 2 else running[::-1]:
                before = one.usage().cpu
                result = bench.load(_CLIENTS, 10).run(one.socket, files.plain, seconds=seconds)
                cpu = (one.usage().cpu - before) / result.messages * 1000
                figures.append((one.peer.name, result.rate, cpu))
            (_, counting, counting_cpu), (_, plain, plain_cpu) = sorted(figures)
            table.add_row(
                str(number + 1),
                f"{plain:,.0f}",
                f"{counting:,.0f}",
                f"{counting / plain:.3f}",
                f"{plain_cpu:.3f}",
                f"{counting_cpu:.3f}",
                f"{counting_cpu / plain_cpu:.3f}",
            )
        bench.console.print(table)


def measure_day(bench: Bench, messages: int, domains: int) -> None:
    """Count the messages of a day over so many domains, then send the reports."""
    if problem := missing():
        raise Unavailable(problem)
    path = bench.directory / "day.db"
    yesterday = (ledger.day_of(time.time()) - 1) * ledger.DAY + 43_200.0
    cost, rows = _count(path, messages, domains, yesterday)
    bench.tell(
        f"{messages:,} messages over {domains:,} domains: {rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB;"
        f" {cost * 1e6:.0f} µs of CPU for each message"
    )
    nowhere = {"default_transport": "discard", "virtual_transport": "discard"}
    with (
        PrivateUnbound(_AGENT) as dns,
        PrivatePostfix(settings=nowhere, trusted=["127.0.0.0/8"]) as postfix,
    ):
        config = bench.directory / "authmilter.toml"
        config.write_text(
            f'[dns]\nnameservers = ["{dns.address}"]\n[reports]\nstore = "sqlite:{path}"\n'
            f'email = "reports@home.example"\nsmtp = "127.0.0.1:{postfix.ports["smtp"]}"\n'
        )
        seconds, peak, said = _send(config)
    assert f"about {messages} messages" in said, said
    bench.tell(f"authmilter report send: {seconds:.0f} s, {peak:.0f} MB at the most; {said}")


class _Stepped(Collector):
    """A collector that writes when it is told to, in the thread that is measured."""

    def _run(self) -> None:
        return

    def step(self) -> None:
        self._flush()


def _count(path: Path, messages: int, domains: int, now: float) -> tuple[float, int]:
    """CPU seconds for one message, and the number of rows."""
    chance = random.Random(1)
    pool = list(_pool(domains, chance))
    chosen = [chance.choice(pool) for _ in range(messages)]
    store = open_store(f"sqlite:{path}", SCHEMAS)
    collector = _Stepped(store, lambda: now, time.monotonic, max_bytes=1 << 40)
    began = time.process_time()
    for number, (facts, verdict) in enumerate(chosen, 1):
        collector.note(facts, verdict)
        if number % _BATCH == 0:
            collector.step()
    collector.step()
    cost = (time.process_time() - began) / messages
    ledger.absorb(store)
    with store.read() as tx:
        ((rows, total),) = tx.all("SELECT count(*), sum(count) FROM dmarc_rows")
    assert total == messages, f"{total} of {messages} messages are in the store"
    store.close()
    return cost, int(rows)


_VERDICTS = {
    DmarcResult.PASS: Verdict(Decision.ACCEPT, "pass", ""),
    DmarcResult.FAIL: Verdict(Decision.REJECT, "policy", ""),
}


def _pool(domains: int, chance: random.Random) -> Iterator[tuple[MessageFacts, Verdict]]:
    """Four kinds of message for each domain: own host, provider, forwarder, forger."""
    for number in range(domains):
        domain = f"d{number}.example"
        box = f"mailto:dmarc@{domain if number % 2 else 'agent.example'}"
        published = PublishedPolicy(Policy.REJECT, None, None, "r", "r", "0", "u", False, rua=(box,))
        for kind in range(4):
            result = DmarcResult.FAIL if kind == 3 else DmarcResult.PASS
            passed = result is DmarcResult.PASS
            fact = DmarcFact(result, domain, domain, Policy.REJECT, published, kind < 2, kind in (1, 2))
            plain = MessageFacts(
                Client(f"198.51.{chance.randrange(256)}.{chance.randrange(256)}"),
                f"bounce@{domain}",
                author=Author((domain,)),
                spf=(SpfFact("mfrom", SpfResult.PASS if kind < 2 else SpfResult.FAIL, domain, f"bounce@{domain}"),),
                dmarc=(fact,),
            )
            word, reason = (DkimResult.PASS, "") if passed else (DkimResult.FAIL, "the body hash differs")
            signed = DkimFact(word, domain, "s1", reason=reason)
            yield replace(plain, dkim=(signed,) if kind else ()), _VERDICTS[result]


def _send(config: Path) -> tuple[float, float, str]:
    """Seconds, megabytes of resident memory at the most, and what it said."""
    program = Path(sys.executable).with_name("authmilter")
    began, peak = time.monotonic(), 0.0
    with subprocess.Popen(
        [program, "report", "send", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            peak = max(peak, usage.of([process.pid]).peak)
            time.sleep(0.2)
        assert process.stdout is not None
        said = process.stdout.read().strip().splitlines()
    return time.monotonic() - began, peak, said[-1] if said else ""
