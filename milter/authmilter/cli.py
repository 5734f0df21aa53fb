"""The command `authmilter`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from authmilter import settings as settings_file
from authmilter.settings import Settings
from authmilter.sign.table import find
from mailcommon import command
from mailcommon import log as logging_setup
from mailcommon.doctor.command import doctor_command
from mailcommon.doctor.findings import Section

PROGRAM = "authmilter"
config_option = command.config_option(settings_file.DEFAULT_FILE)


def _settings(path: Path | None) -> Settings:
    return command.settings_of(PROGRAM, path, settings_file.DEFAULT_FILE, Settings)


def _settings_and_files(path: Path | None) -> Settings:
    """The settings, and the files that they name have been read if this user can be meant to."""
    from authmilter.setup import read_files
    from authmilter.sign.key import Reader
    from mailcommon.settings import SettingsError

    settings = _settings(path)
    with contextlib.suppress(KeyError):  # a user that does not exist is an error of the start
        if os.geteuid() in (0, Reader.of(settings.user).uid):  # nobody else can read the keys
            try:
                read_files(settings, settings.user)
            except SettingsError as fault:
                command.fail(PROGRAM, str(fault))
    reports = settings.reports
    if reports.store and not find(settings.sign.table, f"{reports.email.rpartition('@')[0]}@{reports.domain}"):
        # RFC 9990 §3.5.2: a report has to pass DMARC itself
        click.echo(
            f"{PROGRAM}: note: [sign] does not sign for [reports] email = {reports.email}: unless another program does,"
            " reports pass DMARC by SPF alone",
            err=True,
        )
    return settings


class _Commands(click.Group):
    """With those of `report`, whose libraries are loaded only when they are used: `serve` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "report"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "report":
            from authmilter.report_commands import report

            return report
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings=command.CONTEXT)
@click.version_option(package_name="gatepost")
def main() -> None:
    """Authenticate inbound mail for Postfix: SPF, DKIM, ARC, DMARC, BIMI."""


@main.command()
@config_option
def serve(config: Path | None) -> None:
    """Run the milter in the foreground. SIGTERM stops it, SIGHUP reads the settings again."""
    # imported here: the other commands work without libmilter
    from authmilter.server import Server
    from mailcommon.privileges import StartError

    settings = _settings(config)
    logging_setup.set_up("authmilter", settings.log_level, settings.log_format)
    try:
        Server(settings, lambda: settings_file.load(config or settings_file.DEFAULT_FILE)).run()
    except StartError as fault:
        command.fail(PROGRAM, str(fault))


main.add_command(command.config_command(settings_file.DEFAULT_FILE, _settings_and_files))


def _examine(path: Path | None, postfix_config: str) -> tuple[Section, ...]:
    from authmilter.doctor.examine import examine

    usual = settings_file.DEFAULT_FILE
    return examine(_settings(path), path or (usual if usual.exists() else None), postfix_config)


main.add_command(doctor_command(settings_file.DEFAULT_FILE, _examine))


@main.group()
def key() -> None:
    """Make signing keys, and compare them with what DNS publishes."""


@key.command("new")
@config_option
@click.argument("domain")
@click.argument("selector")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["rsa", "ed25519", "both"]),
    default="rsa",
    show_default=True,
    help="Algorithm of the key.",
)
@click.option(
    "--bits",
    type=click.Choice(["2048", "3072", "4096"]),
    default="2048",
    show_default=True,
    help="Length of an RSA key.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/etc/gatepost/keys"),
    show_default=True,
    help="Where the files DOMAIN.SELECTOR.pem are made.",
)
def new_key(config: Path | None, domain: str, selector: str, kind: str, bits: str, folder: Path) -> None:
    """Make a key and print its DNS record; `both` makes a second key under SELECTOR-ed25519.

    What to do with them goes to standard error.
    """
    from authmilter import key_commands

    try:
        record, advice = key_commands.new(domain, selector, kind, int(bits), folder, _settings(config).user)
    except key_commands.KeyCommandError as fault:
        command.fail(PROGRAM, str(fault))
    else:
        click.echo(record)
        click.echo(f"\n{advice}", err=True)


@key.command("check")
@config_option
@click.argument("domain", required=False, default="")
@click.argument("selector", required=False, default="")
def check_keys(config: Path | None, domain: str, selector: str) -> None:
    """Compare the keys of [sign], or those of DOMAIN, with DNS. The exit status is 1 if one is not as it should be."""
    from authmilter import key_commands
    from mailcommon.dns.resolver import DnsResolver

    settings = _settings(config)
    try:
        reports = key_commands.check(settings, domain, selector, DnsResolver(settings.dns.for_resolver()))
    except key_commands.KeyCommandError as fault:
        command.fail(PROGRAM, str(fault))
    else:
        click.echo("\n".join(f"{report.name}: {report.text}" for report in reports))
        sys.exit(0 if all(report.good for report in reports) else command.NOT_DONE)


@main.command()
@config_option
@click.option("--client-ip", metavar="ADDRESS", required=True, help="Address of the SMTP client.")
@click.option("--client-name", metavar="NAME", default="", help="The client's name as the MTA verified it.")
@click.option("--helo", metavar="NAME", required=True, help="HELO or EHLO name.")
@click.option(
    "--mail-from", metavar="ADDRESS", required=True, help="Envelope sender; <> or an empty text is the null one."
)
@click.option(
    "--auth-user", metavar="NAME", default="", help="Login name of an authenticated user: shows what is signed."
)
@click.option(
    "--rcpt-to", metavar="ADDRESS", multiple=True, help="Envelope recipient; counts for [arc] seal_for alone."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--dns", type=click.Path(path_type=Path), help="Take every DNS answer from this recording; no network.")
@click.option("--record-dns", type=click.Path(path_type=Path), help="Write every DNS answer used into this file.")
@click.argument("message", type=click.File("rb"))
def check(
    config: Path | None,
    client_ip: str,
    client_name: str,
    helo: str,
    mail_from: str,
    auth_user: str,
    rcpt_to: tuple[str, ...],
    as_json: bool,
    dns: Path | None,
    record_dns: Path | None,
    message: BinaryIO,
) -> None:
    """Authenticate one message file (- is standard input) as the milter would, without Postfix."""
    from authmilter import check_message as checking

    settings = _settings(config)
    try:
        request = checking.Request(client_ip, client_name, helo, mail_from, dns, record_dns, auth_user, rcpt_to)
        text = checking.run(settings, request, message.read(), as_json=as_json)
    except checking.CheckError as fault:
        command.fail(PROGRAM, str(fault))
    else:
        click.echo(text)


@main.command()
@config_option
@click.option("--selector", metavar="NAME", default="", help="Selector of the record; without it the default one.")
@click.option("--local-part", default="", help="Local part of the author's address, for records with lps=.")
@click.option("--record", help="A record that is not published yet, in place of the one in the DNS.")
@click.option("--svg", type=click.Path(path_type=Path), help="A logo that is not published yet.")
@click.option("--evidence", type=click.Path(path_type=Path), help="A certificate file (PEM) that is not published yet.")
@click.option("--svg-out", type=click.Path(path_type=Path), help="Write the logo into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("domain")
def bimi(
    config: Path | None,
    selector: str,
    local_part: str,
    record: str | None,
    svg: Path | None,
    evidence: Path | None,
    svg_out: Path | None,
    as_json: bool,
    domain: str,
) -> None:
    """Explain the brand indicator of DOMAIN step by step: what passes, what does not, and what mail would carry."""
    from authmilter import bimi_explain

    settings = _settings(config)
    try:
        request = bimi_explain.Request(domain, selector, local_part, record, svg, evidence, svg_out)
        click.echo(bimi_explain.run(settings, request, as_json=as_json))
    except bimi_explain.ExplainError as fault:
        command.fail(PROGRAM, str(fault))
