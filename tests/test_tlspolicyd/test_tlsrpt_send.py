"""`tlspolicyd report`: made once, sent to who asks, tried again, and once only; through real DNS, SMTP and HTTPS."""

from __future__ import annotations

import datetime
import email
import email.policy
import gzip
import json
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from click.testing import CliRunner

from mailcommon import outbox
from mailcommon.dns.answer import Answer, Status
from mailcommon.outbox import Outbox
from mailcommon.store import held, open_store
from tests.support.certificates import PrivateCa
from tests.support.daemon_process import toml
from tests.support.dns_server import FakeDns
from tests.support.https_receiver import HttpsReceiver
from tests.support.ports import free_port, release_port
from tests.support.postgres import PrivatePostgres
from tests.test_tlspolicyd.tlsrpt_schema import check
from tlspolicyd import report_commands
from tlspolicyd.cli import main
from tlspolicyd.report_commands import ReportError
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import due, tables
from tlspolicyd.tlsrpt.counts import Count, Row
from tlspolicyd.tlsrpt.due import moment
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result
from tlspolicyd.tlsrpt.tables import Batch, Pending

DAY = datetime.date(2026, 11, 27)
MIDNIGHT = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC).timestamp()  # the end of the day
HOUR = 3600.0
ZONE = """
_smtp._tls.mail.example. 300 IN TXT "v=TLSRPTv1; rua=mailto:tls@mail.example"
_smtp._tls.both.example. 300 IN TXT "v=TLSRPTv1; rua=mailto:tls@both.example,https://reports.example/v1?x=1"
_smtp._tls.https.example. 300 IN TXT "v=TLSRPTv1; rua=https://reports.example/tls"
_smtp._tls.https2.example. 300 IN TXT "v=TLSRPTv1; rua=https://reports.example/tls2"
_smtp._tls.inside.example. 300 IN TXT "v=TLSRPTv1; rua=https://inside.example/tls"
_smtp._tls.port.example. 300 IN TXT "v=TLSRPTv1; rua=https://reports.example:8444/tls"
_smtp._tls.badcert.example. 300 IN TXT "v=TLSRPTv1; rua=https://other.example/tls"
_smtp._tls.hostile.example. 300 IN TXT "v=TLSRPTv1; rua=mailto:a%0d%0aBcc:x@b.example,ftp://x.example/"
_smtp._tls.gone.example. 300 IN TXT "v=TLSRPTv1; rua=https://gone.example/"
none.example. 300 IN A 192.0.2.1
reports.example. 300 IN A 127.0.0.1
other.example. 300 IN A 127.0.0.1
;FAULT _smtp._tls.failing.example. * servfail
"""


class Mailbox:
    """A real SMTP server that keeps what comes."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.got.append(envelope)
        return self.answer


@dataclass
class World:
    folder: Path
    dns: FakeDns
    box: Mailbox
    receiver: HttpsReceiver
    smtp: int
    ca_file: Path
    now: float = MIDNIGHT + 5 * HOUR
    told: list[str] = field(default_factory=list)
    store: str = ""

    def settings(self, **tlsrpt: Any) -> Settings:
        return Settings.model_validate(self.given(**tlsrpt))

    def given(self, **tlsrpt: Any) -> dict[str, Any]:
        return {
            "dns": {"nameservers": [self.dns.address]},
            "sts": {"ca_file": str(self.ca_file), "https_port": self.receiver.port, "timeout": 1.0},
            "tlsrpt": {
                "store": self.store or f"sqlite:{self.folder}/reports.db",
                "contact": "tls-reports@sender.example",
                "smtp": f"127.0.0.1:{self.smtp}",
                "allow_private_addresses": True,
                **tlsrpt,
            },
        }

    def count(self, *domains: str, day: datetime.date = DAY, record: str = "", number: int = 1) -> None:
        policy = AppliedPolicy(PolicyType.STS, "x.example", ("version: STSv1",), ("mx.x.example",))
        rows = tuple(
            Row(day, domain, policy, Count(number, 1, {Failure(Result.EXPIRED, mx="mx.x.example"): 1}), record)
            for domain in domains
        )
        store = open_store(self.settings().tlsrpt.store, [tables.SCHEMA])
        tables.write(store, Batch(f"w{time.monotonic_ns()}", 1, rows), 1.0)
        store.close()

    def send(self, *, at_once: bool = False, **tlsrpt: Any) -> str:
        self.told = []
        return report_commands.send(self.settings(**tlsrpt), self.told.append, at_once=at_once, clock=lambda: self.now)

    def listed(self) -> dict[str, Any]:
        found = json.loads(report_commands.list_reports(self.settings(), as_json=True, clock=lambda: self.now))
        assert isinstance(found, dict)
        return found

    def states(self) -> dict[str, list[str]]:
        """Domain -> state of each delivery."""
        return {
            each["domain"]: [delivery["state"] for delivery in each["deliveries"]] for each in self.listed()["reports"]
        }

    def pending(self) -> list[str]:
        return [each["domain"] for each in self.listed()["pending"]]


@pytest.fixture(scope="module")
def dns() -> Iterator[FakeDns]:
    with FakeDns(ZONE) as server:
        yield server


@pytest.fixture(scope="module")
def ca() -> PrivateCa:
    return PrivateCa()


@pytest.fixture
def world(tmp_path: Path, dns: FakeDns, ca: PrivateCa) -> Iterator[World]:
    port, box = free_port(), Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    with HttpsReceiver(ca.issue("reports.example")) as receiver:
        yield World(tmp_path, dns, box, receiver, port, ca.write_roots(tmp_path / "ca.pem"))
    controller.stop()
    release_port(port)


def test_by_mail_and_by_https(world: World) -> None:
    world.count("mail.example", "both.example", "https.example", "none.example")
    assert world.send() == "3 reports made, 4 sent, 1 domains want none"
    assert world.states() == {
        "mail.example": ["sent"],
        "both.example": ["sent", "delivered"],
        "https.example": ["delivered"],
    }
    assert sorted(envelope.rcpt_tos[0] for envelope in world.box.got) == ["tls@both.example", "tls@mail.example"]
    assert {envelope.mail_from for envelope in world.box.got} == {"tls-reports@sender.example"}
    assert sorted(post.path for post in world.receiver.posts) == ["/tls", "/v1?x=1"]
    for post in world.receiver.posts:
        assert post.kind == "application/tlsrpt+gzip"
        check(json.loads(gzip.decompress(post.octets)))
    assert world.pending() == []
    assert len(world.told) == 4


def test_many_domains_are_looked_up_in_portions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_commands, "_PORTION", 2)
    world.count("mail.example", "both.example", "https.example", "none.example", "failing.example")
    assert world.send() == "3 reports made, 4 sent, 1 domains want none, 1 look-ups failed"


def test_tlsrpt_12_the_same_report_in_both_ways(world: World) -> None:
    world.count("both.example")
    world.send()
    (post,), (envelope,) = world.receiver.posts, world.box.got
    assert isinstance(envelope.content, bytes)
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    (part,) = [part for part in message.walk() if part.get_content_type() == "application/tlsrpt+gzip"]
    assert part.get_payload(decode=True) == post.octets
    told = json.loads(gzip.decompress(post.octets))
    assert f"Report-ID: <{told['report-id']}>" in message["Subject"]
    assert told["date-range"]["start-datetime"] == "2026-11-27T00:00:00Z"


def test_nothing_is_sent_twice(world: World) -> None:
    world.count("mail.example")
    world.send()
    assert world.send() == "0 reports made, 0 sent"
    assert len(world.box.got) == 1


def test_tlsrpt_14_a_day_that_is_not_over_is_not_reported(world: World) -> None:
    world.count("mail.example")
    world.now = MIDNIGHT - 1
    assert world.send(at_once=True) == "0 reports made, 0 sent"
    assert world.pending() == ["mail.example"]
    world.now = MIDNIGHT
    assert world.send(at_once=True) == "1 reports made, 1 sent"


def test_tlsrpt_14_random_delay(world: World) -> None:
    world.count("mail.example")
    when = moment(Pending(DAY, "mail.example", 1, 0, ""), 14_400.0)
    assert MIDNIGHT <= when < MIDNIGHT + 14_400
    world.now = when - 1
    assert world.send() == "0 reports made, 0 sent"
    world.now = when + 1
    assert world.send() == "1 reports made, 1 sent"


def test_tlsrpt_14_delays_are_spread() -> None:
    found = [moment(Pending(DAY, f"d{n}.example", 1, 0, ""), 14_400.0) - MIDNIGHT for n in range(1000)]
    assert min(found) >= 0
    assert max(found) < 14_400
    assert len({int(each // 1440) for each in found}) == 10
    assert max(sum(each // 1440 == tenth for each in found) for tenth in range(10)) < 160


def test_late_counts_make_another_report_of_the_day(world: World) -> None:
    world.count("mail.example")
    world.send()
    world.count("mail.example", number=9)
    assert world.send() == "1 reports made, 1 sent"
    subjects = {email.message_from_bytes(envelope.content)["Subject"] for envelope in world.box.got}  # type: ignore[arg-type]
    assert len(subjects) == 2


def test_each_day_has_its_report(world: World) -> None:
    world.count("mail.example", day=DAY - datetime.timedelta(days=1))
    world.count("mail.example", day=DAY)
    world.count("mail.example", day=DAY + datetime.timedelta(days=1))
    assert world.send() == "2 reports made, 2 sent"
    assert len(world.pending()) == 1


def test_failing_look_up_waits_a_day_and_then_the_record_counts_that_the_sender_saw(world: World) -> None:
    world.count("failing.example", record="v=TLSRPTv1; rua=mailto:seen@failing.example")
    assert world.send() == "0 reports made, 0 sent, 1 look-ups failed"
    world.now = MIDNIGHT + 23 * HOUR
    assert world.send() == "0 reports made, 0 sent, 1 look-ups failed"
    world.now = MIDNIGHT + 25 * HOUR
    assert world.send() == "1 reports made, 1 sent"
    assert world.box.got[0].rcpt_tos == ["seen@failing.example"]


def test_failing_look_up_without_a_record_waits_until_the_counts_are_too_old(world: World) -> None:
    world.count("failing.example")
    world.now = MIDNIGHT + 72 * HOUR
    world.send()
    assert world.pending() == ["failing.example"]
    world.now = MIDNIGHT + 31 * 24 * HOUR
    world.send()
    assert world.pending() == []


def test_excluded_domains(world: World) -> None:
    world.count("mail.example", "both.example")
    assert world.send(exclude=["Mail.Example."]) == "1 reports made, 2 sent, 1 domains want none"
    assert world.pending() == []


def test_hostile_rua(world: World) -> None:
    world.count("hostile.example")
    assert world.send() == "0 reports made, 0 sent, 1 domains want none"
    assert world.box.got == []


@pytest.mark.parametrize(("status", "state"), [(200, "delivered"), (201, "delivered"), (202, "delivered")])
def test_tlsrpt_12_statuses_that_are_done(world: World, status: int, state: str) -> None:
    world.receiver.status = status
    world.count("https.example")
    world.send()
    assert world.states() == {"https.example": [state]}


@pytest.mark.parametrize("status", [400, 403, 404, 410, 413, 429, 500, 503, 302])
def test_tlsrpt_12_other_statuses_are_tried_again(world: World, status: int) -> None:
    world.receiver.status = status
    world.receiver.location = "https://other.example/" if status == 302 else ""
    world.count("https.example")
    assert world.send() == "1 reports made, 0 sent, 1 to be tried again"
    (report,) = world.listed()["reports"]
    (delivery,) = report["deliveries"]
    assert delivery["state"] == "waiting"
    assert f"HTTP status {status}" in delivery["note"]


def test_tlsrpt_12_tried_again_for_a_day(world: World) -> None:
    world.receiver.status = 503
    world.count("https.example")
    world.send()
    while world.states() == {"https.example": ["waiting"]}:
        world.now += 600
        world.send()
        assert world.now < MIDNIGHT + 50 * HOUR
    assert world.states() == {"https.example": ["failed"]}
    assert 20 * HOUR <= world.now - MIDNIGHT - 5 * HOUR <= 24 * HOUR
    assert 5 < len(world.receiver.posts) < 30  # RFC 8460 §5.5: exponential backoff
    assert len({post.octets for post in world.receiver.posts}) == 1


def test_tlsrpt_12_taken_at_the_second_try(world: World) -> None:
    world.receiver.status = 503
    world.count("https.example")
    world.send()
    world.receiver.status = 200
    world.now += 600
    assert world.send() == "0 reports made, 1 sent"
    assert len(world.receiver.posts) == 2
    assert world.receiver.posts[0] == world.receiver.posts[1]


def test_hanging_receiver_holds_the_others_up_once(world: World) -> None:
    world.receiver.hangs = True
    world.count("https.example", "https2.example", "mail.example")
    began = time.monotonic()
    assert world.send() == "3 reports made, 1 sent, 2 to be tried again"
    assert time.monotonic() - began < 5.0
    assert len(world.receiver.posts) == 1
    world.receiver.hangs = False
    world.now += 600
    assert world.send() == "0 reports made, 2 sent"


def test_a_post_takes_far_less_time_than_the_lease_lasts() -> None:
    assert report_commands._posts(Settings.model_validate({"sts": {"timeout": 600.0}})).timeout <= 60.0


def test_places_that_are_not_connected_to(world: World) -> None:
    world.count("inside.example", "port.example", "badcert.example", "gone.example")
    world.dns.load(ZONE + "inside.example. 300 IN A 127.0.0.1\n")
    world.send(allow_private_addresses=False)
    notes = {each["domain"]: each["deliveries"][0]["note"] for each in world.listed()["reports"]}
    assert "is loopback" in notes["inside.example"]
    assert "names the port 8444" in notes["port.example"]
    assert "gone.example has no address" in notes["gone.example"]
    assert world.states()["inside.example"] == ["failed"]
    assert world.receiver.posts == []
    world.dns.load(ZONE)


def test_certificate_of_another_host_is_not_accepted(world: World) -> None:
    world.count("badcert.example")
    world.send()
    (report,) = world.listed()["reports"]
    assert "the certificate of other.example is not accepted" in report["deliveries"][0]["note"]
    assert world.receiver.posts == []


def test_mail_that_is_deferred_is_tried_again(world: World) -> None:
    world.box.answer = "451 4.3.0 later"
    world.count("mail.example")
    assert world.send() == "1 reports made, 0 sent, 1 to be tried again"
    world.box.answer = "250 OK"
    world.now += 600
    assert world.send() == "0 reports made, 1 sent"


def test_mail_host_that_is_away(world: World) -> None:
    world.count("mail.example")
    assert world.send(smtp="127.0.0.1:1") == "1 reports made, 0 sent, 1 to be tried again"
    world.now += 600
    assert world.send() == "0 reports made, 1 sent"


def test_retention(world: World) -> None:
    world.count("mail.example")
    world.send()
    world.now += 29 * 24 * HOUR
    world.send()
    assert len(world.states()) == 1
    world.now += 2 * 24 * HOUR
    world.send()
    assert world.states() == {}


def test_another_sender_has_the_lease(world: World) -> None:
    world.count("mail.example")
    store = open_store(world.settings().tlsrpt.store, [tables.SCHEMA, outbox.SCHEMA])
    with held(store, "send-tlsrpt"):
        assert re.fullmatch(rf"process {os.getpid()} on \S+ is sending reports already", world.send())
    store.close()
    assert world.box.got == []


def send_once(settings: dict[str, Any]) -> None:
    report_commands.send(Settings.model_validate(settings), clock=lambda: MIDNIGHT + 5 * HOUR)


def test_two_hosts_with_one_store_send_one_report(world: World, postgres: PrivatePostgres) -> None:
    world.store = postgres.url("tlsrpt")
    world.count("mail.example", "both.example")
    world.count("mail.example", "both.example")  # of the other host
    context = multiprocessing.get_context("spawn")
    senders = [context.Process(target=send_once, args=(world.given(),)) for _ in range(2)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
        assert sender.exitcode == 0
    world.send()
    assert sorted(envelope.rcpt_tos[0] for envelope in world.box.got) == ["tls@both.example", "tls@mail.example"]
    (post,) = world.receiver.posts
    (policy,) = json.loads(gzip.decompress(post.octets))["policies"]
    assert policy["summary"] == {"total-successful-session-count": 2, "total-failure-session-count": 2}


STEPS = ["choose", "make_report", "add", "forget", "begin_all", "hand_over", "finish", "prune"]


def die_at(settings: dict[str, Any], step: str, after: bool) -> None:
    """Send, and be killed before or after a step."""
    from tlspolicyd.tlsrpt import carriers

    owners: dict[str, Any] = {
        "choose": due,
        "make_report": due,
        "add": Outbox,
        "forget": tables,
        "begin_all": Outbox,
        "hand_over": carriers.HttpsCarrier,
        "finish": Outbox,
        "prune": Outbox,
    }
    owner = owners[step]
    original = getattr(owner, step)

    def deadly(*arguments: Any, **more: Any) -> Any:
        result = original(*arguments, **more) if after else None
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, step, deadly)
    send_once(settings)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_the_report_is_sent_once(world: World, step: str, after: bool) -> None:
    world.count("https.example")
    process = multiprocessing.get_context("spawn").Process(target=die_at, args=(world.given(), step, after))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    world.send()
    assert world.states() == {"https.example": ["delivered"]}
    # Whether a post arrived whose sender died before it was noted, nobody can tell: it comes again, as the same report.
    posts = world.receiver.posts
    assert len(posts) == (2 if (step, after) in [("hand_over", True), ("finish", False)] else 1)
    assert len({post.octets for post in posts}) == 1
    told = json.loads(gzip.decompress(posts[0].octets))["policies"][0]["summary"]
    assert told == {"total-successful-session-count": 1, "total-failure-session-count": 1}


def test_choose_asks_once_for_a_domain() -> None:
    import asyncio

    class Resolver:
        asked: list[str] = []  # noqa: RUF012 - one instance

        async def txt(self, name: str) -> Answer[bytes]:
            self.asked.append(name)
            return Answer(Status.NXDOMAIN)

    resolver = Resolver()
    found = [Pending(DAY - datetime.timedelta(days=n), "a.example", 1, 0, "") for n in range(3)]
    choices = asyncio.run(due.choose(resolver, found, frozenset(), MIDNIGHT))
    assert resolver.asked == ["_smtp._tls.a.example"]
    assert [choice.places for choice in choices] == [(), (), ()]


# The command line


def invoke(world: World, *arguments: str, **tlsrpt: Any) -> tuple[int, str]:
    config = world.folder / "tlspolicyd.toml"
    config.write_text(toml(world.given(**tlsrpt)))
    done = CliRunner().invoke(main, ["report", arguments[0], "--config", str(config), *arguments[1:]])
    return done.exit_code, done.output


def test_command_send(world: World) -> None:
    world.count("mail.example", day=datetime.date(2026, 1, 1))
    code, text = invoke(world, "send", keep=3650.0)
    assert (code, text.splitlines()) == (
        0,
        ["mail.example 2026-01-01 to mailto:tls@mail.example: sent", "1 reports made, 1 sent"],
    )


def test_command_dry_run_changes_nothing(world: World, tmp_path: Path) -> None:
    world.count("both.example", day=datetime.date(2026, 1, 1))
    folder = tmp_path / "into"
    folder.mkdir()
    for _ in range(2):
        code, text = invoke(world, "send", "--dry-run", "--directory", str(folder))
        assert code == 0
        assert "to mailto:tls@both.example, https://reports.example/v1?x=1" in text
    assert world.box.got == []
    assert world.receiver.posts == []
    assert world.pending() == ["both.example"]
    for path in folder.iterdir():
        check(json.loads(gzip.decompress(path.read_bytes())))
    assert len(list(folder.iterdir())) == 2
    assert invoke(world, "send", "--dry-run", exclude=["both.example"])[1] == "no report is due\n"


def test_command_list_and_show(world: World) -> None:
    assert report_commands_empty(world)
    world.count("both.example", "none.example")
    code, text = invoke(world, "list")
    assert "2026-11-27 both.example: 2 sessions, 1 failed, due 2026-11-28 0" in text
    world.send()
    code, text = invoke(world, "list")
    assert code == 0
    assert "sent to mailto:tls@both.example at" in text
    assert "delivered to https://reports.example/v1?x=1 at" in text
    (report,) = world.listed()["reports"]
    for wanted in (report["id"], "both.example", "BOTH.example"):
        code, text = invoke(world, "show", wanted)
        assert code == 0
        assert "sts x.example: 1 sessions good, 1 failed" in text
        assert "1 x certificate-expired receiving-mx-hostname=mx.x.example" in text
    code, text = invoke(world, "show", "--json", report["id"])
    check(json.loads(text))
    code, text = invoke(world, "show", "no\x1b[31m")
    assert code == 1
    assert "\x1b" not in text


def report_commands_empty(world: World) -> bool:
    world.count()  # makes the store
    return invoke(world, "list") == (0, "nothing is counted and no report was made\n")


def test_command_without_contact(world: World) -> None:
    code, text = invoke(world, "send", contact="")
    assert code == 2
    assert text == (
        "tlspolicyd: [tlsrpt] contact is not set: reports need a sender's address (RFC 8460 §4.4: contact-info)\n"
    )


def test_command_with_a_store_that_is_not_there(world: World) -> None:
    code, text = invoke(world, "list", store=f"sqlite:{world.folder}/none.db")
    assert code == 1
    assert "it is not there" in text
    assert not (world.folder / "none.db").exists()


def test_no_such_report(world: World) -> None:
    world.count()
    with pytest.raises(ReportError, match=r"there is no report x\.example"):
        report_commands.show(world.settings(), "x.example")
