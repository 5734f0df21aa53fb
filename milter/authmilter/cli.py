"""The command `authmilter`."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from authmilter import settings as settings_file
from authmilter.settings import Settings
from mailcommon import command
from mailcommon import log as logging_setup

PROGRAM = "authmilter"
config_option = command.config_option(settings_file.DEFAULT_FILE)


def _settings(path: Path | None) -> Settings:
    return command.settings_of(PROGRAM, path, settings_file.DEFAULT_FILE, Settings)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gatepost")
def main() -> None:
    """Authenticate inbound mail for Postfix: SPF, DKIM, DMARC, BIMI."""


@main.command()
@config_option
def serve(config: Path | None) -> None:
    """Run the milter in the foreground. SIGTERM stops it, SIGHUP reads the settings again."""
    # imported here: the other commands work without libmilter
    from authmilter.server import Server
    from mailcommon.privileges import StartError

    settings = _settings(config)
    logging_setup.set_up("authmilter", settings.log_level)
    try:
        Server(settings, lambda: settings_file.load(config or settings_file.DEFAULT_FILE)).run()
    except StartError as fault:
        command.fail(PROGRAM, str(fault))


main.add_command(command.config_command(settings_file.DEFAULT_FILE, _settings))


@main.command()
@config_option
@click.option("--client-ip", required=True, help="Address of the SMTP client.")
@click.option("--client-name", default="", help="The client's name as the MTA verified it.")
@click.option("--helo", required=True, help="HELO or EHLO name.")
@click.option("--mail-from", required=True, help="Envelope sender; <> or an empty text is the null sender.")
@click.option("--rcpt-to", multiple=True, help="Envelope recipient; it plays no part in the result.")
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
    rcpt_to: tuple[str, ...],  # noqa: ARG001 - part of the stable command line
    as_json: bool,
    dns: Path | None,
    record_dns: Path | None,
    message: BinaryIO,
) -> None:
    """Authenticate one message file (- is standard input) as the milter would, without Postfix."""
    from authmilter import check_message as checking

    settings = _settings(config)
    try:
        request = checking.Request(client_ip, client_name, helo, mail_from, dns, record_dns)
        text = checking.run(settings, request, message.read(), as_json=as_json)
    except checking.CheckError as fault:
        command.fail(PROGRAM, str(fault))
    else:
        click.echo(text)


@main.command()
@config_option
@click.option("--selector", default="", help="Selector of the record; without it the default one.")
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
