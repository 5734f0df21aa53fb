"""Real mail through a real Postfix and both daemons, shown: `python -m demo`.

At the inbound gate: Postfix, a resolver and the milter, seven messages from outside, one of them with a brand
indicator, and one of our own. At the outbound gate: Postfix, the policy daemon, and mail to recipients with good and
bad TLS. Everything runs on loopback addresses with its files in /tmp and is stopped at the end; a Postfix or resolver
of the host is left alone.

Exit status 0: everything came out as it should; 1: it did not, or something could not be started.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from demo import outbound
from demo.brand import Brand, serve
from demo.cases import cases
from demo.show import make_console, show_message, show_table, step
from demo.ways import ThroughPostfix, ThroughProtocol, Way
from demo.world import HOME, settings, zone
from tests.support import outbound as outbound_world
from tests.support import postfix, unbound
from tests.support.dns_server import FakeDns
from tests.support.gate import gate_settings
from tests.support.milter_daemon import MilterDaemon
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.processes import StartFailed, Unavailable
from tests.support.unbound import PrivateUnbound


@contextlib.contextmanager
def _resolver(console: Console, missing: str, brand: Brand) -> Iterator[str]:
    """A name server over the domains of the demonstration; gives its "IP:PORT"."""
    if missing:
        console.print(f"[yellow]No real resolver: {missing}.[/] A small one in Python answers instead.")
        with FakeDns(zone() + brand.zone) as fake:
            yield fake.address
        return
    with contextlib.ExitStack() as stack:
        with step(console, "a resolver (unbound) with seven domains"):
            server = stack.enter_context(PrivateUnbound(zone() + brand.zone))
        yield server.address


@contextlib.contextmanager
def _way(console: Console, resolver: str, missing: str, brand: Brand) -> Iterator[Way]:
    """The milter, with Postfix before it if this machine has one."""
    with contextlib.ExitStack() as stack:
        server = None
        if missing:
            console.print(f"[yellow]No real Postfix: {missing}.[/] The milter protocol is spoken as Postfix speaks it.")
        else:
            with step(console, "a private Postfix"):
                server = stack.enter_context(PrivatePostfix(milter=MILTER_SPEC, domains=[HOME]))
        with step(console, "the milter (authmilter serve)"):
            socket = f"unix:{server.milter_socket}" if server else ""
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatepost-demo-")))
            given = gate_settings(resolver, {"bimi": brand.settings, **settings(folder)})
            milter = stack.enter_context(MilterDaemon(given, socket=socket))
        yield ThroughPostfix(server, milter) if server else ThroughProtocol(milter)


@click.command()
@click.option("--no-postfix", is_flag=True, help="As on a machine without Postfix.")
@click.option("--no-unbound", is_flag=True, help="As on a machine without unbound.")
def main(no_postfix: bool, no_unbound: bool) -> None:
    """Show what the milter does with mail from outside and what the policy daemon does for mail to others."""
    # So that a `kill`, too, stops everything in an orderly way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    console = make_console()
    no_server = "left out on request" if no_postfix else postfix.missing()
    no_resolver = "left out on request" if no_unbound else unbound.missing()
    outcomes = []
    outward: outbound.Outcomes = []
    left_out = outbound_world.missing()
    if no_postfix or no_unbound:
        left_out = "it takes a real Postfix and a real resolver"
    try:
        console.rule("[bold]The inbound gate", align="left")
        with (
            serve() as brand,
            _resolver(console, no_resolver, brand) as address,
            _way(console, address, no_server, brand) as way,
        ):
            for case in cases():
                with step(console, f"sent: {case.story}"):
                    outcomes.append((case, way.send(case)))
        console.rule("[bold]The outbound gate", align="left")
        if left_out:
            console.print(f"[yellow]Left out: {left_out}.[/]")
        else:
            outward = outbound.run(console)
    except (StartFailed, Unavailable, AssertionError, OSError) as problem:
        console.print(f"[bold red]It did not work:[/] {type(problem).__name__}")
        console.print(str(problem), markup=False)
        sys.exit(1)
    show_table(console, outcomes)
    good = [show_message(console, case, result) for case, result in outcomes]
    if outward:
        good.append(outbound.show(console, outward))
    console.print()
    verdict = "[bold green]Everything is as it should be" if all(good) else "[bold red]Something is WRONG"
    console.print(f"{verdict}[/]; all that was started is stopped ({time.monotonic() - began:.1f} s).")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
