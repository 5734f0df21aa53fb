"""The commands `authmilter report ...`.

Exit status: 0 done, or another host does it; 1 the store or a report is not to be had; 2 wrong usage or settings.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from authmilter import settings as settings_file
from authmilter.reports import failures, ledger, sending, show
from authmilter.settings import Settings
from mailcommon import command
from mailcommon.dns.resolver import DnsResolver
from mailcommon.log import safe_value
from mailcommon.outbox import Bounce, take_bounce
from mailcommon.outbox.bounces import MAX_BYTES
from mailcommon.store import LeaseLost, Store, StoreFault, open_store

PROGRAM = "authmilter"
_SECONDS = 30.0  # of waiting for a lock that a worker holds

F = TypeVar("F", bound=Callable[..., Any])


def _settings(path: Path | None) -> Settings:
    settings = command.settings_of(PROGRAM, path, settings_file.DEFAULT_FILE, Settings)
    if not settings.reports.store:
        command.fail(PROGRAM, "no reports are kept: [reports] store is not set")
    return settings


def _fail(text: str) -> NoReturn:
    command.fail(PROGRAM, text, command.NOT_DONE)


def _store(settings: Settings) -> Store:
    # a file that is not there yet is made by the daemon: what root made here the daemon could not write
    return open_store(settings.reports.store, sending.SCHEMAS, _SECONDS, create=False)


class _Shown:
    """Progress as bars on a terminal."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = Bars(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def begin(self, task: str, total: int) -> None:
        self._task = self.bars.add_task(task, total=total)

    def step(self) -> None:
        if self._task is not None:
            self.bars.advance(self._task)


config_option = command.config_option(settings_file.DEFAULT_FILE)


@click.group()
def report() -> None:
    """DMARC reports about mail that came in: send, list, show."""


@report.command()
@config_option
@command.dry_run_options
def send(config: Path | None, dry_run: bool, directory: Path) -> None:
    """Make the reports about days (UTC) that are over, and hand over what is due. Run it every hour or more often."""
    settings = _settings(config)
    resolver = DnsResolver(settings.dns.for_resolver())
    store = _store(settings)
    try:
        if dry_run:
            _write_files(settings, store, resolver, directory)
            return
        shown = _Shown(Console(stderr=True))
        with shown.bars:
            done = sending.run(settings.reports, store, resolver, time.time, shown)
    except (StoreFault, LeaseLost) as fault:
        _fail(f"{fault}. What has been sent is noted; the next run goes on from there")
    finally:
        store.close()
        resolver.close()
    _summary(done)


def _write_files(settings: Settings, store: Store, resolver: DnsResolver, directory: Path) -> None:
    number = 0
    for made, found in sending.preview(settings.reports, store, resolver, time.time):
        path = directory / made.filename
        try:
            path.write_bytes(made.payload)
        except OSError as fault:
            _fail(f"{path}: {fault.strerror}")
        number += 1
        click.echo(f"{made.filename}: {made.count} messages, to {' '.join(found.uris) or 'nobody'}")
        for note in (*found.refused, *found.unknown):
            click.echo(f"  not to {safe_value(note)}")
    click.echo(f"{number} reports written, none sent")


def _summary(done: sending.Done) -> None:
    if done.busy:
        click.echo(f"nothing done: {done.busy} is sending")
        return
    made, sent = done.made, done.sent
    for note in made.notes:
        click.echo(f"not sent: {safe_value(note)}")
    for delivery, failed in done.failures:
        click.echo(f"failed: {failed.id} to {safe_value(delivery.destination)}")
    if sent.own_fault:
        click.echo(f"the host at [reports] smtp takes none for a reason of its own: {safe_value(sent.own_fault)}")
    made_failures = done.failed
    if made_failures != failures.MadeFailures():
        click.echo(
            f"failure reports: made {made_failures.reports}, waiting {made_failures.waiting}, without a destination"
            f" {made_failures.unwanted}; {made_failures.lost} failures were too many to be reported"
        )
    if done.lost:
        click.echo(f"{done.lost} messages were too old to be reported")
    click.echo(
        f"made {made.reports} reports about {made.messages} messages"
        f" ({made.unwanted} without a destination, {made.postponed} postponed);"
        f" sent {sent.done}, to be tried again {sent.later}, failed {sent.failed}"
    )


@report.command("list")
@config_option
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=200, help="The newest so many reports.")
def list_reports(config: Path | None, limit: int) -> None:
    """What is collected, waiting and sent."""
    settings = _settings(config)
    console = _console()
    store = _store(settings)
    try:
        ledger.absorb(store)
        console.print(show.collected_table(ledger.totals(store)))
        console.print(show.reports_table(sending.outbox_of(settings.reports, store).reports(limit=limit)))
    except StoreFault as fault:
        _fail(str(fault))
    finally:
        store.close()


@report.command("show")
@config_option
@click.option("--xml", is_flag=True, help="The report as it is sent, not compressed.")
@click.argument("report_id")
def show_report(config: Path | None, xml: bool, report_id: str) -> None:
    """One report, by its id in `report list`."""
    settings = _settings(config)
    store = _store(settings)
    try:
        outbox = sending.outbox_of(settings.reports, store)
        found = outbox.report(report_id)
        if found is None:
            _fail(f"there is no report {safe_value(report_id)}: `{PROGRAM} report list` names those that are kept")
        deliveries = outbox.deliveries(report_id)
    except StoreFault as fault:
        _fail(str(fault))
    finally:
        store.close()
    if not xml:
        for line in show.report_lines(found, deliveries):
            click.echo(line)
    if not found.payload:
        _fail("its content is no longer kept: [reports] max_bytes")
    if found.kind == failures.KIND:
        click.echo("\n".join(failures.parts_of(found)), nl=False)
    elif xml:
        sys.stdout.buffer.write(show.xml_of(found))
    else:
        _console().print(show.rows_table(show.xml_of(found)))


@report.command()
@config_option
def bounce(config: Path | None) -> None:
    """Take a message to the bounce address on standard input; for a pipe in Postfix's aliases. Says nothing."""
    settings = _settings(config)
    store = _store(settings)
    content = sys.stdin.buffer.read(MAX_BYTES)
    try:
        taken = take_bounce(sending.outbox_of(settings.reports, store), content, time.time())
    except StoreFault as fault:
        command.fail(PROGRAM, str(fault), command.TRY_AGAIN)
    finally:
        store.close()
    if taken is Bounce.OTHER:
        click.echo("not a bounce of a report that is kept", err=True)


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000  # one line each, for other programs
    return console
