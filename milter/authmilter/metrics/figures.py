"""What is counted, by name and label. Labels are words of ours and of the RFCs, never text from outside.

A worker notes what it has to count and writes it into the shared files every second: a message costs it microseconds.
What a process that is killed had noted in its last second is lost.

Limits: see `Words`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from authmilter.facts import (
    ArcResult,
    BimiResult,
    DkimResult,
    DmarcResult,
    IprevResult,
    MessageFacts,
    SpfResult,
)
from authmilter.transaction import Outcome
from mailcommon.dns.answer import Status
from mailcommon.dns.counts import DnsCounts
from mailcommon.metrics.words import Words

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)
# the best one last
_DKIM_BEST = tuple(DkimResult(word) for word in ("none", "permerror", "neutral", "policy", "fail", "temperror", "pass"))

log = logging.getLogger("authmilter")

# (decision, rule, would_be, signing, sealing), (method, result) of each, results of the signatures
_Words = tuple[tuple[str, str, str | None, str, str], tuple[tuple[str, str], ...], tuple[str, ...]]


class Figures:
    """All figures of the daemon. Thread safe. Every process has the same ones; `Shared` says where they are kept."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()  # the page is made from the files
        self._words = Words()
        self.dns = DnsCounts()
        self._dns_seen = self.dns.now()
        self._lock = threading.Lock()
        self._noted: dict[_Words, int] = {}
        self._times: list[tuple[str, float]] = []  # stage, seconds
        self._new = threading.Event()
        self._ended = False  # by a fault

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"authmilter_{name}", text, labels, registry=registry)

        self._messages = counter("messages", "Messages by decision and by the rule that decided.", "decision", "rule")
        self._would_be = counter("dry_run", "Messages accepted by dry_run, by what would have been done.", "decision")
        results = counter(
            "results",
            "Judged messages by result of each method. dkim: the best one of the signatures; spf: of MAIL FROM; "
            "dmarc: of the Author Domain that decided.",
            "method",
            "result",
        )
        self._results = {
            method: {str(word): results.labels(method, word) for word in words}
            for method, words in (
                ("spf", SpfResult),
                ("helo", SpfResult),
                ("dkim", DkimResult),
                ("dmarc", DmarcResult),
                ("arc", ArcResult),
                ("iprev", IprevResult),
                ("bimi", BimiResult),
            )
        }
        self._signatures = _children(
            counter("dkim_signatures", "DKIM signatures by result.", "result"),
            DkimResult,
        )
        self._signed = _children(
            counter("signing", "Messages to sign by what became of it.", "outcome"), ("signed", "unsigned", "no-key")
        )
        self._sealed = _children(
            counter("sealing", "Messages to seal (ARC) by what became of it.", "outcome"), ("sealed", "unsealed")
        )
        seconds = Histogram(
            "authmilter_message_seconds",
            "From the end of a message to the answer: in all, and of that waiting for DNS and for BIMI.",
            ["stage"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._seconds = {stage: seconds.labels(stage) for stage in ("total", "dns", "bimi")}
        self._queries = _children(
            counter("dns_queries", "Look-ups that went to a name server, by outcome.", "outcome"),
            (status.value for status in Status),
        )
        self._hits = counter("dns_cache_hits", "Look-ups whose answer was at hand.")
        self._faults = _children(
            counter("faults", "Messages that a fault of the daemon itself spoiled, by answer.", "message"),
            ("deferred", "accepted"),
        )
        self._reports = _children(
            counter("reports_refused", "Reports of our own that were not let in, by what became of them.", "outcome"),
            ("deferred", "discarded"),
        )
        self._restarts = counter("worker_restarts", "Worker processes that ended and were replaced, by cause.", "cause")
        self._reloads = _children(
            counter("reloads", "New settings by SIGHUP, taken or not.", "outcome"), ("taken", "refused")
        )
        # 0 in every process but the parent
        self._workers = Gauge("authmilter_workers", "Worker processes.", registry=registry, multiprocess_mode="max")
        self._started = Gauge(
            "authmilter_start_time_seconds",
            "When the daemon started, unix time.",
            registry=registry,
            multiprocess_mode="max",
        )

    def message(self, outcome: Outcome) -> None:
        """A message has been decided. Costs little: `flush` does the work, for all that have the same words at once."""
        if self._ended:
            return
        verdict, facts, made, sealed = outcome.verdict, outcome.facts, outcome.made, outcome.sealed
        signing = "no-key" if made.missing_key else "unsigned" if made.unsigned else "signed" if made.signed else ""
        sealing = "sealed" if sealed.status else "unsealed" if sealed.unsealed else ""
        words = (
            (verdict.decision, verdict.rule, verdict.would_be, signing, sealing),
            tuple(_results(facts, verdict.author_domain)) if facts.judged else (),
            tuple(fact.result for fact in facts.dkim),
        )
        times = [("total", outcome.ms / 1000)]
        if facts.judged:
            times.append(("dns", outcome.dns_ms / 1000))
        if facts.bimi and facts.bimi.ms:
            times.append(("bimi", facts.bimi.ms / 1000))
        with self._lock:
            self._noted[words] = self._noted.get(words, 0) + 1
            self._times += times
        self._new.set()

    def flush_each(self, seconds: float) -> None:
        """Write what is noted, over and over; for a thread of its own."""
        while not self._ended:
            self._new.wait()
            time.sleep(seconds)
            try:
                self.flush()
            except Exception:  # mail goes on, and nothing is noted that nobody would ever write
                self._ended = True
                log.exception("metrics: this worker counts no more")

    def flush(self) -> None:
        """Write what has been noted since the last time into the shared files."""
        self._new.clear()
        with self._lock:
            noted, self._noted = self._noted, {}
            times, self._times = self._times, []
            (hits, asked), (hits_before, asked_before) = self.dns.now(), self._dns_seen
            self._dns_seen = hits, asked
        for ((decision, rule, would_be, signing, sealing), results, signatures), number in noted.items():
            self._messages.labels(decision, self._words.bounded("rule", rule)).inc(number)
            if would_be:
                self._would_be.labels(would_be).inc(number)
            if signing:
                self._signed[signing].inc(number)
            if sealing:
                self._sealed[sealing].inc(number)
            for method, result in results:
                self._results[method][result].inc(number)
            for result in signatures:
                self._signatures[result].inc(number)
        for stage, seconds in times:
            self._seconds[stage].observe(seconds)
        self._hits.inc(hits - hits_before)
        for status, number in asked.items():
            self._queries[status.value].inc(number - asked_before[status])

    def fault(self, done: str) -> None:
        """A fault of ours spoiled a message, which was "deferred" or "accepted"."""
        self._faults[done].inc()

    def report(self, done: str) -> None:
        """A report of our own was "deferred" or "discarded"."""
        self._reports[done].inc()

    def started(self, workers: int) -> None:
        """The parent: the daemon runs."""
        self._started.set(time.time())
        self._workers.set(workers)

    def worker_ended(self, cause: str) -> None:
        """The parent: a worker ended unasked, by a signal of this name or with an "exit"."""
        self._restarts.labels(self._words.bounded("cause", cause)).inc()

    def settings(self, *, taken: bool) -> None:
        """The parent: SIGHUP came."""
        self._reloads["taken" if taken else "refused"].inc()


def _children(parent: Counter, words: Iterable[str]) -> dict[str, Counter]:
    return {str(word): parent.labels(word) for word in words}


def _results(facts: MessageFacts, author_domain: str) -> Iterable[tuple[str, str]]:
    """(method, result) of a judged message, one for each method that was looked at."""
    for fact in facts.spf:
        yield ("helo" if fact.scope == "helo" else "spf"), fact.result
    yield "dkim", max((fact.result for fact in facts.dkim), key=_DKIM_BEST.index, default=DkimResult.NONE)
    if facts.dmarc:
        deciding = (fact.result for fact in facts.dmarc if fact.author_domain == author_domain)
        yield "dmarc", next(deciding, facts.dmarc[0].result)
    if facts.arc:
        yield "arc", facts.arc.result
    if facts.iprev:
        yield "iprev", facts.iprev.result
    if facts.bimi:
        yield "bimi", facts.bimi.result
