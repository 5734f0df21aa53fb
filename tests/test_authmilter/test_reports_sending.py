"""From rows to reports in a mailbox: `authmilter report`, on both kinds of store, with a real SMTP server."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import parsedmarc
import pytest
from click.testing import CliRunner, Result

from authmilter.cli import main
from authmilter.facts import Client, DmarcResult
from authmilter.reports import aggregate, ledger, sending
from authmilter.reports.feedback import Feedback, write_feedback
from authmilter.reports.ledger import DAY, Key
from authmilter.reports.mail import day_text
from authmilter.reports.observation import observations
from authmilter.reports.sending import SCHEMAS, Done
from authmilter.reports.settings import Reports
from mailcommon.outbox import Outbox, State
from mailcommon.store import Store, StoreFault, held
from tests.support.daemon_process import toml
from tests.support.milter_daemon import program
from tests.support.report_rows import ACCEPT, dmarc, message, tags
from tests.support.signing import Keys
from tests.support.smtp_receiver import Receiver, content, receiving
from tests.support.stores import Stores
from tests.support.zone_resolver import ZoneResolver

TODAY = 20_001
NOW = TODAY * DAY + 4000.0
ZONE = """
_dmarc.shop.example 60 IN TXT "v=DMARC1; p=reject"
shop.example._report._dmarc.agent.example 60 IN TXT "v=DMARC1"
shop.example._report._dmarc.later.example TXT servfail
"""


class Quiet:
    def begin(self, task: str, total: int) -> None:
        self.tasks = [*getattr(self, "tasks", []), (task, total)]

    def step(self) -> None:
        self.steps = getattr(self, "steps", 0) + 1


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class World:
    """One host that sends: settings, a store, a zone, a clock."""

    def __init__(self, stores: Stores, receiver: Receiver, port: int) -> None:
        self.receiver = receiver
        self.stores = stores
        self.settings = Reports(
            store=stores.address, email="dmarc@us.example", org_name="Us, Inc.", contact="", smtp=f"127.0.0.1:{port}"
        )
        self.store: Store = stores.open(SCHEMAS)
        self.zone = ZoneResolver(ZONE)
        self.clock = Clock()

    def note(self, *facts: Any, day: int = TODAY - 1, count: int = 1) -> None:
        counts = {Key(day, *each): count for fact in facts for each in observations(fact, ACCEPT)}
        ledger.write(self.store, secrets.token_hex(8), counts, self.clock.now)

    def run(self) -> Done:
        return sending.run(self.settings, self.store, self.zone, self.clock, Quiet())


@pytest.fixture
def world(stores: Stores) -> Iterator[World]:
    with receiving() as (receiver, port):
        yield World(stores, receiver, port)


def to(*uris: str, domain: str = "shop.example") -> Any:
    return dmarc(policy_domain=domain, author_domain=domain, published=tags(rua=uris))


def subjects(world: World) -> list[str]:
    return [str(content(envelope)["Subject"]) for envelope in world.receiver.got]


def test_a_report_as_it_arrives(world: World) -> None:
    world.note(message(dmarc()), count=3)
    world.note(message(dmarc(DmarcResult.FAIL), client=Client("2001:db8::1")), count=2)
    done = world.run()
    assert (done.made.reports, done.made.messages, done.sent.done) == (1, 5, 1)
    (envelope,) = world.receiver.got
    assert envelope.mail_from == "dmarc@us.example"
    assert envelope.rcpt_tos == ["reports@shop.example"]
    mail = content(envelope)
    assert mail["From"] == '"Us, Inc." <dmarc@us.example>'
    found = re.fullmatch(
        r"Report Domain: shop\.example Submitter: us\.example Report-ID: ([A-Za-z0-9]+)", str(mail["Subject"])
    )
    assert found
    report_id = found[1]
    attachment = next(iter(mail.iter_attachments()))
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_filename() == f"us.example!shop.example!1728000000!1728086399!{report_id}.xml.gz"
    assert mail["Message-ID"] == f"<{report_id}.0@us.example>"
    xml = gzip.decompress(attachment.get_content()).decode()
    report = parsedmarc.parse_aggregate_report_xml(xml, offline=True)
    assert report["report_metadata"]["report_id"] == report_id
    assert sorted(record["count"] for record in report["records"]) == [2, 3]
    # parsedmarc finds the same in the mail as a whole
    assert isinstance(envelope.content, bytes)
    whole = parsedmarc.parse_report_email(envelope.content, offline=True)
    assert whole["report_type"] == "aggregate"
    assert whole["report"]["report_metadata"]["report_id"] == report_id


def test_today_is_not_reported_yet(world: World) -> None:
    world.note(message(dmarc()), day=TODAY)
    assert world.run().made.reports == 0
    world.clock.now += DAY
    assert world.run().made.reports == 1


def test_one_report_for_each_policy_and_day(world: World) -> None:
    changed = dmarc(published=tags(adkim="s"))
    subdomain = dmarc(author_domain="a.shop.example")
    world.note(message(dmarc()), message(changed), message(subdomain))
    world.note(message(dmarc()), day=TODAY - 2)
    done = world.run()
    assert (done.made.reports, done.made.messages) == (3, 4)
    assert len(set(subjects(world))) == 3


def test_what_is_added_while_a_report_is_made_is_in_the_next(
    stores: Stores, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report list` on another host adds up what came late, just then."""
    world.note(message(dmarc()))
    other = stores.open(sending.SCHEMAS, 20.0)
    ((published, row),) = observations(message(dmarc()), ACCEPT)
    adding = threading.Thread(target=ledger.absorb, args=(other,))
    write = write_feedback

    def write_late(*given: Any) -> Feedback:
        made = write(*given)
        if not adding.ident:
            adding.start()
            adding.join(0.5)  # it would be through by then if it did not wait
        return made

    monkeypatch.setattr(aggregate, "write_feedback", write_late)
    due = ledger.pending

    def late(store: Store, today: int) -> list[ledger.Pending]:
        found = due(store, today)
        if not adding.ident:
            ledger.write(other, "late", {Key(TODAY - 1, published, row): 5}, NOW)
        return found

    monkeypatch.setattr(ledger, "pending", late)
    first = world.run().made.messages
    adding.join()
    assert (first, world.run().made.messages) == (1, 5)


def test_what_comes_late_is_reported_alone(world: World) -> None:
    world.note(message(dmarc()), count=3)
    world.run()
    world.note(message(dmarc()), count=4)
    done = world.run()
    assert (done.made.reports, done.made.messages) == (1, 4)
    assert len(set(subjects(world))) == 2


def test_destinations_that_do_not_agree_get_nothing(world: World) -> None:
    world.note(
        message(to("mailto:a@agent.example", "mailto:b@stranger.example", "mailto:c@shop.example")),
    )
    done = world.run()
    assert [envelope.rcpt_tos[0] for envelope in world.receiver.got] == ["a@agent.example", "c@shop.example"]
    assert "stranger.example does not agree to it" in done.made.notes[0]
    world.note(message(to("mailto:b@stranger.example")))
    done = world.run()
    assert (done.made.reports, done.made.unwanted) == (0, 1)
    assert world.run().made.unwanted == 0  # and the rows are gone


def test_dns_that_fails_is_waited_for(world: World) -> None:
    world.note(message(to("mailto:a@later.example", "mailto:c@shop.example")))
    done = world.run()
    assert (done.made.reports, done.made.postponed) == (0, 1)
    world.clock.now += 3 * DAY
    assert world.run().made.reports == 1
    assert [envelope.rcpt_tos[0] for envelope in world.receiver.got] == ["c@shop.example"]


def test_a_refusal_now_and_success_later(world: World) -> None:
    world.note(message(dmarc()))
    world.receiver.rcpt = "450 4.2.0 later"
    assert world.run().sent.later == 1
    assert world.run().sent.later == 0  # not before its time
    world.receiver.rcpt = "250 OK"
    world.clock.now += 301
    assert world.run().sent.done == 1
    assert len(world.receiver.got) == 1


def test_who_always_refuses_is_rested(world: World) -> None:
    world.receiver.rcpt = "550 5.1.1 nobody"
    for day in range(8):
        world.clock.now = NOW + day * DAY
        world.note(message(dmarc()), day=TODAY - 1 + day)
        done = world.run()
    assert (done.made.reports, done.made.unwanted) == (0, 1)
    reports = sending.outbox_of(world.settings, world.store).reports()
    assert [deliveries[0].state for _, deliveries in reports] == [State.FAILED] * 5


def test_a_postfix_that_does_not_relay_for_us(world: World, config: Path) -> None:
    """Said once, tried again, and nobody is rested for it."""
    world.receiver.rcpt = "554 5.7.1 Relay access denied"
    for day in range(7):
        world.clock.now = NOW + day * DAY
        world.note(message(dmarc()), day=TODAY - 1 + day)
        done = world.run()
    assert done.made.reports == 1
    assert done.sent.own_fault == "554 5.7.1 Relay access denied"
    world.receiver.rcpt = "250 OK"
    world.clock.now += DAY - 1
    assert world.run().sent.done == 1
    world.receiver.rcpt = "554 5.7.1 Relay access denied"
    world.note(message(dmarc()), day=int(time.time() // DAY) - 1)
    assert (
        'takes none for a reason of its own: "554 5.7.1 Relay access denied"'
        in command("send", "--config", config).output
    )


def test_two_hosts_and_one_report_about_both(stores: Stores) -> None:
    with receiving() as (receiver, port):
        one, two = World(stores, receiver, port), World(stores, receiver, port)
        one.note(message(dmarc()), count=3)
        two.note(message(dmarc()), count=4)
        assert one.run().made.messages == 7
        assert two.run().made.reports == 0
        assert len(receiver.got) == 1


def test_only_one_sends(stores: Stores) -> None:
    with receiving() as (receiver, port):
        one, two = World(stores, receiver, port), World(stores, receiver, port)
        one.note(message(dmarc()))
        with held(two.store, sending.LEASE) as lease:
            assert lease
            assert re.match(r"process \d+ on ", one.run().busy)
        assert receiver.got == []
        assert one.run().sent.done == 1


def test_a_store_that_fails_in_the_middle(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was handed over stays handed over; the rest goes on in the next run."""
    for number in range(5):
        world.note(message(to(f"mailto:a{number}@shop.example")))
    finish = Outbox.finish

    def fail(*arguments: Any) -> State:
        if len(world.receiver.got) == 3:
            raise StoreFault("gone")
        return finish(*arguments)

    monkeypatch.setattr(Outbox, "finish", fail)
    with pytest.raises(StoreFault):
        world.run()
    monkeypatch.setattr(Outbox, "finish", finish)
    assert world.run().sent.done == 3  # the third once more: no milter is in the way here that would know it
    ids = [str(content(envelope)["Message-ID"]) for envelope in world.receiver.got]
    assert len(ids) == 6
    assert len(set(ids)) == 5


def test_totals_in_are_totals_out(world: World) -> None:
    for number in range(40):
        fact = dmarc(
            author_domain=f"a{number % 3}.shop.example", published=tags(fo="01"[number % 2], testing=number % 5 == 0)
        )
        world.note(message(fact, client=Client(f"192.0.2.{number}")), count=number + 1)
    done = world.run()
    counts = []
    for envelope in world.receiver.got:
        attachment = next(iter(content(envelope).iter_attachments()))
        xml = gzip.decompress(attachment.get_content()).decode()
        report = parsedmarc.parse_aggregate_report_xml(xml, offline=True)
        counts += [record["count"] for record in report["records"]]
    assert sum(counts) == done.made.messages == sum(range(41))
    assert len(counts) == 40


# The commands


@pytest.fixture
def config(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "authmilter.toml"
    reports = {key: value for key, value in world.settings.model_dump().items() if not isinstance(value, tuple)}
    path.write_text(toml({"reports": reports, "dns": {"nameservers": ["127.0.0.1:9"], "timeout": 0.2}}))
    return path


def command(*arguments: str | Path, text: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)], input=text, catch_exceptions=False)


def test_send_list_show(world: World, config: Path) -> None:
    yesterday = ledger.day_of(time.time()) - 1  # the commands go by the host's clock
    world.note(message(dmarc()), count=3, day=yesterday)
    collected = command("list", "--config", config)
    assert re.search(r"shop\.example +1 +3 +mailto:reports@shop\.example", collected.output)
    sent = command("send", "--config", config)
    assert sent.exit_code == 0
    assert "made 1 reports about 3 messages" in sent.output
    assert "sent 1, to be tried again 0, failed 0" in sent.output
    listed = command("list", "--config", config)
    found = re.search(r"^(\d{8}[0-9a-f]+) .*shop\.example +3 +sent", listed.output, re.MULTILINE)
    assert found, listed.output
    shown = command("show", "--config", config, found[1])
    assert f"about mail from shop.example on {day_text(yesterday * DAY)} (UTC), 3 messages" in shown.output
    assert re.search(r"^192\.0\.2\.10 +3 +pass", shown.output, re.MULTILINE)
    xml = command("show", "--xml", "--config", config, found[1])
    assert xml.output.startswith("<?xml")
    assert command("show", "--config", config, "no\x1bsuch").exit_code == 1


def test_dry_run_writes_files_and_changes_nothing(world: World, config: Path, tmp_path: Path) -> None:
    world.note(message(dmarc()), count=3)
    for _ in range(2):
        made = command("send", "--config", config, "--dry-run", "--directory", tmp_path)
        assert made.exit_code == 0
        assert "3 messages, to mailto:reports@shop.example" in made.output
    files = sorted(tmp_path.glob("us.example!shop.example!*.xml.gz"))
    assert len(files) == 2
    assert b"<count>3</count>" in gzip.decompress(files[0].read_bytes())
    assert world.receiver.got == []
    assert world.run().made.messages == 3


def test_a_bounce_is_taken(world: World, config: Path) -> None:
    world.note(message(dmarc()))
    world.run()
    mail = content(world.receiver.got[0])
    bounce = BOUNCE.format(token=mail["X-Gatepost-Handover"], message_id="<x@y>", action="failed")
    by_id = BOUNCE.format(token="", message_id=mail["Message-ID"], action="failed")
    delayed = BOUNCE.format(token=mail["X-Gatepost-Handover"], message_id=mail["Message-ID"], action="delayed")
    outbox = sending.outbox_of(world.settings, world.store)

    def state() -> State:
        ((_, deliveries),) = outbox.reports()
        return deliveries[0].state

    for text in (delayed.encode(), b"hello", b"", b"\xff" * 1000, by_id.replace(".0@", ".7@").encode()):
        assert command("bounce", "--config", config, text=text).exit_code == 0
        assert state() is State.SENT
    assert command("bounce", "--config", config, text=bounce.encode()).exit_code == 0
    assert state() is State.BOUNCED
    with world.store.write() as tx:
        tx.run("UPDATE outbox_deliveries SET state = 'sent'")
    assert command("bounce", "--config", config, text=by_id.encode()).exit_code == 0
    assert state() is State.BOUNCED


BOUNCE = """\
From: MAILER-DAEMON@mx.example
Subject: Undelivered
Content-Type: multipart/report; report-type=delivery-status; boundary="b"
MIME-Version: 1.0

--b
Content-Type: text/plain

It failed.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
Original-Envelope-Id: {token}

Final-Recipient: rfc822; reports@shop.example
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b
Content-Type: text/rfc822-headers

Message-ID: {message_id}
Subject: Report

--b--
"""


@pytest.mark.parametrize(
    ("settings", "status", "text"),
    [
        ({}, 2, "no reports are kept: [reports] store is not set"),
        ({"store": "sqlite:/nowhere/at/all", "email": "a@b.example"}, 1, "the folder must be there"),
        ({"store": "sqlite:/tmp/gatepost-not-there.db", "email": "a@b.example"}, 1, "the daemon makes it"),
        ({"store": "sqlite:/x"}, 2, "email: is needed with a store"),
        ({"store": "mysql:x", "email": "a@b.example"}, 2, 'must be "sqlite:/path"'),
        ({"store": "postgresql://u:pa/ss@h/d", "email": "a@b.example"}, 2, "in a password write"),
        ({"store": "postgresql://u:pa%zz@h/d", "email": "a@b.example"}, 2, "in a password write"),
        ({"store": "postgresql://u:p@ss@h/d", "email": "a@b.example"}, 2, "in a password write"),
        ({"store": "postgresql://u:pa[ss@127.0.0.1:1/d", "email": "a@b.example"}, 1, "postgresql://127.0.0.1:1/d"),
        ({"store": "sqlite:/x", "email": "no address"}, 2, "is not an address"),
        ({"store": "sqlite:/x", "email": "a@b.example", "smtp": "x"}, 2, 'must be "HOST:PORT"'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, settings: dict[str, str], status: int, text: str) -> None:
    path = tmp_path / "authmilter.toml"
    path.write_text("[reports]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    found = command("send", "--config", path)
    assert found.exit_code == status
    assert text in found.output
    assert found.output.count("\n") == 1
    assert "pa" not in found.output.replace("password", "").replace("path", "")


@pytest.mark.parametrize(
    ("pattern", "note"), [("b.example", False), ("*", False), ("a@b.example", False), ("c.example", True)]
)
def test_config_says_that_reports_are_not_signed(tmp_path: Path, pattern: str, note: bool) -> None:
    path = tmp_path / "authmilter.toml"
    tables = Keys(tmp_path).tables({"k": ("b.example", "s", "rsa")}, {pattern: ["k"]})
    reports = {"store": "postgresql://u:secret@h/d", "email": "a@b.example"}
    path.write_text(toml({**tables, "reports": reports}))
    found = CliRunner().invoke(main, ["config", "--config", str(path)])
    assert ("[sign] does not sign for [reports] email = a@b.example" in found.output) is note
    assert "secret" not in found.output


def test_names_and_hosts_of_the_settings() -> None:
    plain = Reports(store="sqlite:/x", email="dmarc@BÜCHER.example")
    assert plain.domain == "xn--bcher-kva.example"
    assert replace_smtp(plain, "[::1]:2525") == ("::1", 2525)
    assert replace_smtp(plain, "mx.example:25") == ("mx.example", 25)


def replace_smtp(settings: Reports, smtp: str) -> tuple[str, int]:
    return Reports(**{**settings.model_dump(), "smtp": smtp}).smtp_host


def test_progress_counts_every_step(world: World) -> None:
    for number in range(3):
        world.note(message(to(f"mailto:a{number}@shop.example")))
    quiet = Quiet()
    sending.run(world.settings, world.store, world.zone, world.clock, quiet)
    assert quiet.tasks == [("making reports", 3), ("sending", 3)]
    assert quiet.steps == 6


def test_reports_about_reports_do_not_go_round(world: World) -> None:
    """Two hosts that report to each other: what the other's report adds is nothing."""
    world.note(message(dmarc()))
    world.run()
    theirs = replace(message(dmarc(author_domain="us.example", policy_domain="us.example")), report=True)
    world.note(theirs)
    assert world.run().made.reports == 0


def test_progress_on_a_terminal(world: World, config: Path) -> None:
    """On a terminal there are bars, without one there is nothing but the summary."""
    world.note(message(dmarc()), day=ledger.day_of(time.time()) - 1)
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [program(), "report", "send", "--config", config], stdout=subprocess.PIPE, stderr=slave, check=True
        )
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal whose other side is closed
            while part := os.read(master, 65_536):
                shown += part
    finally:
        os.close(master)
    assert b"making reports" in shown
    assert b"sending" in shown
    assert b"1/1" in shown
    assert b"made 1 reports" in done.stdout
    again = subprocess.run([program(), "report", "send", "--config", config], capture_output=True, check=True)
    assert again.stderr == b""
