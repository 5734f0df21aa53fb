"""The outbound half: a Postfix that asks the policy daemon before it sends, and a world to send to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.outbound_cases import RECIPIENTS, Delivery, Recipient, checks, declare
from demo.show import step
from tests.support.outbound import Outbound
from tests.support.sending_postfix import Fate

Outcomes = list[tuple[Recipient, Delivery]]


@contextmanager
def _world(console: Console) -> Iterator[Outbound]:
    world = Outbound(settings={"sts": {"wait": 10.0}})
    declare(world)
    with step(console, "a Postfix that sends, tlspolicyd, a signed DNS tree, MX hosts and an HTTPS policy host"):
        world.start()
    try:
        yield world
    finally:
        world.stop()


def _deliver(world: Outbound, recipient: Recipient, before: dict[str, Fate]) -> Delivery:
    """Send one message, or try the one again that is still in the queue."""
    if recipient.meanwhile:
        recipient.meanwhile(world, recipient.domain)
    known = len(world.hosts.find(recipient.rcpt))
    line = world.daemon.ask(recipient.domain)
    former = before.get(recipient.rcpt)
    if former is not None and former.status == "deferred":
        fate = world.postfix.retry(former, recipient.rcpt)
    else:
        fate = world.postfix.deliver(recipient.rcpt)
    before[recipient.rcpt] = fate
    return Delivery(line, fate, world.hosts.find(recipient.rcpt)[known:])


def run(console: Console) -> Outcomes:
    """Start the world, send to every recipient, stop it; gives what became of each message."""
    outcomes: Outcomes = []
    before: dict[str, Fate] = {}
    with _world(console) as world:
        for recipient in RECIPIENTS:
            with step(console, f"sent to {recipient.domain}: {recipient.story}"):
                outcomes.append((recipient, _deliver(world, recipient, before)))
    return outcomes


def show(console: Console, outcomes: Sequence[tuple[Recipient, Delivery]]) -> bool:
    """One row for each message, and what is wrong; returns whether all is as it should be."""
    table = Table(title="At the outbound gate", title_justify="left", show_lines=True)
    for name in ("recipient", "Postfix was told", "fate", "TLS", "Postfix's reason"):
        table.add_column(name, overflow="fold")
    wrong = []
    for recipient, delivery in outcomes:
        fate = delivery.fate
        style = "green" if fate.status == "sent" else "magenta"
        mail = delivery.mails[-1] if delivery.mails else None
        tls = f"{fate.tls.get(mail.host, '')} {mail.tls}".strip() if mail else ""
        table.add_row(
            f"[bold]{escape(recipient.domain)}[/]\n{escape(recipient.story)}",
            escape(delivery.line.strip()),
            f"[{style}]{escape(fate.status)}[/]",
            escape(tls or ("in clear" if mail else "")),
            escape(fate.text),
        )
        wrong += [(recipient, text) for text, holds in checks(recipient, delivery) if not holds]
    console.print()
    console.print(table)
    for recipient, text in wrong:
        console.print(f"  [bold red]WRONG[/]: {escape(recipient.domain)} ({escape(recipient.story)}): {escape(text)}")
    if not wrong:
        console.print("  [green]as it should be[/]: mail waits where TLS cannot be trusted and goes everywhere else")
    return not wrong
