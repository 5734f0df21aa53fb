"""A running milter with a DNS server of ours behind it, and a client in front that plays Postfix to it.

with Strangers(zone) as gate:
    with gate.client() as milter:
        outcome = milter.send(message, mail_from="u@a.example")
    results(outcome)    # {"spf": "pass", ...} as the header field says
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from tests.support.dns_server import FakeDns
from tests.support.inbound import AUTHSERV_ID
from tests.support.milter_client import MilterClient, Outcome
from tests.support.milter_daemon import MilterDaemon
from tests.support.worker_figures import cpu_seconds

_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} authmilter\[\d+\] (?:INFO|WARNING|ERROR) [ -~]+")


class Strangers:
    """`FakeDns` and `MilterDaemon` with one life. `tables`: as in authmilter.toml."""

    def __init__(
        self, zone: str = "", tables: Mapping[str, Any] | None = None, *, timeout: float = 1.0, negative_ttl: int = 300
    ) -> None:
        self.dns = FakeDns(zone, negative_ttl=negative_ttl)
        self._tables = tables or {}
        self._timeout = timeout

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.dns)
            dns = {"nameservers": [self.dns.address], "timeout": self._timeout, **self._tables.get("dns", {})}
            settings = {"authserv_id": AUTHSERV_ID, "trust": {"networks": []}, **self._tables, "dns": dns}
            self.daemon = stack.enter_context(MilterDaemon(settings))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def client(
        self, *, ip: str = "192.0.2.1", name: str = "", helo: str | bytes = "mx.good.example"
    ) -> Iterator[MilterClient]:
        """A connection that has been opened."""
        with MilterClient(self.daemon.address, timeout=60.0) as milter:
            milter.open(ip=ip, name=name, helo=helo)
            yield milter

    def cpu(self) -> float:
        """Processor seconds of all workers so far."""
        return cpu_seconds(self.daemon.workers())

    def strange_log_lines(self) -> list[str]:
        """Lines of the log that are not of the one shape, or not of printable ASCII."""
        lines = self.daemon.log.text().split("\n")
        return [line for line in lines if line and not _LOG_LINE.fullmatch(line)]


def results(outcome: Outcome) -> dict[str, str]:
    """The results in our Authentication-Results field by method; of spf that of MAIL FROM, of dkim all, joined."""
    (value,) = [value for value in outcome.all("Authentication-Results") if value.startswith(f" {AUTHSERV_ID};")]
    found: dict[str, str] = {}
    for entry in re.split(r";\n", value)[1:]:
        method, _, rest = entry.strip().partition("=")
        word = re.match(r"[a-z]+", rest)
        assert word, value
        if method == "spf" and "smtp.helo=" in entry:
            method = "helo"
        found[method] = ",".join(filter(None, (found.get(method, ""), word[0])))
    return found
