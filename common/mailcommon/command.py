"""What the commands of both daemons share: --config, and one clear line with exit status 2 for what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from mailcommon.settings import Section, SettingsError, from_data, load
from mailcommon.settings_text import as_toml

# Exit statuses of both commands; 0 is "done", whatever was found out about a message or a domain
NOT_DONE = 1  # it could not be done, or something is not as it should be
USAGE_ERROR = 2  # the command line or the settings are wrong, or a daemon cannot start
TRY_AGAIN = 75  # sysexits.h EX_TEMPFAIL: local(8) keeps the message and tries again

# of the group of all commands. https://no-color.org; without it click leaves colours out where there is no terminal
CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "color": False if os.environ.get("NO_COLOR") else None,
}

M = TypeVar("M", bound=Section)


def fail(program: str, text: str, status: int = USAGE_ERROR) -> NoReturn:
    """Say what is wrong in one line, and end."""
    click.echo(f"{program}: {text}", err=True)
    sys.exit(status)


def config_option(usual: Path) -> Callable[[Any], Any]:
    """The option --config of a command whose settings are usually in `usual`."""
    text = f"Settings file; without it {usual}, or the defaults if there is none."
    return click.option("--config", type=click.Path(path_type=Path), help=text)


def dry_run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --dry-run and --directory of `report send`."""
    folder = click.Path(path_type=Path, file_okay=False, exists=True)
    where = click.option("--directory", type=folder, default=".", help="Where --dry-run writes the files.")
    text = "Write the reports into files; nothing is sent or changed."
    return click.option("--dry-run", is_flag=True, help=text)(where(command))


def settings_of(program: str, path: Path | None, usual: Path, model: type[M]) -> M:
    """The settings of --config, of the usual place, or the defaults if neither is there; ends the program if bad."""
    try:
        if path is None and not usual.exists():
            return from_data({}, model, "defaults")
        return load(path or usual, model)
    except SettingsError as fault:
        fail(program, str(fault))


def config_command(usual: Path, settings: Callable[[Path | None], Section]) -> click.Command:
    """The command `config`; `settings` reads what --config names, or ends the program."""

    @click.command("config")
    @config_option(usual)
    def show(config: Path | None) -> None:
        """Check the settings and print what is in force."""
        click.echo(as_toml(settings(config)), nl=False)

    return show
