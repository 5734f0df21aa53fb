"""The command `doctor` of both daemons: options, output, exit status.

Diagnostics: exit status 0 all right, 1 something to mend, 2 it could not be looked at (see `findings`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from mailcommon import command
from mailcommon.doctor import render
from mailcommon.doctor.findings import Section, status, without

# settings file or None, Postfix's configuration directory or "" -> what is to be said
Examine = Callable[[Path | None, str], tuple[Section, ...]]


def doctor_command(usual: Path, examine: Examine) -> click.Command:
    """The command; `examine` looks at the host, or ends the program if the settings are bad."""

    @click.command("doctor")
    @command.config_option(usual)
    @click.option(
        "--postfix-config", type=click.Path(), default="", help="Directory of another instance's main.cf and master.cf."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @click.option(
        "--fix-print", is_flag=True, help="Print only the commands that would mend what is wrong; run nothing."
    )
    @click.option("--quiet", is_flag=True, help="Leave out what is right.")
    @click.option("--ignore", multiple=True, metavar="ID", help="Pass over a finding, by the word in brackets.")
    def doctor(
        config: Path | None, postfix_config: str, as_json: bool, fix_print: bool, quiet: bool, ignore: tuple[str, ...]
    ) -> None:
        """Look at Postfix and this host as they are, and say what is right and what to do. Nothing is changed.

        The exit status is 0 if nothing is to be mended, 1 if something is, 2 if the host could not be looked at.
        """
        sections = without(examine(config, postfix_config), frozenset(ignore))
        if as_json:
            text = render.as_json(sections, postfix_config)
        elif fix_print:
            text = render.as_script(sections, postfix_config)
        else:
            text = render.as_text(sections, postfix_config, quiet=quiet)
        if text:
            click.echo(text)
        sys.exit(status(sections))

    return doctor
