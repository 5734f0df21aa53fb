"""TLS reports by mail through a Postfix whose milter knows the outbox: each arrives once, whatever dies on the way."""

from __future__ import annotations

import datetime
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailcommon.outbox import HANDOVER
from mailcommon.store import open_store
from tests.support.gate import Gate
from tests.support.killed_sender import run_and_die
from tests.support.senders import OPTIONS
from tests.support.unbound import PrivateUnbound
from tests.support.waiting import wait_until
from tlspolicyd import report_commands
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import tables
from tlspolicyd.tlsrpt.counts import Count, Row
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, PolicyType
from tlspolicyd.tlsrpt.tables import Batch

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

BOX = "tls@home.example"
DOMAIN = "reported.example"
LAST_DAY = datetime.date(2026, 11, 27)
ZONE = f'_smtp._tls.{DOMAIN}. 300 IN TXT "v=TLSRPTv1; rua=mailto:{BOX}"\n'


class Sender:
    """`tlspolicyd report send` beside a gate whose milter watches over its outbox."""

    def __init__(self, gate: Gate, dns: PrivateUnbound, store: str) -> None:
        self.gate = gate
        self.settings = Settings.model_validate(
            {
                "dns": {"nameservers": [dns.address]},
                "tlsrpt": {
                    "store": store,
                    "contact": "tls-reports@home.example",
                    "smtp": f"127.0.0.1:{gate.postfix.ports['smtp']}",
                    "keep": 3650.0,
                },
            }
        )

    def count(self, day: datetime.date) -> None:
        """One session on a day."""
        policy = AppliedPolicy(PolicyType.NONE, DOMAIN)
        store = open_store(self.settings.tlsrpt.store, [tables.SCHEMA])
        tables.write(store, Batch(f"{day}", 1, (Row(day, DOMAIN, policy, Count(1)),)), time.time())
        store.close()

    def send(self, later: float = 0.0) -> str:
        """Some time after the end of the last day."""
        midnight = datetime.datetime.combine(LAST_DAY, datetime.time(), datetime.UTC).timestamp() + 86_400
        return report_commands.send(self.settings, clock=lambda: midnight + 20_000 + later)

    def delivered(self) -> Counter[str]:
        """How many reports about each day have arrived, by the beginning in the file name."""
        found = (re.search(rb"!(\d+)!\d+!", each.message) for each in self.gate.postfix.mailbox.messages(BOX))
        return Counter(match[1].decode() for match in found if match)


@pytest.fixture(scope="module")
def dns(unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE, options=OPTIONS)


@pytest.fixture
def sender(gate_factory: Callable[..., Gate], dns: PrivateUnbound, tmp_path: Path) -> Sender:
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    store = f"sqlite:{tmp_path}/reports.db"
    settings: dict[str, Any] = {"workers": 2, "reports": {"outboxes": [store]}}
    return Sender(gate_factory(settings=settings, dns=dns, trusted=("127.0.0.0/8",)), dns, store)


STRIDE = 3  # test_reports takes every step of the same sender


@pytest.mark.timeout(400)
def test_killed_at_many_steps_and_delivered_once(sender: Sender) -> None:
    """kill -9 at steps of sending; the next run makes good, and exactly one report arrives."""
    rounds = 0
    while True:
        sender.count(LAST_DAY - datetime.timedelta(days=rounds))
        if not run_and_die(sender.send, rounds * STRIDE):
            break
        sender.send(60.0)
        rounds += 1
    wait_until(lambda: len(sender.delivered()) == rounds + 1, "all reports", context=sender.gate.milter.log.text)
    wait_until(lambda: not sender.gate.postfix.queue(), "an empty queue")
    assert set(sender.delivered().values()) == {1}
    assert rounds > 15
    for each in sender.gate.postfix.mailbox.messages(BOX):
        assert each.all(HANDOVER) == []  # taken off by the milter
