"""`python -m bench`: all figures. With a command one kind: `rate`, `cold`, `memory`, `sign` and `profile` of the
milter, `policy-rate`, `policy-new`, `policy-hang` and `policy-memory` of the policy daemon; `reports-rate` and
`reports-day` of the DMARC reports, which are not among "all".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench import (
    cold,
    memory,
    policy_hang,
    policy_memory,
    policy_new,
    policy_peers,
    policy_rate,
    profiling,
    rate,
    reports,
    sign_rate,
)
from bench.install import install
from bench.peers import PEERS, Peer
from bench.run import Bench, bench
from tests.support.processes import Unavailable


def _chosen(_context: click.Context, _parameter: click.Parameter, value: str) -> list[Peer]:
    names = [name for name in value.split(",") if name]
    unknown = set(names) - {peer.name for peer in PEERS}
    if unknown:
        raise click.BadParameter(f"there is no {', '.join(sorted(unknown))}")
    return [peer for peer in PEERS if not names or peer.name in names]


def _chosen_daemons(_context: click.Context, _parameter: click.Parameter, value: str) -> list[policy_peers.Peer]:
    names = [name for name in value.split(",") if name]
    unknown = set(names) - {peer.name for peer in policy_peers.PEERS}
    if unknown:
        raise click.BadParameter(f"there is no {', '.join(sorted(unknown))}")
    return [peer for peer in policy_peers.PEERS if not names or peer.name in names]


only = click.option("--only", "peers", default="", callback=_chosen, help="Milters to measure, separated by commas.")
seconds = click.option("--seconds", default=5.0, show_default=True, help="Length of one turn.")
rounds = click.option("--rounds", default=3, show_default=True, help="Turns of each milter.")
messages = click.option("--messages", default=40, show_default=True, help="Messages for the cold start.")
clients = click.option("--clients", default=50, show_default=True, help="Clients that send a large message.")
megabytes = click.option("--megabytes", default=25, show_default=True, help="Size of the large message.")

only_daemons = click.option(
    "--only", "daemons", default="", callback=_chosen_daemons, help="Policy daemons to measure, separated by commas."
)
# short turns and many: the two of a ratio then meet the same machine
short_turns = click.option("--seconds", default=2.0, show_default=True, help="Length of one turn.")
more_rounds = click.option("--rounds", default=5, show_default=True, help="Turns of each daemon.")
new_domains = click.option("--domains", default=500, show_default=True, help="New domains, or fetches that hang.")
policies = click.option("--policies", default=100_000, show_default=True, help="Policies in the store.")


def _machine() -> str:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    busy = os.getloadavg()[0]
    memory_size = int(total.split()[1]) * 1024 / 1e9
    return f"Machine: {os.cpu_count()} CPUs, {memory_size:.0f} GB of memory; load before the run {busy:.2f}"


def _run(peers: list[Peer], measure: Callable[..., None], *arguments: Any, milters: bool = True) -> None:
    try:
        with bench(peers) as here:
            if milters:
                install(here.tell)
            here.tell(_machine())
            measure(here, *arguments)
    except Unavailable as problem:
        raise click.ClickException(str(problem)) from None


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Compare milters on the milter protocol, policy daemons on socketmap. Without a command: all at its defaults."""
    if context.invoked_subcommand is None:
        _run(list(PEERS), _everything)


def _everything(here: Bench) -> None:
    rate.measure(here, 5.0, 3)
    cold.measure(here, 40)
    memory.measure(here, 50, 25)
    sign_rate.measure(here, 5.0, 3)
    daemons = policy_peers.PEERS
    policy_rate.measure(here, daemons, 2.0, 5)
    policy_new.measure(here, daemons, 500, 5)
    policy_hang.measure(here, daemons, 500, 2.0, 5)
    policy_memory.measure(here, daemons, 100_000, 5)


@main.command("rate")
@only
@seconds
@rounds
def rate_command(peers: list[Peer], seconds: float, rounds: int) -> None:
    """Messages per second with everything cached that may be."""
    _run(peers, rate.measure, seconds, rounds)


@main.command("cold")
@only
@messages
def cold_command(peers: list[Peer], messages: int) -> None:
    """The wait with nothing cached."""
    _run(peers, cold.measure, messages)


@main.command("memory")
@only
@clients
@megabytes
def memory_command(peers: list[Peer], clients: int, megabytes: int) -> None:
    """Peak memory with large messages."""
    _run(peers, memory.measure, clients, megabytes)


@main.command("sign")
@seconds
@rounds
def sign_command(seconds: float, rounds: int) -> None:
    """Messages signed per second."""
    _run([], sign_rate.measure, seconds, rounds)


@main.command("profile")
@click.option("--lines", default=30, show_default=True, help="Functions to show.")
def profile_command(lines: int) -> None:
    """Where our own check spends its time."""
    _run([], profiling.measure, lines)


@main.command("policy-rate")
@only_daemons
@short_turns
@more_rounds
def policy_rate_command(daemons: list[policy_peers.Peer], seconds: float, rounds: int) -> None:
    """Cached policy look-ups per second."""
    _run([], policy_rate.measure, daemons, seconds, rounds, milters=False)


@main.command("policy-new")
@only_daemons
@new_domains
@more_rounds
def policy_new_command(daemons: list[policy_peers.Peer], domains: int, rounds: int) -> None:
    """New policies per second, and what each needs for it."""
    _run([], policy_new.measure, daemons, domains, rounds, milters=False)


@main.command("policy-hang")
@only_daemons
@new_domains
@short_turns
@more_rounds
def policy_hang_command(daemons: list[policy_peers.Peer], domains: int, seconds: float, rounds: int) -> None:
    """The wait for cached answers while fetches hang."""
    _run([], policy_hang.measure, daemons, domains, seconds, rounds, milters=False)


@main.command("policy-memory")
@only_daemons
@policies
@more_rounds
def policy_memory_command(daemons: list[policy_peers.Peer], policies: int, rounds: int) -> None:
    """Memory and start with many cached policies."""
    _run([], policy_memory.measure, daemons, policies, rounds, milters=False)


@main.command("reports-rate")
@seconds
@rounds
def reports_rate_command(seconds: float, rounds: int) -> None:
    """The milter with and without counting for the reports."""
    _run([], reports.measure_rate, seconds, rounds, milters=False)


@main.command("reports-day")
@click.option("--messages", default=1_000_000, show_default=True, help="Messages of the day.")
@click.option("--domains", default=20_000, show_default=True, help="Domains that they are from.")
def reports_day_command(messages: int, domains: int) -> None:
    """A day of messages counted, and its reports sent through a real Postfix."""
    _run([], reports.measure_day, messages, domains, milters=False)


if __name__ == "__main__":
    main()
