"""`python -m tools.standards` writes docs/standards.md; with --check it ends with status 1 if it is not up to date."""

from __future__ import annotations

import sys

import click

from tools.standards.page import PAGE, page


@click.command()
@click.option("--check", is_flag=True, help="Write nothing.")
def main(check: bool) -> None:
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return
    if check:
        click.echo(f"{PAGE.name}: is not up to date: make man")
        sys.exit(1)
    PAGE.write_text(text, encoding="utf-8")
    click.echo(f"{PAGE.name}: written")


main()
