"""What the demonstration prints: progress, one table of what happened, and the header fields as delivered."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo.cases import Case, Result, checks, ours

_STYLES = {"delivered": "green", "held": "yellow", "refused": "red", "deferred": "magenta"}
_LONG_REPLY = 70  # characters of the reply in the table; the whole stands below it
_BRAND = ("BIMI-Location", "BIMI-Indicator", "BIMI-Logo-Preference")
_LONG_OWN = 14  # lines of one of ours that are shown
_LONG_FIELD = 4  # lines of a field that is not ours that are shown


def make_console() -> Console:
    """For the terminal, or with a fixed width for a file or pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)


@contextmanager
def step(console: Console, text: str) -> Iterator[None]:
    """Show that something is being done, and on a terminal that it is still being done."""
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        yield
    console.print(f"[green]ok[/]  {escape(text)}")


def show_table(console: Console, outcomes: Sequence[tuple[Case, Result]]) -> None:
    """One row for each message."""
    table = Table(title="At the inbound gate", title_justify="left", show_lines=True)
    for name in ("message", "from", "SMTP reply", "fate", "why"):
        table.add_column(name, overflow="fold")
    for case, result in outcomes:
        table.add_row(
            f"[bold]{escape(case.title)}[/]\n{escape(case.story)}",
            escape(f"{case.client.host} [{case.client.ip}]\nMAIL FROM <{case.mail_from}>"),
            escape(textwrap.shorten(result.reply, _LONG_REPLY, placeholder=" ...")),
            f"[{_STYLES.get(result.fate, '')}]{result.fate}[/]",
            escape(result.why),
        )
    console.print()
    console.print(table)


def show_message(console: Console, case: Case, result: Result) -> bool:
    """Header fields as delivered and whether everything is as it should be; returns the latter."""
    console.print()
    console.rule(f"[bold]{escape(case.title)}[/] ({result.fate})", align="left")
    if not result.fields:
        console.print("Nothing was delivered. The client was told:", style="dim")
        console.print(Text(result.reply))
    own = ours(result.fields)
    for name, value in result.fields:
        lines = f"{name}:{value}".split("\n")
        if value in own or name in _BRAND:
            lines = lines[:_LONG_OWN] + (["\t..."] if len(lines) > _LONG_OWN else [])
            console.print(Text("\n".join(lines), style="green"))
        else:
            more = ["\t..."] if len(lines) > _LONG_FIELD else []
            console.print(Text("\n".join(lines[:_LONG_FIELD] + more), style="dim"))
    good = True
    for text, holds in checks(case, result):
        console.print(
            f"  [green]as it should be[/]: {escape(text)}" if holds else f"  [bold red]WRONG[/]: {escape(text)}"
        )
        good = good and holds
    return good
