"""`python -m tools.manuals` writes the manual pages; with --check it ends with status 1 if one is not up to date."""

from __future__ import annotations

import sys

import click

from tools.manuals.pages import written


@click.command()
@click.option("--check", is_flag=True, help="Write nothing.")
def main(check: bool) -> None:
    stale = [
        (path, text)
        for path, text in written().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if not check:
            path.write_text(text, encoding="utf-8")
        click.echo(f"{path.name}: {'is not up to date: make man' if check else 'written'}")
    sys.exit(1 if check and stale else 0)


main()
