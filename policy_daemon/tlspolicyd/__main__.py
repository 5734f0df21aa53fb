"""`python -m tlspolicyd` is the command `tlspolicyd`."""

from __future__ import annotations

from tlspolicyd.cli import main

main(prog_name="tlspolicyd")
