"""What shells need to complete the two commands: `python -m tools.completions FOLDER`, such as /usr/share.

    FOLDER/bash-completion/completions/authmilter
    FOLDER/zsh/vendor-completions/_authmilter            (Debian; elsewhere zsh/site-functions: --zsh)
    FOLDER/fish/vendor_completions.d/authmilter.fish

The scripts are click's. They ask the installed command at each TAB, so that a new option needs no new script.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from authmilter.cli import main as authmilter
from tlspolicyd.cli import main as tlspolicyd

PROGRAMS: dict[str, click.Command] = {"authmilter": authmilter, "tlspolicyd": tlspolicyd}


@click.command()
@click.option("--zsh", default="zsh/vendor-completions", show_default=True, help="Where zsh looks, below FOLDER.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(zsh: str, folder: Path) -> None:
    """Write the completion scripts of both commands below FOLDER."""
    places: dict[str, type[ShellComplete]] = {
        "bash-completion/completions/{}": BashComplete,
        f"{zsh}/_{{}}": ZshComplete,
        "fish/vendor_completions.d/{}.fish": FishComplete,
    }
    for program, command in PROGRAMS.items():
        for place, shell in places.items():
            path = folder / place.format(program)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shell(command, {}, program, f"_{program.upper()}_COMPLETE").source(), encoding="utf-8")


if __name__ == "__main__":
    main()
