"""The harness itself: what the other tests rely on when they send mail through the private Postfix."""

from __future__ import annotations

import functools
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.header_edits import apply, split_message
from tests.support.mailbox import Delivered, split_fields
from tests.support.milter_client import MilterClient
from tests.support.milter_protocol import Edit, Step
from tests.support.ports import free_port, release_port
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.processes import StartFailed, session_members
from tests.support.requirements import require
from tests.support.scripted_milter import Event, Script, ScriptedMilter
from tests.support.unbound import PrivateUnbound
from tests.support.waiting import wait_until

pytestmark = pytest.mark.postfix

PostfixFactory = Callable[..., PrivatePostfix]

MESSAGE = b"From: a@a.example\r\nTo: me@home.example\r\nSubject: one\r\n two\r\n\r\nfirst\r\n.dot\r\n\r\nlast\r\n"
AS_DELIVERED = MESSAGE.replace(b"\r\n", b"\n")


@pytest.fixture(scope="module")
def postfix(postfix_factory: PostfixFactory) -> PrivatePostfix:
    held = "check_sender_access inline:{ { held@a.example = HOLD on request } }"
    return postfix_factory(settings={"smtpd_recipient_restrictions": held, "message_size_limit": "20000"})


def without_received(delivered: Delivered) -> bytes:
    """The message without Postfix's own Received, which has to be the first field."""
    name, value = delivered.fields[0]
    assert name == "Received"
    return delivered.message.removeprefix(f"{name}:{value}\n".encode("latin-1"))


def test_delivered_as_sent(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    exchange = postfix.send(
        MESSAGE,
        client_ip="192.0.2.9",
        client_name="mx.a.example",
        helo="helo.a.example",
        mail_from="a@a.example",
        rcpts=[rcpt],
    )
    assert exchange.accepted
    (delivered,) = postfix.wait_delivered(rcpt)
    assert without_received(delivered) == AS_DELIVERED
    assert delivered.return_path == "a@a.example"
    received = delivered.all("Received")[0]
    assert received.startswith(" from helo.a.example (mx.a.example [192.0.2.9])")
    assert exchange.queue_id
    assert exchange.queue_id in received


def test_ipv6_client_without_name(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    postfix.send(MESSAGE, client_ip="2001:db8::9", mail_from="", rcpts=[rcpt])
    (delivered,) = postfix.wait_delivered(rcpt)
    assert "(unknown [IPv6:2001:db8::9])" in delivered.all("Received")[0]
    assert delivered.return_path == ""


def test_nothing_is_added_to_a_strangers_header(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    postfix.send(b"X-Only: this\r\n\r\nhello\r\n", mail_from="a@a.example", rcpts=[rcpt])
    (delivered,) = postfix.wait_delivered(rcpt)
    assert [name for name, _ in delivered.fields] == ["Received", "X-Only"]


def test_loopback_is_a_stranger_unless_trusted(postfix: PrivatePostfix, postfix_factory: PostfixFactory) -> None:
    sending = {"client_ip": "", "mail_from": "a@a.example", "rcpts": ["far@away.example"]}
    exchange = postfix.send(MESSAGE, **sending)  # type: ignore[arg-type]  # one dictionary for both calls
    assert (exchange.final.code, exchange.final.enhanced) == (554, "5.7.1")
    trusting = postfix_factory(trusted=["127.0.0.0/8"])
    assert trusting.send(MESSAGE, **sending).accepted  # type: ignore[arg-type]  # as above
    assert trusting.wait_delivered("far@away.example")


def test_one_refused_recipient_of_two(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    exchange = postfix.send(MESSAGE, mail_from="a@a.example", rcpts=["far@away.example", rcpt])
    assert [(name, reply.code) for name, reply in exchange.steps] == [
        ("MAIL", 250),
        ("RCPT", 554),
        ("RCPT", 250),
        ("DATA", 354),
        ("message", 250),
    ]


def test_hold_list_release(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    exchange = postfix.send(MESSAGE, mail_from="held@a.example", rcpts=[rcpt])
    postfix.wait_queued(exchange.queue_id, "hold")
    (entry,) = [entry for entry in postfix.queue() if entry["queue_id"] == exchange.queue_id]
    assert entry["sender"] == "held@a.example"
    assert [item["address"] for item in entry["recipients"]] == [rcpt]
    assert postfix.held() == [exchange.queue_id]
    assert postfix.mailbox.messages(rcpt) == []
    postfix.release(exchange.queue_id)
    postfix.wait_delivered(rcpt)
    postfix.wait_queued(exchange.queue_id, "")


def test_authentication(postfix: PrivatePostfix) -> None:
    exchange = postfix.submit(MESSAGE, mail_from="alice@home.example", rcpts=["far@away.example"])
    assert exchange.accepted
    (delivered,) = postfix.wait_delivered("far@away.example")
    assert "with ESMTPA" in delivered.all("Received")[0]
    assert (
        f"{exchange.queue_id}: client=unknown[192.0.2.77], sasl_method=PLAIN, sasl_username=alice" in postfix.log.text()
    )
    wrong = postfix.submit(MESSAGE, mail_from="alice@home.example", rcpts=["far@away.example"], password="guess")
    assert wrong.final.code == 535
    nobody = postfix.send(MESSAGE, mail_from="a@a.example", rcpts=[postfix.new_rcpt()], listener="submission")
    assert nobody.final.code == 554


def test_login_by_xclient(postfix: PrivatePostfix) -> None:
    exchange = postfix.send(
        MESSAGE, mail_from="bob@home.example", rcpts=["b@away.example"], login="bob", listener="submission"
    )
    assert exchange.accepted
    postfix.log.wait(f"{exchange.queue_id}: client=.*sasl_username=bob")


def test_sendmail(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    postfix.sendmail(AS_DELIVERED, mail_from="root@home.example", rcpts=[rcpt])
    (delivered,) = postfix.wait_delivered(rcpt)
    assert "from userid" in delivered.all("Received")[0]
    assert delivered.body == b"first\n.dot\n\nlast\n"


def test_several_messages_and_rset_on_one_connection(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    with postfix.session() as session:
        assert session.send("a@a.example", [rcpt], MESSAGE).accepted
        assert session.command("MAIL FROM:<given.up@a.example>").code == 250
        assert session.command("RSET").code == 250
        assert session.send("b@a.example", [rcpt], MESSAGE).accepted
    assert [item.return_path for item in postfix.wait_delivered(rcpt, 2)] == ["a@a.example", "b@a.example"]


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_bdat(postfix: PrivatePostfix, chunk: int) -> None:
    rcpt = postfix.new_rcpt()
    exchange = postfix.send(MESSAGE, mail_from="a@a.example", rcpts=[rcpt], bdat=chunk)
    assert exchange.accepted
    (delivered,) = postfix.wait_delivered(rcpt)
    assert without_received(delivered) == AS_DELIVERED


def test_smtputf8(postfix: PrivatePostfix) -> None:
    rcpt = "grüße@home.example"
    message = "From: jürgen@bücher.example\r\nSubject: ä\r\n\r\nö\r\n".encode()
    exchange = postfix.send(message, mail_from="jürgen@bücher.example", rcpts=[rcpt], mail_params=["SMTPUTF8"])
    assert exchange.accepted
    (delivered,) = postfix.wait_delivered(rcpt)
    assert delivered.return_path == "jürgen@bücher.example"
    assert without_received(delivered) == message.replace(b"\r\n", b"\n")


def test_size_limit_to_the_octet(postfix: PrivatePostfix) -> None:
    def message(size: int) -> bytes:
        head = b"From: a@a.example\r\n\r\n"
        lines, rest = divmod(size - len(head), 100)
        return head + (b"x" * 98 + b"\r\n") * (lines - 1) + b"x" * (98 + rest) + b"\r\n"

    assert len(message(20_000)) == 20_000
    taken = [
        postfix.send(message(size), mail_from="a@a.example", rcpts=[postfix.new_rcpt()]).final.code
        for size in (19_000, 21_000)
    ]
    assert taken == [250, 552]


def test_octets_go_raw(postfix: PrivatePostfix) -> None:
    rcpt = postfix.new_rcpt()
    body = bytes(octet for octet in range(256) if octet not in b"\r\n") + b"\r\n"
    exchange = postfix.send(
        b"From: a@a.example\nSubject: bare LF\r\n\r\n" + body, mail_from="a@a.example", rcpts=[rcpt], raw=True
    )
    assert exchange.accepted
    (delivered,) = postfix.wait_delivered(rcpt)
    assert without_received(delivered) == b"From: a@a.example\nSubject: bare LF\n\n" + body.replace(b"\r\n", b"\n")


def test_chroot(postfix_factory: PostfixFactory) -> None:
    chrooted = postfix_factory(chroot=True, milter=MILTER_SPEC)
    rcpt = chrooted.new_rcpt()
    with ScriptedMilter(chrooted.milter_socket, Script(edits=[Edit("insert", b"X-New", b"1")])):
        assert chrooted.send(MESSAGE, mail_from="a@a.example", rcpts=[rcpt]).accepted
    assert chrooted.wait_delivered(rcpt)[0].fields[0] == ("X-New", " 1")
    roots = [str(Path(f"/proc/{pid}/root").readlink()) for pid in chrooted.members()]
    assert str(chrooted.queue_directory) in roots


@pytest.mark.parametrize(("action", "code"), [("tempfail", 451), ("accept", 250)])
def test_default_action_without_a_milter(postfix_factory: PostfixFactory, action: str, code: int) -> None:
    alone = postfix_factory(milter=MILTER_SPEC, settings={"milter_default_action": action})
    assert alone.send(MESSAGE, mail_from="a@a.example", rcpts=[alone.new_rcpt()]).final.code == code


@pytest.fixture(scope="module")
def watched(postfix_factory: PostfixFactory) -> Iterator[tuple[PrivatePostfix, ScriptedMilter]]:
    postfix = postfix_factory(milter=MILTER_SPEC)
    with ScriptedMilter(postfix.milter_socket, Script()) as milter:
        yield postfix, milter


_ODD = (
    b"From: a@a.example\r\nSubject : blank before colon\r\nX-Tab:\tvalue\r\nX-None:value\r\nX-Fold: a\r\n\tb\r\n  c\r\n"
    b"X-Two:  blanks\r\nX-8bit: \xe4\xff\r\nX-Empty:\r\n\r\n\r\nbody\r\n..two dots\r\nlone\rCR\r\n"
    + b"x" * 70_000
    + b"\r\n"
)


@pytest.mark.parametrize(
    "steps", [Step(0), Step.LEADING_SPACE, Step.NR_HEADER | Step.NO_EOH | Step.NR_BODY | Step.NO_HELO]
)
@pytest.mark.parametrize("macros", [{}, {0: b"j {daemon_name}", 2: b"{mail_addr}", 5: b"i"}])
def test_client_speaks_as_postfix(
    watched: tuple[PrivatePostfix, ScriptedMilter], tmp_path: Path, steps: Step, macros: dict[int, bytes]
) -> None:
    """What `MilterClient` sends for a message is what Postfix sends, macros' values aside."""
    postfix, milter = watched
    milter.script = Script(steps=steps, macros=macros)
    with postfix.session(client_ip="192.0.2.9", client_name="mx.a.example", helo="helo.a.example") as session:
        session.send("a@a.example", ["me@home.example"], _ODD, raw=True, mail_params=["BODY=8BITMIME"])
        session.send("", ["me@home.example", "you@home.example"], MESSAGE)
    theirs = milter.connections[-1]
    wait_until(lambda: theirs[-1][0] == b"Q", "Postfix's farewell")
    with ScriptedMilter(tmp_path / "m.sock", milter.script) as mirror:
        with MilterClient(mirror.address) as client:
            client.connect("192.0.2.9", "mx.a.example")
            client.helo("helo.a.example")
            client.send(_ODD, mail_from="a@a.example", mail_params=["BODY=8BITMIME"])
            client.send(MESSAGE, mail_from="", rcpts=["me@home.example", "you@home.example"])
        ours = mirror.connections[-1]
        wait_until(lambda: ours[-1][0] == b"Q", "our farewell")
    assert _comparable(ours) == _comparable(theirs)


def test_client_speaks_as_postfix_for_local_mail(
    watched: tuple[PrivatePostfix, ScriptedMilter], tmp_path: Path
) -> None:
    postfix, milter = watched
    milter.script = Script()
    message = MESSAGE.replace(b"To:", b"Date: today\r\nMessage-Id: <1@a.example>\r\nTo:")
    postfix.sendmail(message.replace(b"\r\n", b"\n"), mail_from="root@home.example", rcpts=["local@home.example"])
    postfix.wait_delivered("local@home.example")
    theirs = milter.connections[-1]
    wait_until(lambda: theirs[-1][0] == b"Q", "Postfix's farewell")
    with ScriptedMilter(tmp_path / "m.sock", milter.script) as mirror:
        with MilterClient(mirror.address) as client:
            client.open_local()
            client.send(message, mail_from="root@home.example", rcpts=["local@home.example"])
        ours = mirror.connections[-1]
        wait_until(lambda: ours[-1][0] == b"Q", "our farewell")
    assert _comparable(ours) == _comparable(theirs)


def _comparable(events: list[Event]) -> list[Event]:
    """Events with only the names of the macros: their values differ by machine and message."""
    result = []
    for command, data in events:
        if command == b"D":
            names = sorted(data[1:].split(b"\0")[:-1:2])
            result.append((b"D", data[:1] + b" ".join(names)))
        else:
            result.append((command, data))
    return result


_FORGED = b"".join(b"Authentication-Results: x%d; spf=pass\r\nX-Other: %d\r\n" % (n, n) for n in range(5))
_EDITS = {
    "insert at the top, twice": [Edit("insert", b"X-A", b"1"), Edit("insert", b"X-B", b"2\n\tfolded")],
    "insert below our Received": [Edit("insert", b"X-A", b"1", 1), Edit("insert", b"X-B", b"2", 3)],
    "insert beyond the end": [Edit("insert", b"X-A", b"1", 400)],
    "remove from the last": [Edit("change", b"authentication-results", b"", n) for n in (5, 3, 1)],
    "remove from the first": [Edit("change", b"Authentication-Results", b"", n) for n in (1, 2, 3)],
    "remove what is not there": [Edit("change", b"Authentication-Results", b"", 6)],
    "change, index 0": [Edit("change", b"X-Other", b"new", 0), Edit("change", b"X-Other", b"newer", 2)],
    "change what is not there": [Edit("change", b"X-Missing", b"new", 1)],
    "append": [Edit("add", b"X-A", b"1"), Edit("change", b"X-A", b"2", 1)],
    "received": [Edit("change", b"Received", b"", 1)],
    "remove, then insert": [
        Edit("change", b"Authentication-Results", b"", 2),
        Edit("change", b"Authentication-Results", b"", 1),
        Edit("insert", b"Authentication-Results", b"ours; none"),
    ],
    "insert, then remove": [
        Edit("insert", b"Authentication-Results", b"ours; none"),
        Edit("change", b"Authentication-Results", b"", 1),
    ],
    "insert two, then remove": [
        Edit("insert", b"X-A", b"1"),
        Edit("insert", b"Authentication-Results", b"ours; none"),
        Edit("change", b"Received", b"", 1),
    ],
}


@pytest.mark.parametrize("leading_space", [True, False])
@pytest.mark.parametrize("edits", _EDITS.values(), ids=_EDITS.keys())
def test_edits_are_computed_as_postfix_does(
    watched: tuple[PrivatePostfix, ScriptedMilter], edits: list[Edit], leading_space: bool
) -> None:
    postfix, milter = watched
    milter.script = Script(steps=Step.LEADING_SPACE if leading_space else Step(0), edits=edits)
    rcpt = postfix.new_rcpt()
    message = b"Received: from elsewhere\r\n" + _FORGED + b"From: a@a.example\r\n\r\nhello\r\n"
    assert postfix.send(message, mail_from="a@a.example", rcpts=[rcpt]).accepted
    (delivered,) = postfix.wait_delivered(rcpt)
    own = b" from client.example"
    computed = apply(edits, split_message(message)[0], leading_space=leading_space)
    as_delivered = [(n.encode(), v.encode("latin-1")) for n, v in delivered.fields]
    assert [field for field in as_delivered if not field[1].startswith(own)] == computed


def test_events_reach_the_log(postfix: PrivatePostfix) -> None:
    mark = postfix.log.mark()
    exchange = postfix.send(MESSAGE, mail_from="a@a.example", rcpts=[postfix.new_rcpt()])
    assert postfix.log.wait(rf"{exchange.queue_id}: removed", after=mark)


def test_nothing_is_left_after_stop() -> None:
    with PrivatePostfix() as postfix:
        ports, members, base = dict(postfix.ports), postfix.members(), postfix.base
        master = min(members)
        assert len(members) > 3
    assert session_members(master) == []
    assert not base.exists()
    for port in ports.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)


_VICTIM = """
import time
from tests.support.postfix import PrivatePostfix
from tests.support.unbound import PrivateUnbound
postfix, dns = PrivatePostfix(), PrivateUnbound("")
postfix.start(), dns.start()
print(postfix.base, dns.base, *postfix.members(), *dns.members(), flush=True)
time.sleep(60)
"""


@pytest.mark.unbound
def test_servers_die_with_a_killed_test_run(
    postfix_factory: PostfixFactory, unbound_factory: Callable[..., PrivateUnbound]
) -> None:
    with subprocess.Popen([sys.executable, "-c", _VICTIM], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        words = victim.stdout.readline().split()
        victim.send_signal(signal.SIGKILL)
    directories, pids = words[:2], [int(word) for word in words[2:]]
    assert len(pids) > 4
    try:
        wait_until(lambda: not any(map(_runs, pids)), "end of the orphans")
    finally:
        subprocess.run(["rm", "-rf", *directories], check=True)


def _runs(pid: int) -> bool:
    """Whether a process exists and is no zombie that only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.unbound
@pytest.mark.usefixtures("postfix_factory", "unbound_factory")
def test_a_taken_port_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that was found free may be gone when the server binds it."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        for module in ("postfix", "unbound"):
            ports = iter([taken, *(free_port() for _ in range(8))])
            monkeypatch.setattr(f"tests.support.{module}.free_port", functools.partial(next, ports))
        with PrivatePostfix() as postfix, PrivateUnbound("") as dns:
            assert postfix.ports["smtp"] != taken
            assert dns.port != taken
            assert postfix.send(MESSAGE, mail_from="a@a.example", rcpts=[postfix.new_rcpt()]).accepted


def test_nobody_else_gets_a_port_that_is_held() -> None:
    program = "from tests.support import ports; ports.LOWEST = ports.HIGHEST = {}; print(ports.free_port())"
    port = free_port()
    command = [sys.executable, "-c", program.format(port)]
    assert b"no free port" in subprocess.run(command, capture_output=True, check=False).stderr
    release_port(port)
    assert subprocess.run(command, capture_output=True, check=False).stdout.split() == [str(port).encode()]


@pytest.mark.unbound
def test_unreadable_zone_is_told(unbound_factory: Callable[..., PrivateUnbound]) -> None:
    with pytest.raises(StartFailed, match=r"parse error .* ip4 addr expected"):
        unbound_factory("a.example. 60 IN A not-an-address")


def test_bad_configuration_is_told(postfix_factory: PostfixFactory) -> None:
    with pytest.raises(StartFailed, match="bad numerical configuration: message_size_limit = many"):
        postfix_factory(settings={"message_size_limit": "many"})


def test_requirements_skip_or_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    require("")
    monkeypatch.delenv("GATEPOST_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no server"):
        require("no server")
    monkeypatch.setenv("GATEPOST_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no server"):
        require("no server")


@pytest.mark.unbound
def test_resolver_serves_and_reloads(unbound_factory: Callable[..., PrivateUnbound]) -> None:
    dns = unbound_factory('a.example. 60 IN TXT "one"')
    assert b"\x03one" in _ask(dns.port, "a.example")
    dns.reload('a.example. 60 IN TXT "two"\nb.example. 60 IN CNAME a.example.')
    assert b"\x03two" in _ask(dns.port, "b.example")
    assert _ask(dns.port, "c.example")[3] & 0x0F == 3


def _ask(port: int, name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        query.settimeout(5)
        query.connect(("127.0.0.1", port))
        query.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\x10\0\1")
        return query.recv(4096)


def test_fields_are_split_where_they_end() -> None:
    assert split_fields(b"A: 1\n 2\nb :3\nnone\n") == [("A", " 1\n 2"), ("b", "3"), ("", "none")]
