"""The figures of the daemon.

`Metrics` is handed to those who have something to count. Look-ups are counted in plain lists, since the hot path does
so 50,000 times a second; the page adds them up.

Limits: see `Words`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mailcommon.dns.counts import DnsCounts
from mailcommon.metrics.words import Words

_FETCH_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)


class Counted(Protocol):
    """tlsrpt.counts.Counts"""

    dropped: int

    def __len__(self) -> int: ...


class Watched(Protocol):
    """tlsrpt.watching.Watching"""

    @property
    def sessions(self) -> Mapping[str, int]:
        """By result."""
        ...

    @property
    def malformed(self) -> Mapping[str, int]:
        """By reason."""
        ...

    @property
    def counts(self) -> Counted:
        """What is not yet written."""
        ...


def _sessions(watched: Watched) -> Iterator[Metric]:
    sessions = CounterMetricFamily("tlspolicyd_tlsrpt_sessions", "Sessions for TLS reports.", labels=["result"])
    for result, number in watched.sessions.items():
        sessions.add_metric([result], number)
    yield sessions
    malformed = CounterMetricFamily(
        "tlspolicyd_tlsrpt_malformed", "Datagrams and log lines that were not understood, by reason.", labels=["reason"]
    )
    for reason, number in watched.malformed.items():
        malformed.add_metric([reason], number)
    yield malformed
    yield CounterMetricFamily(
        "tlspolicyd_tlsrpt_dropped", "Sessions that found no place in memory.", value=watched.counts.dropped
    )
    yield GaugeMetricFamily(
        "tlspolicyd_tlsrpt_unwritten", "Domains whose counts are not yet in the store.", value=len(watched.counts)
    )


class Metrics:
    """Counters and histograms in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lookups: dict[str, list[int]] = {}
        self._ready: dict[str, list[int]] = {}
        self._words = Words()
        self.dns = DnsCounts()
        self._modes: Callable[[], Mapping[str, int]] = dict
        self._oldest: Callable[[], float | None] = lambda: None
        self._store_up: Callable[[], bool] = lambda: True
        self._dane: bool | None = None
        self._connections: Callable[[], int] = int
        self._watched: Watched | None = None
        self._fetches = Counter("tlspolicyd_fetches", "Policy fetches by outcome.", ["outcome"], registry=self.registry)
        self._seconds = Histogram(
            "tlspolicyd_fetch_seconds",
            "Duration of policy fetches by outcome.",
            ["outcome"],
            registry=self.registry,
            buckets=_FETCH_SECONDS,
        )
        self._failures = Counter(
            "tlspolicyd_refresh_failures",
            "Policies that could not be refreshed and stay as they are, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._faults = Counter("tlspolicyd_faults", "Faults of the daemon itself.", registry=self.registry)
        self.registry.register(self)

    def lookups(self, outcome: str, *, ready: bool = False) -> list[int]:
        """The count of look-ups with this outcome, as a list of one number: add to it.

        `ready`: those answered by a reply that was made before.
        """
        table = self._ready if ready else self._lookups
        return table.setdefault(self._words.bounded("lookup", outcome), [0])

    def fetched(self, outcome: str, seconds: float) -> None:
        """A fetch ended: "ok" or the word of its failure, after `seconds`."""
        outcome = self._words.bounded("fetch", outcome)
        self._fetches.labels(outcome).inc()
        self._seconds.labels(outcome).observe(seconds)

    def refresh_failed(self, reason: str) -> None:
        """A policy that is in the cache could not be refreshed; `reason` is one of few words."""
        self._failures.labels(self._words.bounded("refresh", reason)).inc()

    def fault(self) -> None:
        """A fault inside was caught."""
        self._faults.inc()

    def watch_cache(
        self,
        modes: Callable[[], Mapping[str, int]],
        oldest: Callable[[], float | None],
        store_up: Callable[[], bool],
    ) -> None:
        """How the page learns the number of policies by mode, and when the oldest was fetched (unix seconds).

        `store_up`: whether the store answered the last time. All are called for each reading of the page, and must not
        wait.
        """
        self._modes, self._oldest, self._store_up = modes, oldest, store_up

    def dane(self, active: bool | None) -> None:
        """Whether DANE is looked at; None: it is off by setting."""
        self._dane = active

    def watch_connections(self, number: Callable[[], int]) -> None:
        """How the page learns the number of open connections."""
        self._connections = number

    def watch_sessions(self, watched: Watched) -> None:
        """How the page learns what was counted for TLS reports."""
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        lookups = CounterMetricFamily(
            "tlspolicyd_lookups", "Look-ups by outcome; ready: by a reply made before.", labels=["outcome", "ready"]
        )
        for table, ready in ((self._lookups, "no"), (self._ready, "yes")):
            for outcome, count in table.items():
                lookups.add_metric([outcome, ready], count[0])
        yield lookups
        policies = GaugeMetricFamily("tlspolicyd_cache_policies", "Policies in the cache by mode.", labels=["mode"])
        for mode, number in self._modes().items():
            policies.add_metric([mode], number)
        yield policies
        yield GaugeMetricFamily(
            "tlspolicyd_store_up", "1 if the store answered the last time, else 0.", value=float(self._store_up())
        )
        if self._dane is not None:
            yield GaugeMetricFamily(
                "tlspolicyd_dane_active",
                "1 if DANE is looked at, 0 if the resolver does not validate; absent if it is off by setting.",
                value=float(self._dane),
            )
        hits, asked = self.dns.now()
        queries = CounterMetricFamily(
            "tlspolicyd_dns_queries", "Look-ups that went to a name server, by outcome.", labels=["outcome"]
        )
        for status, number in asked.items():
            queries.add_metric([status.value], number)
        yield queries
        yield CounterMetricFamily("tlspolicyd_dns_cache_hits", "Look-ups whose answer was at hand.", value=hits)
        oldest = self._oldest()
        yield GaugeMetricFamily(
            "tlspolicyd_cache_oldest_seconds",
            "Seconds since the oldest policy of the cache was fetched.",
            value=0.0 if oldest is None else max(0.0, time.time() - oldest),
        )
        if self._watched is not None:
            yield from _sessions(self._watched)
        yield GaugeMetricFamily("tlspolicyd_connections", "Open connections.", value=self._connections())

    def page(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)
