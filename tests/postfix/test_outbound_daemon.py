"""What Postfix does when the policy daemon is down, comes back, cannot say, or waits for a slow policy host."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.mx_host import StartTls
from tests.support.outbound import Outbound, policy
from tests.support.ports import free_port, release_port
from tests.support.scripted_socketmap import ScriptedSocketmap
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

WAIT = 1.0  # [sts] wait


@pytest.fixture(scope="module")
def world(outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    made = outbound(settings={"sts": {"wait": WAIT, "timeout": 3.0}})
    made.domain("good.example", made.mx("mx.good.example"), policy=policy("mx.good.example"))
    made.domain("plain.example", made.mx("mx.plain.example", starttls=StartTls.NONE))
    made.domain("hanging.example", made.mx("mx.hanging.example"), policy=policy("mx.hanging.example"), fault="hang")
    made.domain("late.example", made.mx("mx.late.example", flaw="expired"), policy=policy("mx.late.example"))
    made.policy_host.host("late.example").delay = 2 * WAIT
    with made:
        yield made


def test_daemon_down_defers_all_mail_until_it_is_back(world: Outbound) -> None:
    world.daemon.process.stop()
    held = []
    for name in ("good", "plain"):
        fate = world.postfix.deliver(f"u@{name}.example")
        assert (fate.status, fate.dsn) == ("deferred", "4.7.5"), fate.log
        assert "policy table lookup error" in fate.log
        assert world.hosts.find(f"u@{name}.example") == []
        held.append((fate, f"u@{name}.example"))
    world.daemon.start()
    for fate, rcpt in held:
        assert world.postfix.retry(fate, rcpt).status == "sent"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restart_between_two_messages_is_not_noticed(world: Outbound, number: signal.Signals) -> None:
    """smtp(8) keeps its connection to the map; the daemon that had it is gone."""
    assert world.postfix.deliver("u@good.example").status == "sent"
    world.daemon.process.send(number)
    world.daemon.process.wait(15.0)
    world.daemon.process.stop()
    world.daemon.start()
    fate = world.postfix.deliver("u@good.example")
    assert fate.status == "sent", fate.log


def test_a_hanging_policy_host_does_not_hold_mail(world: Outbound) -> None:
    began = time.monotonic()
    fate = world.postfix.deliver("u@hanging.example")
    assert fate.status == "sent", fate.log
    assert time.monotonic() - began < WAIT + 2.0


def test_a_late_policy_counts_for_the_next_message(world: Outbound) -> None:
    """STS-31: the first message may go before the policy is known."""
    assert world.postfix.deliver("u@late.example").status == "sent"
    wait_until(lambda: "secure" in world.daemon.ask("late.example"), "the late policy", interval=0.1)
    assert world.postfix.deliver("u@late.example").status == "deferred"


@pytest.fixture(scope="module")
def bare(outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    made = outbound(daemon=False)
    made.domain("a.example", made.mx("mx.a.example"))
    with made:
        yield made


@pytest.mark.parametrize(
    ("reply", "logged"),
    [
        (b"TEMP the policy cannot be read", "the policy cannot be read"),
        (b"TIMEOUT later", "later"),
        (b"PERM there is no such map", "there is no such map"),
        (b"OK secure match= servername=hostname", "match"),
        (b"OK nonsense", "nonsense"),
        (b"what", ""),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_every_answer_but_a_policy_or_not_found_defers(bare: Outbound, reply: bytes, logged: str) -> None:
    with ScriptedSocketmap(bare.postfix.policy_socket, lambda *_: reply):
        fate = bare.postfix.deliver("u@a.example")
        assert (fate.status, fate.dsn[:3]) == ("deferred", "4.7"), fate.log
        assert logged in fate.log


def test_the_daemon_knows_that_the_resolver_validates(world: Outbound) -> None:
    world.daemon.log.wait("DANE is on: the resolver validates")


def test_over_tcp(outbound: Callable[..., Outbound]) -> None:
    port = free_port()
    try:
        made = outbound(
            settings={"socket": f"inet:{port}@127.0.0.1"}, policy_map=f"socketmap:inet:127.0.0.1:{port}:policy"
        )
        made.domain("good.example", made.mx("mx.good.example"), policy=policy("mx.good.example"))
        with made:
            assert made.postfix.deliver("u@good.example").tls == {"mx.good.example": "Verified"}
    finally:
        release_port(port)


def test_many_domains_at_once(outbound: Callable[..., Outbound]) -> None:
    """A queue run: as many smtp(8) processes as Postfix has ask about as many new domains at the same moment."""
    made = outbound()
    names = [f"d{number}.example" for number in range(40)]
    for name in names:
        made.domain(name, made.mx(f"mx.{name}"), policy=policy(f"mx.{name}"))
    with made:
        rcpts = [f"u@{name}" for name in names]
        mark = made.postfix.log.mark()
        made.postfix.send(b"Subject: all\n\nhello\n", mail_from=made.postfix.sender, rcpts=rcpts, client_ip="")
        wait_until(lambda: all(map(made.hosts.find, rcpts)), "mail at all domains", context=made.postfix.log.text)
        log = made.postfix.log.text(mark)
        assert log.count("Verified TLS connection established") == len(names)
        assert made.policy_host.requests == len(names)
