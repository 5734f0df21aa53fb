"""When the milter dies, stops, is reconfigured or cannot be reached: no message is lost and none slips by unseen."""

from __future__ import annotations

import os
import platform
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate import Gate, gate_settings
from tests.support.milter_daemon import MilterDaemon
from tests.support.passage import RESULTS, Inbound, Passage, pass_through, settle
from tests.support.ports import free_port
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.senders import BANK, MALLORY, OPTIONS, SHOP, ZONE, mail
from tests.support.smtp_client import Reply, SmtpSession
from tests.support.unbound import PrivateUnbound
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

GateFactory = Callable[..., Gate]

# numbers of rt_sigtimedwait, accept and accept4: arm64 and x86-64
_SIGTIMEDWAIT, *_ACCEPT = (137, 202, 242) if platform.machine() == "aarch64" else (128, 43, 288)


@pytest.fixture(scope="module")
def dns(unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE, options=OPTIONS)


@pytest.fixture(scope="module")
def gate(gate_factory: GateFactory, dns: PrivateUnbound) -> Gate:
    return gate_factory(settings={"workers": 1}, dns=dns)


def genuine(gate: Gate | Inbound, rcpt: str = "") -> Passage:
    return pass_through(gate, BANK.sign(mail(BANK.address)), mail_from=BANK.address, rcpt=rcpt, **BANK.client())


def begin(session: SmtpSession, rcpt: str, message: bytes, mail_from: str = BANK.address) -> None:
    """A message up to the middle of its body."""
    assert session.command(f"MAIL FROM:<{mail_from}>").code == 250
    assert session.command(f"RCPT TO:<{rcpt}>").code == 250
    assert session.command("DATA").code == 354
    session.write(message[:-20])


def finish(session: SmtpSession, message: bytes) -> Reply:
    """The rest of it."""
    assert b"\r\n." not in message[-25:]
    return session.command(message[-20:] + b".")


BIG = BANK.sign(mail(BANK.address, body="x" * 70 + "\n" + ("y" * 77 + "\n") * 3000))


def test_worker_killed_in_the_middle_of_a_message(gate: Gate) -> None:
    rcpt = gate.postfix.new_rcpt()
    genuine(gate)
    for _ in range(2):
        (worker,) = wait_until(gate.milter.workers, "a worker")
        mark = gate.milter.log.mark()
        with gate.postfix.session(**BANK.client()) as session:
            begin(session, rcpt, BIG)
            os.kill(worker, signal.SIGKILL)
            reply = finish(session, BIG)
            assert (reply.code, reply.enhanced) == (451, "4.7.1")
            # the connection has lost its milter: nothing is taken without one, whether it gives up now or later
            again = session.send(BANK.address, [rcpt], BIG, raw=True)
            assert 400 <= again.final.code < 500
        gate.milter.log.wait(rf"worker {worker} ended \(signal SIGKILL\), starting another", after=mark)
    assert gate.postfix.mailbox.messages(rcpt) == []
    assert gate.postfix.queue() == []
    retried = genuine(gate, rcpt)
    assert retried.results["dmarc"] == ["pass"]
    assert len(gate.postfix.mailbox.messages(rcpt)) == 1


def test_worker_is_back_within_a_second(gate: Gate) -> None:
    genuine(gate)
    (worker,) = gate.milter.workers()
    # who dies young is restarted after a pause
    wait_until(lambda: _age(worker) > 1.2, "a worker that has lived for a while")
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    passage = genuine(gate)
    assert passage.fate == "delivered"
    assert time.monotonic() - began < 1.0
    (other,) = gate.milter.workers()
    assert other != worker


def _age(pid: int) -> float:
    """Seconds since a process was started."""
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return up - started / os.sysconf("SC_CLK_TCK")


def test_other_workers_serve_while_one_is_gone(gate_factory: GateFactory, dns: PrivateUnbound) -> None:
    gate = gate_factory(settings={"workers": 3}, dns=dns)
    for worker in gate.milter.workers():
        os.kill(worker, signal.SIGKILL)
        passage = genuine(gate)
        assert (passage.fate, passage.results["dmarc"]) == ("delivered", ["pass"])
    wait_until(lambda: len(gate.milter.workers()) == 3, "three workers")


def test_daemon_killed_and_started_again(gate: Gate) -> None:
    rcpt = gate.postfix.new_rcpt()
    with gate.postfix.session(**BANK.client()) as session:
        begin(session, rcpt, BIG)
        gate.milter.process.kill()
        assert finish(session, BIG).code == 451
    with gate.postfix.session(**BANK.client()) as session:
        reply = session.command(f"MAIL FROM:<{BANK.address}>")
    assert (reply.code, reply.enhanced) == (451, "4.7.1")
    # the socket of the one that was killed is still there
    assert gate.postfix.milter_socket.is_socket()
    gate.milter.start()
    passage = genuine(gate, rcpt)
    assert passage.results["dmarc"] == ["pass"]
    assert len(gate.postfix.mailbox.messages(rcpt)) == 1


def test_workers_end_with_their_parent(gate_factory: GateFactory, dns: PrivateUnbound) -> None:
    """Nobody would restart or stop them."""
    gate = gate_factory(settings={"workers": 2}, dns=dns)
    workers = gate.milter.workers()
    os.kill(gate.milter.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers), "end of the workers")


def test_hangup_takes_good_settings_for_the_next_message(gate: Gate) -> None:
    spoof = mail(SHOP.address)
    with gate.postfix.session(**MALLORY.client()) as session:

        def fate() -> str:
            rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
            exchange = session.send(MALLORY.address, [rcpt], spoof, raw=True)
            return settle(gate, exchange, rcpt, mark).fate

        assert fate() == "held"
        mark = gate.milter.log.mark()
        gate.milter.reload({"dmarc": {"on_quarantine": "reject"}})
        gate.milter.log.wait("new settings taken", after=mark)
        wait_until(lambda: fate() == "refused", "the new settings on the same connection", timeout=2.0)
        gate.milter.reload({"dmarc": {}})
        wait_until(lambda: fate() == "held", "the old settings again", timeout=2.0)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (
            {"dmarc": {"on_quarantine": "rejekt"}},
            r"\[dmarc\] on_quarantine: should be 'reject', 'quarantine' or 'accept'",
        ),
        ({"dmarc": {"on_quarantene": "accept"}}, r"\[dmarc\] on_quarantene: unknown key"),
        ({"dns": {"timeout": "soon"}}, r"\[dns\] timeout: "),
        ({"trust": {"networks": ["10.0.0.1/8"]}}, r"\[trust.networks\] 0: '10\.0\.0\.1/8' is not a network"),
        ({"on_fault": "panic"}, r"on_fault: should be 'tempfail' or 'accept'"),
    ],
)
def test_hangup_with_bad_settings_changes_nothing(gate: Gate, wrong: dict[str, Any], complaint: str) -> None:
    before = dict(gate.milter.settings)
    mark = gate.milter.log.mark()
    gate.milter.reload(wrong)
    try:
        said = gate.milter.log.wait(r"settings not taken, the old ones stay: .*", after=mark)[0]
        found = re.search(rf"{gate.milter.config}: line (\d+): {complaint}", said)
        assert found, said
        assert gate.milter.config.read_text().splitlines()[int(found[1]) - 1].partition(" ")[0] in said
        passage = pass_through(gate, mail(SHOP.address), mail_from=MALLORY.address, **MALLORY.client())
        assert (passage.fate, len(gate.milter.workers())) == ("held", 1)
    finally:
        gate.milter.settings.clear()
        gate.milter.configure(before)


def test_hangup_with_settings_that_cannot_be_read(gate: Gate) -> None:
    mark = gate.milter.log.mark()
    for content in (b"[dmarc\n", b"\xff\xfe", b"socket = 'unix:/x'\nsocket = 'unix:/y'\n"):
        gate.milter.config.write_bytes(content)
        gate.milter.process.send(signal.SIGHUP)
        gate.milter.log.wait("settings not taken, the old ones stay: .*authmilter.toml", after=mark)
        mark = gate.milter.log.mark()
    gate.milter.config.unlink()
    gate.milter.process.send(signal.SIGHUP)
    gate.milter.log.wait("settings not taken, the old ones stay: .*authmilter.toml", after=mark)
    gate.milter.configure({})
    assert genuine(gate).fate == "delivered"


def test_hangup_with_settings_that_need_a_restart(gate: Gate) -> None:
    mark = gate.milter.log.mark()
    gate.milter.reload({"workers": 2})
    gate.milter.log.wait("a restart is needed before these take effect: workers", after=mark)
    gate.milter.configure({"workers": 1})


def test_new_worker_has_the_new_settings(gate: Gate) -> None:
    mark = gate.milter.log.mark()
    gate.milter.reload({"dmarc": {"on_quarantine": "reject"}})
    gate.milter.log.wait("new settings taken", after=mark)
    (worker,) = gate.milter.workers()
    os.kill(worker, signal.SIGKILL)
    passage = pass_through(gate, mail(SHOP.address), mail_from=MALLORY.address, **MALLORY.client())
    assert passage.fate == "refused"
    gate.milter.reload({"dmarc": {}})


def test_stop_lets_a_message_under_way_finish(gate_factory: GateFactory, dns: PrivateUnbound) -> None:
    """libmilter looks for a stop every five seconds; what has come until then is answered."""
    gate = gate_factory(settings={"workers": 2}, dns=dns)
    process, path, rcpt = gate.milter.process, gate.postfix.milter_socket, gate.postfix.new_rcpt()
    with gate.postfix.session(**BANK.client()) as idle, gate.postfix.session(**BANK.client()) as session:
        assert idle.send(BANK.address, [rcpt], BIG, raw=True).accepted
        begin(session, rcpt, BIG)
        began = time.monotonic()
        process.send(signal.SIGTERM)
        # both workers have been told when nothing is left for the parent to do but wait
        wait_until(lambda: _sleeps(process.pid), "the parent waiting for its workers")
        assert finish(session, BIG).code == 250
        status = process.wait(20)
        assert (status, process.members()) == (0, [])
        # a worker that waited in accept(2) would not have noticed, and would have been killed after twenty seconds
        assert time.monotonic() - began < 8
        assert 400 <= idle.send(BANK.address, [rcpt], BIG, raw=True).final.code < 500
    assert not path.exists()
    assert "dmarc=pass" in gate.postfix.wait_delivered(rcpt, 2)[1].all(RESULTS)[0]
    assert gate.milter.log.text().endswith("stopped\n")
    with gate.postfix.session(**BANK.client()) as session:
        assert session.command(f"MAIL FROM:<{BANK.address}>").code == 451


def _sleeps(pid: int) -> bool:
    """Whether a process waits in sigtimedwait(2) with a time limit, or has ended."""
    try:
        words = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return True
    return words[0] == str(_SIGTIMEDWAIT) and words[3] != "0x0"  # set, info, timeout, size


def test_no_worker_waits_in_accept(gate_factory: GateFactory, dns: PrivateUnbound) -> None:
    """All workers wake up for a connection and one gets it: another that waits for the next does not see a stop."""
    gate = gate_factory(settings={"workers": 3}, dns=dns)
    for _ in range(20):
        with gate.postfix.session(**BANK.client()), gate.postfix.session(**MALLORY.client()):
            pass
        for worker in gate.milter.workers():
            assert Path(f"/proc/{worker}/syscall").read_text().split()[0] not in map(str, _ACCEPT)


@pytest.mark.parametrize(("action", "code"), [("tempfail", 451), ("quarantine", 250), ("accept", 250)])
def test_default_action(postfix_factory: Callable[..., PrivatePostfix], action: str, code: int) -> None:
    """What Postfix does while nobody listens; that forged fields stay then is the price of accepting."""
    postfix = postfix_factory(milter=MILTER_SPEC, settings={"milter_default_action": action})
    forged = mail(BANK.address, extra=f"{RESULTS}: mx.home.example; dmarc=pass\n")
    exchange = postfix.send(forged, mail_from=BANK.address, rcpts=["r@home.example"], **BANK.client())
    assert exchange.final.code == code
    if action == "accept":
        assert postfix.wait_delivered("r@home.example")[0].all(RESULTS) == [" mx.home.example; dmarc=pass"]
    elif action == "quarantine":
        assert postfix.held() == [exchange.queue_id]
    else:
        assert postfix.queue() == []


def test_chrooted_postfix_finds_the_socket_below_its_queue(gate_factory: GateFactory, dns: PrivateUnbound) -> None:
    gate = gate_factory(settings={"workers": 1}, dns=dns, chroot=True)
    assert gate.milter.address == f"unix:{gate.postfix.queue_directory}/milter/milter.sock"
    passage = genuine(gate)
    assert passage.results["dmarc"] == ["pass"]
    roots = {os.readlink(f"/proc/{pid}/root") for pid in gate.postfix.members()}  # noqa: PTH115
    assert str(gate.postfix.queue_directory) in roots


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_inet_socket(
    postfix_factory: Callable[..., PrivatePostfix],
    milter_process: Callable[..., MilterDaemon],
    dns: PrivateUnbound,
    name: str,
) -> None:
    port = free_port()
    postfix = postfix_factory(milter=f"inet:127.0.0.1:{port}")
    settings = gate_settings(dns.address, {"workers": 1})
    gate = Inbound(postfix, milter_process(settings, socket=f"inet:{port}@{name}"))
    assert genuine(gate).results["dmarc"] == ["pass"]
    assert pass_through(gate, mail(BANK.address), mail_from=BANK.address, **MALLORY.client()).fate == "refused"


def test_socket_that_postfix_may_not_use_defers(gate_factory: GateFactory, dns: PrivateUnbound) -> None:
    gate = gate_factory(settings={"workers": 1, "socket_mode": "0660", "socket_group": "postfix"}, dns=dns)
    mode = gate.postfix.milter_socket.stat()
    assert (mode.st_mode & 0o777, gate.postfix.milter_socket.group()) == (0o660, "postfix")
    assert genuine(gate).fate == "delivered"
    gate.postfix.milter_socket.chmod(0o600)
    with gate.postfix.session(**BANK.client()) as session:
        assert session.command(f"MAIL FROM:<{BANK.address}>").code == 451
    gate.postfix.log.wait("connect to Milter service .*: Permission denied")
