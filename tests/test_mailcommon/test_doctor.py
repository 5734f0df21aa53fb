"""The rules that both daemons' `doctor` share, as tables over facts; output that nothing from outside can spoil."""

from __future__ import annotations

import json
import os
import shlex
import socket
import stat
import threading
from pathlib import Path

import pytest

from mailcommon.doctor import findings, render
from mailcommon.doctor.clock import ClockFacts, judge_clock, read_clock
from mailcommon.doctor.daemon import Contact, DaemonFacts, Word, judge_daemon, judge_reach
from mailcommon.doctor.daemon_facts import speak
from mailcommon.doctor.findings import Finding, Fix, Level, Section, main_cf, mend, mend_by, note, right, unseen
from mailcommon.doctor.listeners import listener_uid
from mailcommon.doctor.paths import READ, WRITE, Identity, Node, Route, look
from mailcommon.doctor.postfix import (
    Place,
    Postfix,
    Service,
    address_for,
    place_of_client,
    place_of_server,
    read_milters,
    split_list,
)
from mailcommon.doctor.resolver import ResolverFacts, judge_resolver
from mailcommon.doctor.resolver import Word as Dns

QUEUE = Path("/var/spool/postfix")


def ids(found: tuple[Finding, ...], level: Level = Level.MEND) -> list[str]:
    return [each.id for each in found if each.level is level]


@pytest.mark.parametrize(
    ("made", "status"),
    [
        ((), 0),
        ((right("a", ""), note("b", "")), 0),
        ((right("a", ""), unseen("b", "")), 2),
        ((unseen("b", ""), mend("c", "", "", "")), 1),
    ],
)
def test_exit_status(made: tuple[Finding, ...], status: int) -> None:
    assert findings.status([Section("x", made)]) == status


def test_nothing_from_outside_makes_a_line_or_a_command_of_its_own() -> None:
    evil = "x\x1b[31m\nMEND y'; touch /tmp/z; '"
    sections = [
        Section("a", (mend_by("one", evil, evil, main_cf("name", "it's; $(x) `y`")), mend("two", evil, evil, evil)))
    ]
    text = render.as_text(sections)
    assert len(text.splitlines()) == 5
    assert "\x1b[31m\n" not in text
    assert r"\x1b[31m\nMEND" in text
    script = render.as_script(sections).splitlines()
    assert len(script) == 3
    assert script[0].startswith("# by hand: ")
    assert shlex.split(script[1]) == ["postconf", "-e", "name = it's; $(x) `y`"]
    assert script[2] == "postfix reload"
    assert json.loads(render.as_json(sections))["findings"][1]["cure"] == evil


def test_the_same_change_is_printed_once_and_for_the_instance_that_was_looked_at() -> None:
    fix = main_cf("a", "b c")
    script = render.as_script([Section("a", (mend_by("one", "", "", fix), mend_by("two", "", "", fix)))], "/etc/it's")
    assert [shlex.split(line) for line in script.splitlines()] == [
        ["postconf", "-c", "/etc/it's", "-e", "a = b c"],
        ["postfix", "-c", "/etc/it's", "reload"],
    ]


def test_notes_are_not_printed_as_fixes() -> None:
    assert render.as_script([Section("a", (note("b", "c", "d", "e"), unseen("f", "g")))]) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", ()),
        ("a, b  c", ("a", "b", "c")),
        ("{ a, b=c }, d", ("{ a, b=c }", "d")),
        ("{ a, { b = c d } } e", ("{ a, { b = c d } }", "e")),
        ("a}, b", ("a}", "b")),
        ("{a, b", ("{a, b",)),
    ],
)
def test_lists_of_postfix(value: str, words: tuple[str, ...]) -> None:
    assert split_list(value) == words


@pytest.mark.parametrize(
    ("value", "address", "options"),
    [
        ("unix:m.sock", "unix:m.sock", {}),
        ("{ unix:m.sock, default_action=accept }", "unix:m.sock", {"default_action": "accept"}),
        ("{unix:m.sock,connect_timeout=1s,{default_action = accept}}", "unix:m.sock", None),
        ("{}", "", {}),
    ],
)
def test_elements_of_lists_of_milters(value: str, address: str, options: dict[str, str] | None) -> None:
    (word,) = read_milters(value)
    expected = {"connect_timeout": "1s", "default_action": "accept"} if options is None else options
    assert (word.word, word.address, word.options) == (value, address, expected)


@pytest.mark.parametrize(
    ("address", "chroot", "place"),
    [
        ("unix:a/m.sock", True, "/var/spool/postfix/a/m.sock"),
        ("unix:a/m.sock", False, "/var/spool/postfix/a/m.sock"),
        ("unix:/run/m.sock", True, "/var/spool/postfix/run/m.sock"),
        ("unix:/run/m.sock", False, "/run/m.sock"),
        ("local:/run/m.sock", False, "/run/m.sock"),
        ("inet:localhost:8891", True, "localhost:8891"),
        ("inet:[::1]:8891", True, "[::1]:8891"),
        ("inet6:8891@x", True, "None"),
        ("nonsense", True, "None"),
    ],
)
def test_where_postfix_looks_for_a_socket(address: str, chroot: bool, place: str) -> None:
    assert str(place_of_client(address, QUEUE, chroot=chroot)) == place


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("unix:/var/spool/postfix/a/m.sock", "unix:a/m.sock"),
        ("unix:/run/m.sock", ""),
        ("inet:8891@127.0.0.1", "inet:127.0.0.1:8891"),
    ],
)
def test_how_a_socket_is_named_in_main_cf(setting: str, named: str) -> None:
    place = place_of_server(setting)
    assert address_for(place, QUEUE) == named
    if named:
        found = place_of_client(named, QUEUE, chroot=True)
        assert found is not None
        assert found.is_same(place)


def test_places_that_are_one() -> None:
    assert Place(host="localhost", port="1").is_same(Place(host="127.0.0.1", port="1"))
    assert not Place(host="127.0.0.1", port="1").is_same(Place(host="127.0.0.1", port="2"))
    assert not Place(path=Path("/a")).is_same(Place(host="127.0.0.1", port="1"))


@pytest.mark.parametrize(("text", "seconds"), [("300s", 300), ("5m", 300), ("7", 7), ("1d", 86400), ("x", None)])
def test_times_of_postfix(text: str, seconds: float | None) -> None:
    assert Postfix((3, 7), {"t": text}).seconds("t") == seconds


POSTFIX = Identity("postfix", 102, frozenset({105}))
DIRECTORY, SOCKET = stat.S_IFDIR, stat.S_IFSOCK


def route(*rights: tuple[int, int, int], acl: bool = False) -> Route:
    """/, /q, /q/m and /q/m/s with these modes and owners, the last ones counted from the end."""
    paths = [Path("/"), Path("/q"), Path("/q/m"), Path("/q/m/s")]
    full = [(0o755, 0, 0)] * (4 - len(rights)) + list(rights)
    kinds = [DIRECTORY] * 3 + [SOCKET]
    nodes = [Node(p, k | m, u, g, acl) for p, k, (m, u, g) in zip(paths, kinds, full, strict=True)]
    return Route(paths[-1], tuple(nodes))


@pytest.mark.parametrize(
    ("rights", "blocked"),
    [
        ([(0o666, 0, 0)], None),
        ([(0o660, 0, 105)], None),
        ([(0o660, 0, 0)], "/q/m/s"),
        ([(0o606, 0, 105)], "/q/m/s"),  # the group's rights count for who is in it
        ([(0o066, 102, 0)], "/q/m/s"),  # and the owner's for the owner
        ([(0o2750, 7, 105), (0o660, 7, 105)], None),
        ([(0o700, 7, 105), (0o666, 7, 105)], "/q/m"),
        ([(0o700, 0, 0), (0o755, 0, 0), (0o666, 0, 0)], "/q"),
    ],
)
def test_who_can_walk_to_a_socket(rights: list[tuple[int, int, int]], blocked: str | None) -> None:
    node = route(*rights).obstacle(POSTFIX, WRITE)
    assert (node and str(node.path)) == blocked


def test_chrooted_walks_begin_at_the_queue_directory() -> None:
    closed_above = Route(
        Path("/q/m/s"),
        (Node(Path("/"), DIRECTORY | 0o700, 0, 0), *route((0o666, 0, 0)).nodes[1:]),
    )
    assert closed_above.obstacle(POSTFIX, WRITE) is not None
    assert closed_above.obstacle(POSTFIX, WRITE, Path("/q")) is None


def test_root_and_access_lists_are_let_through() -> None:
    assert route((0o600, 7, 7)).obstacle(Identity("root", 0, frozenset()), WRITE) is None
    assert route((0o600, 7, 7), acl=True).obstacle(POSTFIX, WRITE) is None


def test_looking_at_a_real_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o640)
    found = look(tmp_path / "file")
    assert found.end is not None
    assert found.end.rights.startswith("0640 ")
    gone = look(tmp_path / "no" / "such")
    assert (gone.missing, gone.end) == (tmp_path / "no", None)


def daemon(contact: Contact, **changes: object) -> DaemonFacts:
    usual: dict[str, object] = {
        "program": "authmilter",
        "place": Place(path=Path("/q/m/s")),
        "contact": contact,
        "route": route((0o660, 0, 105)),
        "user": "authmilter",
        "runs_as": Identity("authmilter", 200, frozenset({200})),
        "group_is_there": True,
        "group": "postfix",
        "settings": None,
    }
    return DaemonFacts(**{**usual, **changes})  # type: ignore[arg-type]


ANSWERS = Contact(Word.ANSWERS, uid=0)


@pytest.mark.parametrize(
    ("facts", "bad"),
    [
        (daemon(ANSWERS), []),
        (daemon(Contact(Word.REFUSED)), ["daemon-down"]),
        (daemon(Contact(Word.MISSING)), ["daemon-down"]),
        (daemon(Contact(Word.SILENT)), ["daemon-down"]),
        (daemon(Contact(Word.STRANGE, "x")), ["daemon-other"]),
        (daemon(Contact(Word.DENIED)), []),
        (daemon(ANSWERS, user="", runs_as=Identity("root", 0, frozenset())), ["runs-as-root"]),
        (daemon(Contact(Word.ANSWERS, uid=200), user=""), []),  # systemd has started it as somebody
        (daemon(ANSWERS, runs_as=None), ["user-missing"]),
        (daemon(ANSWERS, group_is_there=False), ["group-missing"]),
        (daemon(ANSWERS, settings=route((0o640, 0, 0))), ["settings-unreadable"]),
        (daemon(ANSWERS, settings=route((0o640, 0, 200))), []),
    ],
)
def test_rules_about_the_daemon(facts: DaemonFacts, bad: list[str]) -> None:
    assert ids(judge_daemon(facts)) == bad


def test_a_socket_that_systemd_holds_is_mended_in_its_unit() -> None:
    (down,) = judge_daemon(daemon(Contact(Word.MISSING), socket_unit="authmilter.socket"))
    # in this order: without its unit's socket the daemon would make its own
    assert down.cure.startswith("systemctl restart authmilter.socket authmilter.service;")
    client = Service("smtp", "inet", True, "smtpd")
    facts = daemon(ANSWERS, route=route((0o660, 0, 0)), socket_unit="authmilter.socket")
    (rights,) = judge_reach(facts, [client], POSTFIX, Path("/q"))
    assert "systemctl edit authmilter.socket" in rights.cure
    assert "settings" not in rights.cure


def test_a_socket_that_may_not_be_tried_is_unseen() -> None:
    assert ids(judge_daemon(daemon(Contact(Word.DENIED))), Level.UNSEEN) == ["daemon"]


@pytest.mark.parametrize(
    ("found", "bad"),
    [
        (route((0o660, 0, 105)), []),
        (route((0o660, 0, 0)), ["socket-rights"]),
        (route((0o750, 0, 0), (0o660, 0, 105)), ["socket-directory"]),
        (Route(Path("/q/m/s"), route().nodes[:3], missing=Path("/q/m/s")), []),  # the daemon is down: said elsewhere
    ],
)
def test_rules_about_the_way_to_the_socket(found: Route, bad: list[str]) -> None:
    clients = [Service("smtp", "inet", True, "smtpd"), Service("cleanup", "unix", False, "cleanup")]
    assert ids(judge_reach(daemon(ANSWERS, route=found), clients, POSTFIX, Path("/q"))) == bad


GOOD = ResolverFacts(("127.0.0.1:53",), (), Dns.YES, "", 0.001, ("127.0.0.1:53",), "/etc/resolv.conf")


def resolver(**changes: object) -> ResolverFacts:
    fields = {name: getattr(GOOD, name) for name in ResolverFacts.__slots__}
    return ResolverFacts(**{**fields, **changes})


@pytest.mark.parametrize(
    ("facts", "dnssec", "bad"),
    [
        (GOOD, True, []),
        (resolver(word=Dns.UNKNOWN), False, ["resolver-silent"]),
        (resolver(word=Dns.NO), False, []),
        (resolver(word=Dns.NO), True, ["resolver-not-validating"]),
        (resolver(again=0.2), False, ["resolver-slow"]),
        (resolver(remote=("127.0.0.1:53",)), False, ["resolver-remote"]),
        (resolver(postfix=("192.0.2.1:53",)), True, ["resolver-differs"]),
        (resolver(postfix=("192.0.2.1:53",)), False, []),
        (resolver(postfix=()), True, []),
    ],
)
def test_rules_about_the_resolver(facts: ResolverFacts, dnssec: bool, bad: list[str]) -> None:
    assert ids(judge_resolver(facts, dnssec=dnssec)) == bad


@pytest.mark.parametrize(
    ("facts", "level", "ident"),
    [
        (ClockFacts(2e9, 1.9e9, True), Level.OK, "clock"),
        (ClockFacts(2e9, 1.9e9, False), Level.MEND, "clock-unsynchronised"),
        (ClockFacts(2e9, 1.9e9, None), Level.UNSEEN, "clock-unsynchronised"),
        (ClockFacts(1e9, 1.9e9, True), Level.MEND, "clock-behind"),
    ],
)
def test_rules_about_the_clock(facts: ClockFacts, level: Level, ident: str) -> None:
    (found,) = judge_clock(facts)
    assert (found.level, found.id) == (level, ident)


def test_the_kernel_says_something_about_the_clock() -> None:
    assert read_clock().synchronised in (True, False)


@pytest.mark.parametrize(
    ("said", "word"), [(b"", Word.STRANGE), (b"x", Word.ANSWERS)], ids=["closes at once", "answers"]
)
def test_speaking_to_a_socket(tmp_path: Path, said: bytes, word: Word) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        contact = speak(Place(path=path), lambda connection: "" if connection.recv(1) else "nothing came")
        thread.join()
    assert contact.word is word


def test_a_socket_that_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert speak(Place(path=path), lambda _: "").word is Word.MISSING
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    assert speak(Place(path=path), lambda _: "").word is Word.REFUSED


def test_who_listens_is_who_holds_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert listener_uid(path) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert listener_uid(path) is None
        server.listen()
        assert listener_uid(path) == os.geteuid()


def test_rights_are_read_as_bits() -> None:
    node = Node(Path("/x"), DIRECTORY | 0o640, 1, 2)
    assert node.allows(Identity("a", 1, frozenset()), READ | WRITE)
    assert node.allows(Identity("b", 9, frozenset({2})), READ)
    assert not node.allows(Identity("b", 9, frozenset({2})), WRITE)
    assert not node.allows(Identity("c", 9, frozenset()), READ)


def test_fixes_are_values() -> None:
    assert main_cf("a", "") == Fix("-e", "a =")
