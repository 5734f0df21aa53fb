"""The command `tlspolicyd`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from mailcommon import command
from mailcommon import log as logging_setup
from mailcommon.doctor.command import doctor_command
from mailcommon.doctor.findings import Section
from tlspolicyd import settings as settings_file
from tlspolicyd.settings import Settings

PROGRAM = "tlspolicyd"
config_option = command.config_option(settings_file.DEFAULT_FILE)


def _settings(path: Path | None) -> Settings:
    return command.settings_of(PROGRAM, path, settings_file.DEFAULT_FILE, Settings)


@click.group(context_settings=command.CONTEXT)
@click.version_option(package_name="gatepost")
def main() -> None:
    """Tell Postfix which TLS a recipient domain wants: DANE, MTA-STS."""


@main.command()
@config_option
def serve(config: Path | None) -> None:
    """Answer Postfix, in the foreground. SIGTERM stops it, SIGHUP reads the settings again."""
    from mailcommon.privileges import StartError
    from tlspolicyd.assembly import assemble
    from tlspolicyd.service import Service

    settings = _settings(config)
    logging_setup.set_up("tlspolicyd", settings.log_level, settings.log_format)
    try:
        Service(settings, lambda: settings_file.load(config or settings_file.DEFAULT_FILE), assemble).run()
    except StartError as fault:
        command.fail(PROGRAM, str(fault))


main.add_command(command.config_command(settings_file.DEFAULT_FILE, _settings))


def _examine(path: Path | None, postfix_config: str) -> tuple[Section, ...]:
    from tlspolicyd.doctor.examine import examine

    usual = settings_file.DEFAULT_FILE
    return examine(_settings(path), path or (usual if usual.exists() else None), postfix_config)


main.add_command(doctor_command(settings_file.DEFAULT_FILE, _examine))


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("domain")
def query(config: Path | None, as_json: bool, domain: str) -> None:
    """Show what Postfix gets for DOMAIN (or DOMAIN:PORT), and why: DNS, certificate, policy, MX hosts, decision."""
    from tlspolicyd import query_command

    settings = _settings(config)
    try:
        text, remarks = asyncio.run(query_command.run(settings, domain, as_json=as_json))
    except ValueError as fault:
        command.fail(PROGRAM, str(fault))
    else:
        for remark in remarks:
            click.echo(f"tlspolicyd: {remark}", err=True)
        click.echo(text)


@main.group()
def cache() -> None:
    """The policies that are kept, whether or not the daemon runs."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
all_option = click.option("--all", "every", is_flag=True, help="All domains.")


@cache.command("list")
@config_option
@json_option
@click.argument("domain", required=False)
def cache_list(config: Path | None, as_json: bool, domain: str | None) -> None:
    """Print the unexpired policies, or that of DOMAIN."""
    from tlspolicyd import cache_commands

    _print_cache(cache_commands.list_policies(_settings(config).cache.store, domain, as_json=as_json))


@cache.command("forget")
@config_option
@json_option
@all_option
@click.argument("domain", required=False)
def cache_forget(config: Path | None, as_json: bool, every: bool, domain: str | None) -> None:
    """Forget the policy of DOMAIN. Mail for it is not protected until it is found again."""
    from tlspolicyd import cache_commands

    _one_or_all(domain, every)
    _print_cache(cache_commands.forget(_settings(config).cache.store, domain, as_json=as_json))


@cache.command("refresh")
@config_option
@json_option
@all_option
@click.argument("domain", required=False)
def cache_refresh(config: Path | None, as_json: bool, every: bool, domain: str | None) -> None:
    """Fetch the policy of DOMAIN now. The exit status is 1 if one could not be fetched."""
    from tlspolicyd import query_command

    _one_or_all(domain, every)
    if not _print_cache(query_command.refresh(_settings(config), domain, as_json=as_json)):
        sys.exit(command.NOT_DONE)


def _one_or_all(domain: str | None, every: bool) -> None:
    if (domain is None) is not every:
        command.fail(PROGRAM, "name one domain, or --all")


def _print_cache(work: Coroutine[Any, Any, str | tuple[str, bool]]) -> bool:
    """Run one of cache_commands and print what it returns; whether all went well."""
    from tlspolicyd.cache_commands import CacheError, StoreUnusable

    try:
        result = asyncio.run(work)
    except StoreUnusable as fault:
        command.fail(PROGRAM, str(fault), command.NOT_DONE)
    except (CacheError, ValueError) as fault:
        command.fail(PROGRAM, str(fault))
    text, well = result if isinstance(result, tuple) else (result, True)
    click.echo(text)
    return well


@main.group()
def report() -> None:
    """TLS reports (RFC 8460): what is counted, and what is sent to the domains that ask for it."""


@report.command("send")
@config_option
@command.dry_run_options
@click.option("--now", is_flag=True, help="Without the random delay after the end of the day.")
def report_send(config: Path | None, dry_run: bool, directory: Path, now: bool) -> None:
    """Make and send the reports that are due. A timer runs this; any number of hosts may."""
    from tlspolicyd import report_commands

    settings = _settings(config)
    if dry_run:
        _print_report(lambda: report_commands.dry_run(settings, directory, at_once=now))
    else:
        _print_report(lambda: report_commands.send(settings, click.echo, at_once=now))


@report.command("list")
@config_option
@json_option
def report_list(config: Path | None, as_json: bool) -> None:
    """Print what is counted and not yet reported, and the reports with what became of them."""
    from tlspolicyd import report_commands

    settings = _settings(config)
    _print_report(lambda: report_commands.list_reports(settings, as_json=as_json))


@report.command("show")
@config_option
@json_option
@click.argument("report")
def report_show(config: Path | None, as_json: bool, report: str) -> None:
    """Print one report, by its id or the newest about a domain; --json prints what is sent."""
    from tlspolicyd import report_commands

    settings = _settings(config)
    _print_report(lambda: report_commands.show(settings, report, as_json=as_json))


def _print_report(work: Callable[[], str]) -> None:
    from tlspolicyd.report_commands import NotSet, ReportError

    try:
        click.echo(work())
    except NotSet as fault:
        command.fail(PROGRAM, str(fault))
    except ReportError as fault:
        command.fail(PROGRAM, str(fault), command.NOT_DONE)
