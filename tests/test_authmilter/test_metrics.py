"""The page of metrics of a running milter: that it tells the truth, also when processes die."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from authmilter.facts import ArcResult, BimiResult, DkimResult, DmarcResult, IprevResult, SpfResult
from authmilter.metrics.figures import Figures
from authmilter.metrics.report_queue import Queue, read
from authmilter.reports.ledger import Key, absorb, write
from authmilter.reports.observation import observations
from authmilter.reports.sending import SCHEMAS
from authmilter.transaction import Outcome
from authmilter.verdict import Decision
from mailcommon.metrics.words import Words
from mailcommon.store import open_store
from tests.support.command import authmilter, write_settings
from tests.support.metrics_page import Page
from tests.support.milter_daemon import MilterDaemon
from tests.support.ports import free_port, release_port
from tests.support.report_rows import ACCEPT, dmarc
from tests.support.report_rows import message as facts_of
from tests.support.stranger import Strangers
from tests.support.waiting import wait_until

ZONE = """
a.example.         IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.a.example.  IN TXT "v=DMARC1; p=reject"
q.example.         IN TXT "v=spf1 -all"
_dmarc.q.example.  IN TXT "v=DMARC1; p=quarantine"
;FAULT _dmarc.broken.example. TXT servfail
"""
GOOD, HELD, FORGED = b"From: u@a.example\n\nhi\n", b"From: u@q.example\n\nhi\n", b"From: x@a.example\n\nhi\n"
OWN_WORDS = {
    str(word)
    for kind in (ArcResult, BimiResult, DkimResult, DmarcResult, IprevResult, SpfResult, Decision)
    for word in kind
}
OWN_WORDS |= {
    "spf",
    "helo",
    "dkim",
    "dmarc",
    "arc",
    "iprev",
    "total",
    "dns",
    "deferred",
    "accepted",
    "taken",
    "refused",
}
OWN_WORDS |= {"signed", "unsigned", "no-key", "sealed", "unsealed", "SIGKILL", "exit"}
OWN_WORDS |= {"discarded", "bimi", "ok", "nodata", "nxdomain", "servfail", "timeout", "bogus"}
RULES = {"policy", "pass", "no-policy", "policy-none", "temperror", "bad-from", "header-size", "own"}


class Measured(Strangers):
    """A gate with its page."""

    def __init__(self, port: int, tables: dict[str, Any] | None = None, zone: str = ZONE) -> None:
        super().__init__(zone, {"metrics": {"listen": f"127.0.0.1:{port}"}, **(tables or {})})
        self.page = Page(port)

    def workers(self) -> list[int]:
        return [pid for pid in self.daemon.workers() if not _is_page(pid)]

    def page_process(self) -> int:
        (pid,) = [pid for pid in self.daemon.children() if _is_page(pid)]
        return pid

    def shows(self, number: float, name: str, **labels: str) -> None:
        """Wait until the page says so: workers write once a second."""
        wait_until(lambda: self.page.value(name, **labels) == number, f"{name} {labels} = {number}", context=self.text)

    def text(self) -> str:
        try:
            return self.page.text()
        except OSError as fault:
            return str(fault)

    def send(self, message: bytes, *, ip: str = "192.0.2.1", mail_from: str = "u@a.example") -> str:
        with self.client(ip=ip) as milter:
            return milter.send(message, mail_from=mail_from).reply.kind


def _is_page(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"authmilter.metrics.page" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    yield number
    release_port(number)


@pytest.fixture
def gate(port: int) -> Iterator[Measured]:
    with Measured(port) as running:
        wait_until(lambda: "authmilter_workers 2.0" in running.text(), "the page")
        yield running


def test_the_page_and_the_log_say_the_same(gate: Measured) -> None:
    for message, ip, times in ((GOOD, "192.0.2.1", 5), (FORGED, "198.51.100.1", 3), (HELD, "198.51.100.1", 2)):
        for _ in range(times):
            gate.send(message, ip=ip, mail_from="u@a.example" if message is GOOD else "m@evil.example")
    gate.shows(10, "authmilter_messages_total")
    log = gate.daemon.log.text()
    logged = Counter(re.findall(r"decision=(\S+) rule=(\S+)", log))
    assert logged == {("accept", "pass"): 5, ("reject", "policy"): 3, ("quarantine", "policy"): 2}
    for (decision, rule), number in logged.items():
        assert gate.page.value("authmilter_messages_total", decision=decision, rule=rule) == number
    for method, pattern in (("dmarc", r" dmarc=\S+:(\w+)"), ("spf", r"mfrom:[^:]*:(\w+)"), ("arc", r" arc=(\w+)")):
        for result, number in Counter(re.findall(pattern, log)).items():
            assert gate.page.value("authmilter_results_total", method=method, result=result) == number, (method, result)
        assert gate.page.value("authmilter_results_total", method=method) == 10
    assert gate.page.value("authmilter_results_total", method="dkim", result="none") == 10
    assert gate.page.value("authmilter_results_total", method="iprev") == 10
    assert gate.page.value("authmilter_message_seconds_count", stage="total") == 10
    milliseconds = sum(map(float, re.findall(r" ms=(\S+)", log)))
    assert gate.page.value("authmilter_message_seconds_sum", stage="total") * 1000 == pytest.approx(milliseconds, abs=1)
    assert gate.page.value("authmilter_dns_queries_total", outcome="ok") >= 3
    assert gate.page.value("authmilter_dns_cache_hits_total") > 0


def test_dns_that_fails_is_seen(gate: Measured) -> None:
    gate.send(b"From: u@broken.example\n\nhi\n")
    gate.shows(1, "authmilter_dns_queries_total", outcome="servfail")
    assert gate.page.value("authmilter_results_total", method="dmarc", result="temperror") == 1


def test_a_worker_that_dies_takes_no_figure_with_it(gate: Measured) -> None:
    for _ in range(6):
        gate.send(GOOD)
    gate.shows(6, "authmilter_messages_total")
    before = gate.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(gate.workers()) - set(before)) == 2, "new workers")
    gate.shows(2, "authmilter_worker_restarts_total", cause="SIGKILL")
    assert gate.page.value("authmilter_messages_total") == 6
    for _ in range(4):
        gate.send(GOOD)
    gate.shows(10, "authmilter_messages_total")
    assert gate.page.value("authmilter_workers") == 2


def test_the_page_is_started_again_and_mail_does_not_notice(gate: Measured) -> None:
    gate.send(GOOD)
    gate.shows(1, "authmilter_messages_total")
    mark, before = gate.daemon.log.mark(), gate.page_process()
    os.kill(before, signal.SIGKILL)
    assert gate.send(GOOD) == "continue"
    gate.daemon.log.wait("metrics: the page has ended, starting it again", after=mark)
    wait_until(lambda: "authmilter_workers 2.0" in gate.text(), "the page")
    gate.shows(2, "authmilter_messages_total")
    assert gate.page_process() != before
    assert gate.page.value("authmilter_worker_restarts_total") == 0


def test_a_page_that_never_lives_is_given_up(gate: Measured) -> None:
    for _ in range(4):
        mark, pid = gate.daemon.log.mark(), gate.page_process()
        os.kill(pid, signal.SIGKILL)
        gate.daemon.log.wait("metrics: the page", after=mark)
    assert "there is none until the next start" in gate.daemon.log.text()
    assert gate.send(GOOD) == "continue"


def test_settings_by_sighup_are_counted(gate: Measured) -> None:
    mark = gate.daemon.log.mark()
    gate.daemon.reload({"authserv_id": "not a host name"})
    gate.daemon.log.wait("settings not taken", after=mark)
    gate.shows(1, "authmilter_reloads_total", outcome="refused")
    mark = gate.daemon.log.mark()
    gate.daemon.reload({"authserv_id": "mx.home.example", "log_format": "json"})
    gate.daemon.log.wait("new settings taken", after=mark)
    gate.shows(1, "authmilter_reloads_total", outcome="taken")
    gate.send(GOOD)
    gate.daemon.log.wait(r'\{"time": .*"decision": "accept"', after=mark)
    gate.shows(1, "authmilter_messages_total")  # counted on in the same files


def test_nothing_from_outside_becomes_a_label(gate: Measured) -> None:
    for number in range(40):
        with gate.client(helo=f"helo{number}.evil.example") as milter:
            milter.send(
                f"From: u@evil{number}.example\nDKIM-Signature: v=1; a=x{number}; d=d{number}.example\n\nhi\n".encode(),
                mail_from=f"user{number}@evil{number}.example",
            )
    gate.shows(40, "authmilter_messages_total")
    for sample in gate.page.samples():
        words = {value for key, value in sample.labels.items() if key not in ("le", "version")}
        assert words <= OWN_WORDS | RULES, sample
    assert "evil" not in gate.page.text()


def test_the_files_stay_as_large_as_they_were_allocated(gate: Measured) -> None:
    """A file that grew could meet a full disk, and the worker would end by SIGBUS."""
    for number in range(60):
        gate.send(GOOD if number % 2 else FORGED, ip="192.0.2.1" if number % 3 else "198.51.100.1")
    gate.shows(60, "authmilter_messages_total")
    command = Path(f"/proc/{gate.page_process()}/cmdline").read_bytes().split(b"\0")
    files = sorted(Path(command[4].decode()).iterdir())
    assert {file.stat().st_size for file in files} == {1 << 16}
    assert len(files) == 9  # three kinds for the parent and two workers
    assert all(file.stat().st_blocks * 512 >= 1 << 16 for file in files)


def test_a_stop_leaves_nothing(port: int) -> None:
    daemon = MilterDaemon({"metrics": {"listen": f"127.0.0.1:{port}"}})
    daemon.start()
    process = daemon.process
    try:
        (page,) = [pid for pid in daemon.children() if _is_page(pid)]
        directory = Path(Path(f"/proc/{page}/cmdline").read_bytes().split(b"\0")[4].decode())
        assert directory.is_dir()
        process.send(signal.SIGTERM)
        assert process.wait(25.0) == 0
        assert not process.members()
        assert not directory.exists()
        with pytest.raises(OSError, match="refused"):
            Page(port).text()
    finally:
        daemon.stop(at_once=True)


def test_the_page_ends_with_its_parent(port: int) -> None:
    with MilterDaemon({"metrics": {"listen": f"127.0.0.1:{port}"}}) as daemon:
        os.kill(daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(_is_page, daemon.process.members())), "the end of the page")


def test_the_directory_of_systemd_is_used_and_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from authmilter.metrics import shared

    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_9.db").write_bytes(b"of a daemon that was killed")
    assert shared._empty_directory() == tmp_path / "metrics"
    assert not list((tmp_path / "metrics").iterdir())


def test_the_port_is_in_use(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        config = write_settings(
            tmp_path, {"socket": f"unix:{tmp_path}/milter.sock", "metrics": {"listen": f"127.0.0.1:{port}"}}
        )
        line = authmilter("serve", "--config", config).refused()
    assert f"[metrics] listen: 127.0.0.1:{port}: " in line
    assert sorted(tmp_path.iterdir()) == [config]


def test_the_queue_of_reports(port: int, tmp_path: Path) -> None:
    reports = {"store": f"sqlite:{tmp_path}/reports.db", "email": "reports@home.example"}
    zone = '_dmarc.r.example. IN TXT "v=DMARC1; p=none; rua=mailto:r@r.example"\n'
    with Measured(port, {"reports": reports}, zone) as gate:
        for ip in ("192.0.2.1", "192.0.2.2"):
            gate.send(b"From: u@r.example\n\nhi\n", ip=ip)
        wait_until(lambda: gate.page.value("authmilter_report_rows") == 2, "rows", timeout=30.0, context=gate.text)
        assert gate.page.value("authmilter_report_store_up") == 1
        assert gate.page.value("authmilter_report_overdue_seconds") == 0
        mark = gate.daemon.log.mark()
        gate.daemon.reload({"reports": {**reports, "store": f"sqlite:{tmp_path}/no/reports.db"}})
        gate.daemon.log.wait("new settings taken", after=mark)
        wait_until(lambda: "authmilter_report_store_up 0.0" in gate.text(), "a store that is not there")
        gate.daemon.reload({"reports": {}})
        wait_until(lambda: "authmilter_report_store_up" not in gate.text(), "no store")


def test_what_is_overdue(tmp_path: Path) -> None:
    store = open_store(f"sqlite:{tmp_path}/reports.db", SCHEMAS)
    assert read(store) == Queue(up=True)
    published, row = next(iter(observations(facts_of(dmarc()), ACCEPT)))
    write(store, "batch", {Key(100, published, row): 3}, 100 * 86_400.0 + 5)
    assert read(store) == Queue(True, 1, 101 * 86_400.0)
    absorb(store)
    assert read(store) == Queue(True, 1, 101 * 86_400.0)
    store.close()


def test_words_are_bounded() -> None:
    words = Words()
    assert {words.bounded("x", str(number)) for number in range(100)} == {*map(str, range(30)), "other"}
    assert words.bounded("x", "7") == "7"
    assert words.bounded("y", "99") == "99"


def test_no_room_for_the_figures(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/no")
    config = write_settings(
        tmp_path, {"socket": f"unix:{tmp_path}/milter.sock", "metrics": {"listen": f"127.0.0.1:{port}"}}
    )
    line = authmilter("serve", "--config", config).refused()
    assert "[metrics]: no room for the figures" in line
    assert sorted(tmp_path.iterdir()) == [config]


def test_where_nothing_can_be_written_nothing_is_noted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    figures = Figures()

    def no_room() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging.getLogger("authmilter"), "propagate", True)
    monkeypatch.setattr(figures, "flush", no_room)
    figures._new.set()
    figures.flush_each(0.0)  # ends
    assert "this worker counts no more" in caplog.text
    figures.message(cast("Outcome", None))  # is not looked at
