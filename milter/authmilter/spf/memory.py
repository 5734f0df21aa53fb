"""Remembers results of check_host() for as long as the DNS answers behind them hold.

Most mail of a domain comes from the same few addresses, and evaluating the same record for them again costs more than
all else that SPF does. A result is remembered only if nothing but the address and the domain went into it: no record or
explanation with a macro, no failed look-up. It is forgotten with the shortest TTL of the answers, after five minutes at
the latest.

Limits: `entries` results. Thread safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cachetools import TLRUCache

from authmilter.facts import SpfFact, SpfResult
from authmilter.spf.evaluate import SpfLimits, check_host
from mailcommon.dns.answer import Answer
from mailcommon.dns.resolver import Resolver
from mailcommon.names import to_alabel

_MAX_SECONDS = 300.0

_Key = tuple[str, str]
_Kept = tuple[SpfFact, float]  # the result, seconds that it holds


class _Watch(Resolver):
    """Passes answers on and notes for how long a result made of them holds."""

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self.seconds = _MAX_SECONDS

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        answer = self._inner.query(rdtype, name)
        macro = rdtype == "TXT" and any(b"%" in record for record in answer.records)
        if macro or answer.status.failed:
            self.seconds = 0.0
        else:
            self.seconds = min(self.seconds, answer.ttl)
        return answer

    def start(self, rdtype: str, name: str) -> None:
        self._inner.start(rdtype, name)


class SpfMemory:
    """check_host() with a memory."""

    def __init__(
        self,
        receiver: str,
        limits: SpfLimits,
        clock: Callable[[], float] = time.monotonic,
        entries: int = 20_000,
    ) -> None:
        """`receiver` is this host's name for explanations; `clock` gives seconds and never goes back."""
        self._receiver = receiver
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: TLRUCache[_Key, _Kept] = TLRUCache(entries, lambda _key, kept, now: now + kept[1], timer=clock)

    def check(self, scope: str, ip: str, mail_from: str, helo: str, resolver: Resolver) -> SpfFact:
        """As `check_host`, which has the meaning of the arguments; all resolvers must give the same answers."""
        identity = helo if scope == "helo" else mail_from or f"postmaster@{helo}"
        domain = to_alabel(identity.rpartition("@")[2]) if identity.isprintable() else None
        if domain is None:
            return self._evaluate(scope, ip, mail_from, helo, resolver)
        key = (ip, domain)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            fact = kept[0]
            return (
                fact
                if fact.identity == identity and fact.scope == scope
                else replace(fact, scope=scope, identity=identity)
            )
        watch = _Watch(resolver)
        fact = self._evaluate(scope, ip, mail_from, helo, watch)
        if watch.seconds > 0 and fact.result is not SpfResult.TEMPERROR:
            with self._lock:
                self._kept[key] = (fact, watch.seconds)
        return fact

    def _evaluate(self, scope: str, ip: str, mail_from: str, helo: str, resolver: Resolver) -> SpfFact:
        return check_host(
            scope=scope,
            ip=ip,
            mail_from=mail_from,
            helo=helo,
            receiver=self._receiver,
            resolver=resolver,
            limits=self._limits,
            clock=self._clock,
        )
