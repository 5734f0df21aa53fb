"""Connections: order, cutting, bounds on time and memory, and clients that do what no Postfix does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Awaitable

import pytest

from tests.support.socketmap_client import SocketmapClient, encode
from tests.support.socketmap_server import SocketmapServer
from tests.support.waiting import wait_until
from tlspolicyd.ready import ReadyReplies
from tlspolicyd.server import Limits
from tlspolicyd.socketmap import write_reply, write_request

QUICK = Limits(connections=100, idle=0.2, read=0.2)


def echo(map_name: bytes, key: bytes) -> bytes:
    return b"OK " + map_name + b"/" + key


def later(map_name: bytes, key: bytes) -> bytes | Awaitable[bytes]:
    """The key "slow:N" takes a while."""

    async def answer() -> bytes:
        await asyncio.sleep(float(key.partition(b":")[2] or b"0"))
        return echo(map_name, key)

    return answer() if key.startswith(b"slow") else echo(map_name, key)


def shut(client: SocketmapClient) -> bool:
    """Whether the server closes the connection, whatever it sends before."""
    with contextlib.suppress(ConnectionError):
        while client.sock.recv(65536):
            pass
    return True


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_requests_one_after_the_other() -> None:
    with SocketmapServer(echo) as server, server.client() as client:
        for number in range(50):
            assert client.ask("policy", f"d{number}.example") == f"OK policy/d{number}.example"


def test_pipelined_requests_are_answered_in_order() -> None:
    keys = [f"slow{n}:0.01" if n % 7 == 0 else f"d{n}.example" for n in range(400)]
    with SocketmapServer(later) as server, server.client() as client:
        client.sock.sendall(b"".join(encode(f"policy {key}".encode()) for key in keys))
        assert [client.reply().decode() for _ in keys] == [f"OK policy/{key}" for key in keys]


def test_requests_cut_anywhere() -> None:
    octets = encode(b"policy a.example") + encode(b"policy b.example")
    with SocketmapServer(echo) as server, server.client() as client:
        for cut in range(1, len(octets)):
            client.sock.sendall(octets[:cut])
            seen = server.call(lambda: len(server.clients))  # the loop has turned
            client.sock.sendall(octets[cut:])
            assert [client.reply(), client.reply()] == [b"OK policy/a.example", b"OK policy/b.example"]
            assert seen == 1


def test_longest_request_and_longest_reply() -> None:
    with SocketmapServer(lambda _, key: b"OK " + key[:99_997]) as server, server.client() as client:
        key = "x" * (100_000 - len("policy "))
        assert client.ask("policy", key) == "OK " + key
        client.sock.sendall(b"100001:")
        assert shut(client)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"-1:policy a,", "not a number"),
        (b"99999999999:policy a,", "more than 100000"),
        (b"01:a,", "leading zero"),
        (b"8:policy ab", "no comma"),
        (b"6:policy,", "no socketmap request"),
        (b"0:,", "no socketmap request"),
        (b"10:policy a\0b,", "no socketmap request"),
        (b"GET / HTTP/1.0\r\n\r\n", "not a number"),
        (b"\0" * 100_000, "not a number"),
        (b"0" * 1_000_000, "leading zero"),
        (b"\x1b[31m\n" * 10, "not a number"),
    ],
)
def test_what_is_no_request_ends_the_connection_with_one_line(
    octets: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with SocketmapServer(echo) as server:
        with server.client() as client, server.client() as other:
            client.sock.sendall(encode(b"policy a.example"))
            assert client.reply() == b"OK policy/a.example"
            with contextlib.suppress(ConnectionError):  # the server has seen enough
                client.sock.sendall(octets)
            assert shut(client)
            assert other.ask("policy", "b.example") == "OK policy/b.example"
        lines = warnings(caplog)
    assert len(lines) == 1
    assert why in lines[0]
    assert "pid:" in lines[0]
    assert lines[0].isprintable()


def test_answers_before_a_fault_are_given() -> None:
    with SocketmapServer(later) as server, server.client() as client:
        client.sock.sendall(encode(b"policy slow:0.05") + encode(b"policy a") + b"x")
        assert [client.reply(), client.reply()] == [b"OK policy/slow:0.05", b"OK policy/a"]
        assert shut(client)


def test_idle_connection_is_closed_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with SocketmapServer(echo, QUICK) as server, server.client() as client:
        assert client.ask("policy", "a") == "OK policy/a"
        begun = time.monotonic()
        assert client.closed()
        assert time.monotonic() - begun > 0.1
    assert warnings(caplog) == []


def test_a_request_that_stays_half_is_closed_even_if_it_drips(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(idle=60.0, read=0.3)
    with SocketmapServer(echo, limits) as server, server.client() as client:
        assert client.ask("policy", "a") == "OK policy/a"
        client.sock.settimeout(0.05)
        begun = time.monotonic()
        client.sock.sendall(b"50000:")
        while True:  # an octet now and then must not help
            assert time.monotonic() - begun < 10
            try:
                client.sock.sendall(b"x")
                if client.sock.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.2 < time.monotonic() - begun < 3
    assert len(warnings(caplog)) == 1
    assert "not whole" in warnings(caplog)[0]


def test_a_long_answer_is_not_taken_for_idleness() -> None:
    with SocketmapServer(later, QUICK) as server, server.client() as client:
        assert client.ask("policy", "slow:0.8") == "OK policy/slow:0.8"


def test_a_client_that_reads_nothing_is_cut_off_and_costs_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    made = 0

    def big(_map: bytes, _key: bytes) -> bytes:
        nonlocal made
        made += 1
        return b"OK " + b"x" * 50_000

    with SocketmapServer(big, Limits(idle=60.0, read=0.3)) as server, server.client() as client:
        client.sock.settimeout(0.05)
        sent = 0
        begun = time.monotonic()
        while time.monotonic() - begun < 10:
            try:
                sent += client.sock.send(encode(b"policy a") * 1000)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection stays open")
        assert sent < 3_000_000  # then the server did not read on
    assert made < 100
    assert len(warnings(caplog)) == 1
    assert "takes no reply" in warnings(caplog)[0]


def test_a_slow_reader_gets_all_its_replies() -> None:
    with SocketmapServer(lambda _, key: b"OK " + key + b"x" * 50_000) as server, server.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.sendall(b"".join(encode(b"policy %d:" % n) for n in range(100)))
        for number in range(100):
            assert client.reply().startswith(b"OK %d:x" % number)


def test_connections_over_the_limit_are_refused_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with SocketmapServer(echo, Limits(connections=3)) as server:
        clients = [server.client() for _ in range(3)]
        assert all(client.ask("policy", "a") for client in clients)
        for _ in range(5):
            with server.client() as refused:
                assert shut(refused)
        clients.pop().close()
        wait_until(lambda: server.call(lambda: len(server.clients)) == 2, "a free place")
        with server.client() as late:
            assert late.ask("policy", "a") == "OK policy/a"
        for client in clients:
            assert client.ask("policy", "b") == "OK policy/b"
            client.close()
    assert len(warnings(caplog)) == 1
    assert "max_connections" in warnings(caplog)[0]


def test_a_client_that_only_stops_sending_gets_its_answers() -> None:
    with SocketmapServer(later) as server, server.client() as client:
        client.sock.sendall(encode(b"policy slow:0.1") + encode(b"policy a"))
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.reply(), client.reply()] == [b"OK policy/slow:0.1", b"OK policy/a"]
        assert client.closed()


def test_a_client_that_goes_away_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with SocketmapServer(later) as server:
        for octets in (b"", b"50:half", encode(b"policy slow:0.1"), encode(b"policy slow:0.1") * 3 + b"5:", b"1"):
            with server.client() as client:
                client.sock.sendall(octets)
        wait_until(lambda: server.call(lambda: len(server.clients)) == 0, "no connection", timeout=5.0)
    assert warnings(caplog) == []


@pytest.mark.parametrize("awaited", [False, True])
def test_a_fault_behind_is_answered_and_logged_once(awaited: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> bytes:
        raise RuntimeError("bug")

    def answer(_map: bytes, key: bytes) -> bytes | Awaitable[bytes]:
        if key == b"good":
            return b"OK good"
        if awaited:
            return broken()
        raise RuntimeError("bug")

    with SocketmapServer(answer) as server, server.client() as client:
        assert client.ask("policy", "a").startswith("TEMP ")
        assert client.ask("policy", "good") == "OK good"
    assert len(warnings(caplog)) == 1


def test_drain_finishes_what_is_under_way_and_closes_the_rest() -> None:
    with SocketmapServer(later) as server, server.client() as busy, server.client() as idle, server.client() as half:
        assert idle.ask("policy", "a") == "OK policy/a"
        half.sock.sendall(b"50:poli")
        busy.sock.sendall(encode(b"policy slow:0.3") + encode(b"policy b"))
        wait_until(lambda: server.call(lambda: len(server.clients)) == 3, "three connections")
        server.call(lambda: asyncio.sleep(0.02))
        drained = server.start(lambda: server.clients.drain(10.0))
        assert idle.closed()
        assert half.closed()
        assert not drained.done()
        assert [busy.reply(), busy.reply()] == [b"OK policy/slow:0.3", b"OK policy/b"]
        assert busy.closed()
        drained.result(5)


def test_drain_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    with SocketmapServer(later) as server, server.client() as busy:
        busy.send("policy", "slow:60")
        wait_until(lambda: server.call(lambda: len(server.clients)) == 1, "the connection")
        server.call(lambda: asyncio.sleep(0.02))
        begun = time.monotonic()
        server.call(lambda: server.clients.drain(0.2))
        assert time.monotonic() - begun < 3
        assert busy.closed()
    assert "cut off" in warnings(caplog)[0]


def test_one_client_with_many_requests_does_not_hold_up_the_others() -> None:
    answered: list[bytes] = []
    held, go = threading.Event(), threading.Event()

    def note(_map: bytes, key: bytes) -> bytes:
        answered.append(key)
        return b"OK " + key

    with SocketmapServer(note) as server, server.client() as greedy, server.client() as modest:
        assert [greedy.ask("policy", "1"), modest.ask("policy", "2")] == ["OK 1", "OK 2"]
        stopped = server.start(lambda: _hold(held, go))  # so that both have requests waiting
        assert held.wait(10)
        greedy.sock.sendall(encode(b"policy a") * 5000)
        modest.send("policy", "b")
        go.set()
        stopped.result(10)
        assert modest.reply() == b"OK b"
        for _ in range(5000):
            assert greedy.reply() == b"OK a"
    assert answered.index(b"b") < 1000


async def _hold(held: threading.Event, go: threading.Event) -> None:
    held.set()
    go.wait(10)  # the whole loop, on purpose


def test_ready_replies_are_sent_until_their_time_is_over() -> None:
    ready = ReadyReplies(10, time.monotonic)
    count = [0]
    request = write_request(b"policy", b"a.example")
    ready.put(request, "a.example", write_reply(b"OK ready"), 60.0, count)
    with SocketmapServer(echo, ready=ready) as server, server.client() as client:
        assert client.ask("policy", "a.example") == "OK ready"
        assert client.ask("policy", "b.example") == "OK policy/b.example"
        # whole, but not alone
        client.sock.sendall(request + b"8:")
        assert client.reply() in (b"OK ready", b"OK policy/a.example")
        client.sock.sendall(b"policy c,")
        assert client.reply() == b"OK policy/c"
        assert count[0] == 1
        server.call(lambda: ready.forget("a.example"))
        assert client.ask("policy", "a.example") == "OK policy/a.example"
        server.call(lambda: ready.put(request, "a.example", write_reply(b"OK short"), 0.05, count))
        wait_until(lambda: client.ask("policy", "a.example") == "OK policy/a.example", "its end", timeout=5.0)


def test_a_ready_reply_never_overtakes_an_answer_under_way() -> None:
    ready = ReadyReplies(10, time.monotonic)
    request = write_request(b"policy", b"a")
    ready.put(request, "a", write_reply(b"OK ready"), 60.0, [0])
    with SocketmapServer(later, ready=ready) as server, server.client() as client:
        client.send("policy", "slow:0.1")
        server.call(lambda: asyncio.sleep(0.02))
        client.sock.sendall(request)
        assert client.reply() == b"OK policy/slow:0.1"
        assert client.reply() in (b"OK ready", b"OK policy/a")
