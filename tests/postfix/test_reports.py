"""Reports through a real Postfix with the milter in it: counted, made, sent once whatever dies on the way."""

from __future__ import annotations

import contextlib
import email
import email.policy
import gzip
import re
import secrets
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parsedmarc
import pytest

from authmilter.reports import failure_ledger, ledger, sending
from authmilter.reports.ledger import DAY, Key
from authmilter.reports.observation import observations
from authmilter.reports.sending import Done
from authmilter.reports.settings import Reports
from mailcommon.outbox import HANDOVER, State
from mailcommon.store import Store, StoreFault, open_store
from tests.support.daemon_process import toml
from tests.support.gate import Gate
from tests.support.killed_sender import run_and_die
from tests.support.mailbox import Delivered
from tests.support.milter_daemon import program
from tests.support.postfix import PrivatePostfix
from tests.support.postgres import PrivatePostgres, missing
from tests.support.report_rows import ACCEPT, dmarc, message, tags
from tests.support.requirements import require
from tests.support.senders import BANK, OPTIONS, ZONE, mail
from tests.support.smtp_receiver import receiving
from tests.support.unbound import PrivateUnbound
from tests.support.waiting import wait_until
from tests.support.zone_resolver import ZoneResolver

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

HOME = "home.example"
BOX = f"dmarc@{HOME}"
TODAY = 20_001
NOW = TODAY * DAY + 4000.0
SENDERS_ZONE = f"""
_dmarc.{HOME} 60 IN TXT "v=DMARC1; p=none"
_dmarc.gone.example 60 IN TXT "v=DMARC1; p=none"
counted.example._report._dmarc.{HOME} 60 IN TXT "v=DMARC1"
"""
REPORTING = f"""
_dmarc.counted.example. 300 IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc@{HOME}; ruf=mailto:dmarc@{HOME}"
counted.example. 300 IN TXT "v=spf1 ip4:192.0.2.40 -all"
counted.example._report._dmarc.{HOME}. 300 IN TXT "v=DMARC1"
"""


class Quiet:
    def begin(self, task: str, total: int) -> None: ...

    def step(self) -> None: ...


class Host:
    """A gate that keeps reports, and a sender beside it."""

    def __init__(self, postfix: PrivatePostfix, store: str) -> None:
        self.postfix = postfix
        self.settings = Reports(store=store, email=f"reports@{HOME}", smtp=f"127.0.0.1:{postfix.ports['smtp']}")
        self.store = self.open()

    def open(self) -> Store:
        return open_store(self.settings.store, sending.SCHEMAS)

    def note(self, name: str, box: str = BOX) -> None:
        """Something to report to `box` about a domain below that of the box."""
        domain = f"{name}.{box.partition('@')[2]}"
        fact = dmarc(author_domain=domain, policy_domain=domain, published=tags(rua=(f"mailto:{box}",)))
        ((published, row),) = observations(message(fact), ACCEPT)
        ledger.write(self.store, secrets.token_hex(8), {Key(TODAY - 1, published, row): 1}, NOW)

    def run(self, offset: float = 0.0) -> Done:
        """One run of the sender, with a connection of its own."""
        store = self.open()
        try:
            return sending.run(self.settings, store, ZoneResolver(SENDERS_ZONE), lambda: NOW + offset, Quiet())
        finally:
            store.close()

    def delivered(self) -> Counter[str]:
        """How many reports about each name have been delivered."""
        return Counter(name_of(each) for each in self.postfix.mailbox.messages(BOX))


class Gated(Host):
    """A host with the milter in Postfix's way."""

    def __init__(self, gate: Gate, store: str) -> None:
        super().__init__(gate.postfix, store)
        self.gate = gate


def name_of(delivered: Delivered) -> str:
    found = re.search(rb"Report Domain: ([a-z0-9]+)\.", delivered.message)
    assert found
    return found[1].decode()


@pytest.fixture(scope="module")
def dns(unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE + REPORTING, options=OPTIONS)


@pytest.fixture
def gate_with(gate_factory: Callable[..., Gate], dns: PrivateUnbound) -> Iterator[Callable[..., Gated]]:
    """Call it with a store, and further settings of `[reports]`."""
    with contextlib.ExitStack() as stack:

        def start(store: str, **reports: Any) -> Gated:
            settings = {"workers": 2, "reports": {"store": store, "email": f"reports@{HOME}", **reports}}
            host = Gated(gate_factory(settings=settings, dns=dns, trusted=("127.0.0.0/8",)), store)
            stack.callback(host.store.close)
            hosts.append(host)
            return host

        hosts: list[Gated] = []
        yield start
        for host in hosts:
            # a worker that dies is replaced, and its message is tried again: nothing else would show it
            assert "ended (signal" not in host.gate.milter.log.text()


@pytest.fixture
def host(gate_with: Callable[..., Gated], tmp_path: Path) -> Gated:
    return gate_with(f"sqlite:{tmp_path}/reports.db")


def collected(host: Gated) -> dict[str, int]:
    ledger.absorb(host.store)
    return {published.domain: count for _, published, _, count in ledger.totals(host.store)}


def test_messages_are_counted(host: Gated) -> None:
    """What came through Postfix is in the store within two seconds, and nothing of mail that nobody asked about."""
    gate = host.gate
    for _ in range(3):
        gate.postfix.send(
            mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
        )
    gate.postfix.send(
        mail("a@counted.example"), client_ip="192.0.2.66", mail_from="x@mallory.example", rcpts=[f"u@{HOME}"]
    )
    gate.postfix.send(BANK.sign(mail(BANK.address)), mail_from=BANK.address, rcpts=[f"u@{HOME}"], **BANK.client())
    wait_until(lambda: collected(host) == {"counted.example": 4}, "the rows", timeout=5.0)
    (what,) = ledger.pending(host.store, 10**6)
    with host.store.read() as tx:
        rows = {row.source_ip: (row.disposition, row.spf, count) for row, count in ledger.rows(tx, what)}
    assert rows == {"192.0.2.40": ("pass", "pass", 3), "192.0.2.66": ("reject", "fail", 1)}


def test_from_a_message_to_a_report_in_a_mailbox(host: Gated) -> None:
    gate = host.gate
    gate.postfix.send(
        mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
    )
    wait_until(lambda: collected(host) == {"counted.example": 1}, "the rows")
    with host.store.write() as tx:
        tx.run("UPDATE dmarc_rows SET day = day - 1")
    gate.milter.configure({"reports": host.settings.model_dump()})
    done = subprocess.run(
        [program(), "report", "send", "--config", gate.milter.config], capture_output=True, text=True, check=False
    )
    assert "made 1 reports about 1 messages" in done.stdout, done.stdout + done.stderr
    assert "sent 1" in done.stdout
    (delivered,) = gate.postfix.wait_delivered(BOX)
    assert delivered.return_path == f"reports@{HOME}"
    assert delivered.all(HANDOVER) == []  # taken off by the milter
    report = parsedmarc.parse_report_email(delivered.message, offline=True)["report"]
    assert report["policy_published"]["domain"] == "counted.example"
    assert [(each["source"]["ip_address"], each["count"]) for each in report["records"]] == [("192.0.2.40", 1)]


@pytest.mark.timeout(400)  # hundreds of senders
def test_killed_at_each_step_and_delivered_once(host: Gated) -> None:
    """kill -9 at each step of sending; the next run makes good, and exactly one report arrives."""
    steps = 0
    while True:
        host.note(f"s{steps}")
        if not run_and_die(host.run, steps):
            break
        host.run(60.0)
        steps += 1
    names = [f"s{number}" for number in range(steps + 1)]
    wait_until(lambda: set(host.delivered()) >= set(names), "all reports", context=host.gate.milter.log.text)
    wait_until(lambda: not host.gate.postfix.queue(), "an empty queue")
    assert host.delivered() == Counter(names)
    assert steps > 60
    states = Counter(each.state for _, deliveries in outbox(host).reports(limit=10_000) for each in deliveries)
    assert states == {State.SENT: steps + 1}


def outbox(host: Host) -> Any:
    return sending.outbox_of(host.settings, host.store)


def test_two_senders_at_once_send_once(host: Gated) -> None:
    names = [f"n{number}" for number in range(30)]
    for name in names:
        host.note(name)
    barrier = threading.Barrier(4)
    done: list[Done] = []

    def send() -> None:
        barrier.wait()
        done.append(host.run())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    host.run()
    assert sum(each.sent.done for each in done) == 30
    assert any(each.busy for each in done)
    wait_until(lambda: len(host.delivered()) == 30, "all reports")
    wait_until(lambda: not host.gate.postfix.queue(), "an empty queue")
    assert host.delivered() == Counter(names)


def test_a_second_copy_is_discarded(host: Gated) -> None:
    """The message of an attempt that was given up comes after all: Postfix was slow, the sender killed."""
    host.note("a")
    host.run()
    (delivered,) = host.gate.postfix.wait_delivered(BOX)
    with host.store.read() as tx:
        ((token,),) = tx.all("SELECT token FROM outbox_deliveries")
    copy = f"{HANDOVER}: {token}\r\n".encode() + delivered.message.replace(b"\n", b"\r\n")
    exchange = host.gate.postfix.send(copy, mail_from=f"reports@{HOME}", rcpts=[BOX], client_ip="")
    assert exchange.final.code == 250
    host.gate.milter.log.wait("report discarded")
    stranger = host.gate.postfix.send(copy, mail_from=f"reports@{HOME}", rcpts=[BOX], client_ip="203.0.113.9")
    assert stranger.final.code in (
        250,
        550,
    )  # a stranger's message is judged like any other, and nothing is looked up for it
    assert host.gate.milter.log.text().count("report discarded") == 1


def test_reports_wait_while_the_milters_store_is_away(host: Gated, tmp_path: Path) -> None:
    """Other mail goes on meanwhile."""
    host.note("a")
    locker = sqlite3.connect(tmp_path / "reports.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    try:
        token = f"{'0' * 16}.{'0' * 32}"
        text = f"{HANDOVER}: {token}\r\n".encode() + mail(f"reports@{HOME}")
        began = time.monotonic()
        plain = host.gate.postfix.send(
            mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
        )
        assert plain.final.code == 250
        assert time.monotonic() - began < 2.0
        assert host.gate.postfix.send(text, mail_from=f"reports@{HOME}", rcpts=[BOX], client_ip="").final.code == 451
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    assert host.run().sent.done == 1
    wait_until(lambda: "counted.example" in collected(host), "what was counted meanwhile")


def test_two_hosts_with_one_postgres(gate_with: Callable[..., Gated]) -> None:
    """Each counts, one sends, about all; the server goes away in the middle of it."""
    require(missing())
    with PrivatePostgres() as server:
        url = server.url("two")
        hosts = [gate_with(url), gate_with(url)]
        for host in hosts:
            host.gate.postfix.send(
                mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
            )
        wait_until(lambda: collected(hosts[0]) == {"counted.example": 2}, "rows of both")
        server.halt()
        for host in hosts:
            exchange = host.gate.postfix.send(
                mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
            )
            assert exchange.final.code == 250
            host.gate.milter.log.wait("mail goes on")
        server.start()
        hosts[0].store.close()
        wait_until(lambda: collected(hosts[0]) == {"counted.example": 4}, "rows of the time without a server")
        with hosts[0].store.write() as tx:
            tx.run("UPDATE dmarc_rows SET day = ?", TODAY - 1)
        dones = [host.run() for host in hosts]
        assert [done.sent.done for done in dones] == [1, 0]
        assert dones[0].made.messages == 4
        (delivered,) = hosts[0].gate.postfix.wait_delivered(BOX)
        report = attached(delivered)
        assert b"<count>4</count>" in report


def test_postgres_goes_away_while_reports_are_sent(gate_with: Callable[..., Gated]) -> None:
    require(missing())
    with PrivatePostgres() as server:
        host = gate_with(server.url("away"))
        names = [f"n{number}" for number in range(40)]
        for name in names:
            host.note(name)
        stopped = threading.Event()

        def disturb() -> None:
            for count in (5, 20):
                wait_until(lambda count=count: len(host.delivered()) >= count, "some reports")  # type: ignore[misc]
                server.restart()
            stopped.set()

        disturber = threading.Thread(target=disturb)
        disturber.start()
        faults = 0

        def all_sent() -> bool:
            nonlocal faults
            try:
                host.run(3600.0 * (1 + faults))
            except StoreFault:
                faults += 1
                return False
            return stopped.is_set()

        wait_until(all_sent, "the end", timeout=60.0)
        disturber.join()
        host.run(1e5)
        wait_until(lambda: set(host.delivered()) == set(names), "all reports")
        wait_until(lambda: not host.postfix.queue(), "an empty queue")
        assert host.delivered() == Counter(names)
        assert faults


def attached(delivered: Delivered) -> bytes:
    parsed = email.message_from_bytes(delivered.message, policy=email.policy.default)
    part = next(iter(parsed.iter_attachments()))
    return gzip.decompress(part.get_content())


def test_a_failure_report_from_a_forged_message(gate_with: Callable[..., Gated], tmp_path: Path) -> None:
    host = gate_with(f"sqlite:{tmp_path}/reports.db", failure_reports=True)
    host.settings = host.settings.model_copy(update={"failure_reports": True})
    forged = mail(
        "boss@counted.example", subject="Pay this, alice", extra="Received: from x for <alice@home.example>;\n"
    )
    for _ in range(2):
        exchange = host.postfix.send(
            forged, client_ip="192.0.2.66", mail_from="x@mallory.example", rcpts=[f"alice@{HOME}"]
        )
        assert exchange.final.code == 550
    wait_until(lambda: sum(row.incidents for row in failure_ledger.kept(host.store)) == 2, "the failures")
    done = host.run()
    assert (done.failed.reports, done.sent.done) == (1, 1)
    (delivered,) = host.postfix.wait_delivered(BOX)
    assert delivered.all("Subject") == [" DMARC failure report about counted.example"]
    parsed = parsedmarc.parse_report_email(delivered.message, offline=True)["report"]
    assert parsed["reported_domain"] == "counted.example"
    assert parsed["source"]["ip_address"] == "192.0.2.66"
    assert b"Incidents: 2" in delivered.message
    shown = delivered.message.partition(b"text/rfc822-headers")[2]
    assert b"alice" not in shown
    assert b"Pay this" not in shown
    # what comes back about the report itself, or is a report, makes no further one
    host.postfix.send(delivered.message, client_ip="192.0.2.66", mail_from="x@mallory.example", rcpts=[f"alice@{HOME}"])
    host.gate.milter.log.wait("author=home.example")
    assert failure_ledger.kept(host.store) == []


def test_what_is_in_memory_is_written_when_the_milter_stops(host: Gated) -> None:
    host.postfix.send(
        mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
    )
    host.gate.milter.process.stop(timeout=25.0)
    assert collected(host) == {"counted.example": 1}


def test_settings_that_change_while_it_runs(host: Gated, tmp_path: Path) -> None:
    def send() -> None:
        host.postfix.send(
            mail("a@counted.example"), client_ip="192.0.2.40", mail_from="a@counted.example", rcpts=[f"u@{HOME}"]
        )

    send()
    other = Reports(store=f"sqlite:{tmp_path}/other.db", email=f"reports@{HOME}")
    host.gate.milter.reload({"reports": other.model_dump()})
    host.gate.milter.log.wait("new settings taken")
    second = open_store(other.store, sending.SCHEMAS)

    def counted_there() -> bool:
        send()
        ledger.absorb(second)
        return bool(list(ledger.totals(second)))

    wait_until(counted_there, "a row in the other store")
    assert collected(host)["counted.example"] >= 1
    host.gate.milter.reload({"reports": Reports().model_dump()})
    second.close()


def test_a_bounce_from_postfix_itself_is_understood(
    postfix_factory: Callable[..., PrivatePostfix], tmp_path: Path
) -> None:
    """A destination that Postfix cannot deliver to: its bounce, piped to `report bounce`. No milter is in the way."""
    with receiving() as (remote, port):
        remote.rcpt = "550 5.1.1 nobody here"
        postfix = postfix_factory(
            settings={"transport_maps": f"inline:{{ {{ gone.example = smtp:[127.0.0.1]:{port} }} }}"},
            services=["smtp unix - - n - - smtp"],
            trusted=("127.0.0.0/8",),
        )
        host = Host(postfix, f"sqlite:{tmp_path}/reports.db")
        host.note("a", "box@gone.example")
        host.run()
        (bounce,) = postfix.wait_delivered(f"reports@{HOME}")
    config = tmp_path / "authmilter.toml"
    config.write_text(toml({"reports": host.settings.model_dump()}))
    subprocess.run([program(), "report", "bounce", "--config", config], input=bounce.message, check=True)
    ((_, deliveries),) = outbox(host).reports()
    assert deliveries[0].state is State.BOUNCED
    assert "nobody here" in deliveries[0].note
    host.store.close()
