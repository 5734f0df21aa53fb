"""What is counted, by name and label. Labels are words of ours and of the RFCs, never text from outside.

Limits: see `Words`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from authmilter.facts import (
    ArcResult,
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


class Figures:
    """All figures of the daemon. Thread safe. Every process has the same ones; `Shared` says where they are kept."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()  # the page is made from the files
        self._words = Words()
        self.dns = DnsCounts()
        self._dns_lock = threading.Lock()
        self._dns_seen = self.dns.now()

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
            "From the end of a message to the answer: in all, and of that waiting for DNS.",
            ["stage"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._total, self._dns_wait = seconds.labels("total"), seconds.labels("dns")
        self._queries = _children(
            counter("dns_queries", "Look-ups that went to a name server, by outcome.", "outcome"),
            (status.value for status in Status),
        )
        self._hits = counter("dns_cache_hits", "Look-ups whose answer was at hand.")
        self._faults = _children(
            counter("faults", "Messages that a fault of the daemon itself spoiled, by answer.", "message"),
            ("deferred", "accepted"),
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
        """A message has been decided."""
        verdict, facts = outcome.verdict, outcome.facts
        self._messages.labels(verdict.decision, self._words.bounded("rule", verdict.rule)).inc()
        if verdict.would_be:
            self._would_be.labels(verdict.would_be).inc()
        if facts.judged:
            for method, word in _results(facts, verdict.author_domain):
                self._results[method][word].inc()
            for signature in facts.dkim:
                self._signatures[signature.result].inc()
        made, sealed = outcome.made, outcome.sealed
        if made.missing_key or made.unsigned or made.signed:
            self._signed["no-key" if made.missing_key else "unsigned" if made.unsigned else "signed"].inc()
        if sealed.status or sealed.unsealed:
            self._sealed["sealed" if sealed.status else "unsealed"].inc()
        self._total.observe(outcome.ms / 1000)
        if facts.judged:
            self._dns_wait.observe(outcome.dns_ms / 1000)
        self._take_dns()

    def _take_dns(self) -> None:
        """What the resolver has counted since the last message: it is far too busy to write each time."""
        with self._dns_lock:
            hits, asked = self.dns.now()
            hits_before, asked_before = self._dns_seen
            self._dns_seen = hits, asked
        if hits > hits_before:
            self._hits.inc(hits - hits_before)
        for status, number in asked.items():
            if number > asked_before[status]:
                self._queries[status.value].inc(number - asked_before[status])

    def fault(self, done: str) -> None:
        """A fault of ours spoiled a message, which was "deferred" or "accepted"."""
        self._faults[done].inc()

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
