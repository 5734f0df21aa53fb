"""The recipients of the outbound half: what each publishes, what its MX host shows, and what has to become of mail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.mx_host import Mail, StartTls
from tests.support.outbound import Outbound, policy
from tests.support.sending_postfix import Fate

_MISFIT = f"3 0 1 {'ab' * 32}"  # a TLSA record that fits no certificate


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message."""

    line: str  # the daemon's answer to Postfix
    fate: Fate
    mails: list[Mail]  # what arrived at whichever host


@dataclass(frozen=True, slots=True)
class Recipient:
    """One domain and what is expected of mail to it."""

    domain: str
    story: str
    declare: Callable[[Outbound, str], None]  # puts the domain into the world
    answer: str  # how the daemon's answer begins
    status: str  # sent or deferred
    tls: str = ""  # Postfix's word for the connection of what was sent, "" = in clear
    meanwhile: Callable[[Outbound, str], None] | None = None  # what happens before this message

    @property
    def rcpt(self) -> str:
        return f"you@{self.domain}"


def _mx(domain: str) -> str:
    return f"mx.{domain}"


def _domain(
    mode: str = "", *, flaw: str = "", starttls: StartTls = StartTls.GOOD, tlsa: str = ""
) -> Callable[..., None]:
    def declare(world: Outbound, domain: str) -> None:
        mx = world.mx(_mx(domain), flaw=flaw, starttls=starttls, tlsa=tlsa)
        world.domain(domain, mx, policy=policy(mx, mode=mode) if mode else None)

    return declare


def _impostor(world: Outbound, domain: str) -> None:
    world.domain(domain, world.mx("mx.mallory.example"), policy=policy(_mx(domain)))


def _already_there(world: Outbound, domain: str) -> None:
    """The domain of a recipient before."""


def _mend(world: Outbound, domain: str) -> None:
    world.hosts.hosts[_mx(domain)].certificate = world.certificate(world.credentials(_mx(domain)))


def _attack(world: Outbound, domain: str) -> None:
    """The policy host does not answer any more, the daemon starts anew, and the MX host shows another's certificate."""
    world.policy_host.host(domain).fault = "reset"
    world.hosts.hosts[_mx(domain)].certificate = world.certificate(world.credentials("mx.mallory.example"))
    world.daemon.wait_kept(domain)
    world.daemon.restart()


RECIPIENTS = (
    Recipient(
        "good.example", "MTA-STS enforce, everything in order", _domain("enforce"), "OK secure", "sent", "Verified"
    ),
    Recipient(
        "stripped.example",
        "MTA-STS enforce, somebody took STARTTLS away",
        _domain("enforce", starttls=StartTls.NONE),
        "OK secure",
        "deferred",
    ),
    Recipient(
        "other-name.example",
        "MTA-STS enforce, the certificate has another name",
        _domain("enforce", flaw="wrong-name"),
        "OK secure",
        "deferred",
    ),
    Recipient(
        "own-made.example",
        "MTA-STS enforce, the certificate is self-signed",
        _domain("enforce", flaw="self-signed"),
        "OK secure",
        "deferred",
    ),
    Recipient(
        "expired.example",
        "MTA-STS enforce, the certificate has expired",
        _domain("enforce", flaw="expired"),
        "OK secure",
        "deferred",
    ),
    Recipient(
        "expired.example",
        "the same message, after a new certificate",
        _already_there,
        "OK secure",
        "sent",
        "Verified",
        meanwhile=_mend,
    ),
    Recipient(
        "stolen.example",
        "MTA-STS enforce, a forged MX record leads to mallory",
        _impostor,
        "OK secure",
        "deferred",
    ),
    Recipient(
        "good.example",
        "policy host down, daemon restarted, a wrong certificate",
        _already_there,
        "OK secure",
        "deferred",
        meanwhile=_attack,
    ),
    Recipient(
        "testing.example",
        "MTA-STS testing, the certificate is self-signed",
        _domain("testing", flaw="self-signed"),
        "NOTFOUND",
        "sent",
        "Untrusted",
    ),
    Recipient("simple.example", "no policy, no TLS", _domain(starttls=StartTls.NONE), "NOTFOUND", "sent"),
    Recipient(
        "dane.example",
        "TLSA fits a self-signed certificate; MTA-STS would refuse it",
        _domain("enforce", flaw="self-signed", tlsa="own"),
        "OK dane-only",
        "sent",
        "Verified",
    ),
    Recipient(
        "dane-broken.example",
        "TLSA fits not; MTA-STS would let it pass",
        _domain("enforce", tlsa=_MISFIT),
        "OK dane-only",
        "deferred",
    ),
)


def declare(world: Outbound) -> None:
    """Put all recipients into the world."""
    for recipient in RECIPIENTS:
        recipient.declare(world, recipient.domain)


def checks(recipient: Recipient, delivery: Delivery) -> list[tuple[str, bool]]:
    """What was to be and whether it is."""
    fate = delivery.fate
    found = [
        (f"Postfix was told {recipient.answer}", delivery.line.startswith(recipient.answer)),
        (recipient.status, fate.status == recipient.status),
    ]
    if recipient.status != "sent":
        return [*found, ("nothing arrived anywhere", not delivery.mails)]
    host = _mx(recipient.domain)
    found.append((f"arrived at {host} alone", [mail.host for mail in delivery.mails] == [host]))
    found.append((f"TLS: {recipient.tls or 'none'}", fate.tls.get(host, "") == recipient.tls))
    return found
