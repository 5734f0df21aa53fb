"""One message through the inbound path without Postfix and without a socket: the `Transaction` driven directly.

    outcome = run_message(MESSAGE, ZoneResolver(zone), ip="192.0.2.1", mail_from="u@a.example")
    words(outcome)    # {"spf": "pass", "dkim": "none", "dmarc": "pass", "iprev": "permerror", "decision": "accept"}

`CpuClock` measures the processor time of this thread, so that a bound holds on a busy machine too.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from authmilter.check_message import split_message
from authmilter.facts import Client
from authmilter.settings import Settings
from authmilter.setup import Setup, make_setup
from authmilter.transaction import Outcome, Transaction
from mailcommon.dns.resolver import Resolver
from mailcommon.settings import from_data

AUTHSERV_ID = "mx.home.example"


def settings_of(tables: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a dictionary as in authmilter.toml; loopback is a stranger, unless `tables` say otherwise."""
    return from_data({"authserv_id": AUTHSERV_ID, "trust": {"networks": []}, **(tables or {})}, Settings, "test")


def setup_of(resolver: Resolver, tables: Mapping[str, Any] | None = None, **changes: Any) -> Setup:
    """What a worker gives to each message; `changes` replace fields of it, such as the clocks."""
    return dataclasses.replace(make_setup(settings_of(tables), resolver), **changes)


def run_message(
    message: bytes,
    resolver: Resolver,
    *,
    ip: str = "192.0.2.1",
    name: str = "",
    helo: str = "client.example",
    mail_from: str = "",
    tables: Mapping[str, Any] | None = None,
    setup: Setup | None = None,
    **client: Any,
) -> Outcome:
    """What becomes of `message`; `setup` replaces what `resolver` and `tables` would give."""
    transaction = Transaction(setup or setup_of(resolver, tables), Client(ip, name, helo, **client), mail_from)
    header, body = split_message(message)
    for field_name, value in header:
        transaction.header(field_name, value)
    transaction.end_of_headers()
    transaction.body(body)
    return transaction.finish()


def words(outcome: Outcome) -> dict[str, str]:
    """The results of the checks and the decision, as words."""
    facts = outcome.facts
    return {
        "spf": next((str(fact.result) for fact in facts.spf if fact.scope == "mfrom"), ""),
        "dkim": ",".join(str(fact.result) for fact in facts.dkim),
        "dmarc": ",".join(str(fact.result) for fact in facts.dmarc),
        "iprev": str(facts.iprev.result) if facts.iprev else "",
        "decision": str(outcome.verdict.decision),
    }


class CpuClock:
    """`with CpuClock() as cpu: ...` and then `cpu.seconds`, of this thread alone."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._began = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = self._clock() - self._began
