"""A world of recipients with every defect of TLS, and what a report says about each: for the tests of TLS reports.

Each domain is called after its case. All want their reports at `tls@reports.example`, whose own MX host has an expired
certificate under an enforced policy: reports have to be delivered despite that (RFC 8460 §3).
"""

from __future__ import annotations

import datetime
import email
import email.policy
import gzip
import json
import time
from collections import Counter
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from mailcommon.store import open_store
from tests.support.mx_host import StartTls
from tests.support.outbound import Outbound, policy
from tests.support.waiting import wait_until
from tlspolicyd import report_commands
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import tables

CONTACT = "tls-reports@home.example"
BOX = "tls@reports.example"
BROKEN_BOX = "reports.example"
REPORTING = {"smtp_tlsrpt_enable": "yes", "smtp_tlsrpt_socket_name": "tlspolicyd/tlsrpt.sock"}

NO_MATCH = f"3 0 1 {'ab' * 32}"
NOT_USABLE = f"3 0 99 {'ab' * 32}"
FAULTS = {
    "unsigned": ["unsigned.example"],
    "bogus": ["_25._tcp.mx.bogus-tlsa.example"],
    "tampered": [("_25._tcp.mx1.one-bogus.example", "TLSA")],
}
_STARTTLS = {
    "no-starttls": StartTls.NONE,
    "starttls-refused": StartTls.REFUSED,
    "starttls-broken": StartTls.BROKEN,
}
MODES = ("enforce", "testing", "none", "nopol")
DEFECTS = ("good", *_STARTTLS, "wrong-name", "expired", "self-signed", "unknown-ca")


@dataclass(frozen=True, slots=True)
class Told:
    """What a report says of one policy."""

    type: str
    good: int = 0
    failed: int = 0
    failures: tuple[tuple[str, int], ...] = ()  # result type, sessions


def good(kind: str) -> tuple[Told, ...]:
    return (Told(kind, 1),)


def bad(kind: str, *results: str) -> tuple[Told, ...]:
    return (Told(kind, 0, 1, tuple(sorted((result, 1) for result in results))),)


NOTHING: tuple[Told, ...] = ()
NONE = "no-policy-found"
# What Postfix 3.10 tells by its datagrams, and the daemon adds
BY_DATAGRAMS: dict[str, tuple[Told, ...]] = {
    "enforce-good": good("sts"),
    "enforce-no-starttls": bad("sts", "starttls-not-supported"),
    "enforce-starttls-refused": bad("sts", "starttls-not-supported"),
    "enforce-starttls-broken": bad("sts", "validation-failure"),
    "enforce-wrong-name": bad("sts", "certificate-host-mismatch"),
    "enforce-expired": bad("sts", "certificate-expired"),
    "enforce-self-signed": bad("sts", "certificate-not-trusted"),
    "enforce-unknown-ca": bad("sts", "certificate-not-trusted"),
    # nobody checked a certificate; what breaks TLS breaks the policy
    **{f"testing-{defect}": good(NONE) for defect in ("good", "wrong-name", "expired", "self-signed", "unknown-ca")},
    "testing-starttls-broken": bad("sts", "validation-failure"),
    **{
        f"{mode}-{defect}": good(NONE)
        for mode in ("none", "nopol")
        for defect in ("good", "wrong-name", "expired", "self-signed", "unknown-ca")
    },
    "none-starttls-broken": bad(NONE, "validation-failure"),
    "nopol-starttls-broken": bad(NONE, "validation-failure"),
    # Postfix tells nothing of a host that takes mail in clear where nothing demands TLS
    **{f"{mode}-{d}": NOTHING for mode in MODES[1:] for d in ("no-starttls", "starttls-refused")},
    # nor of hosts that it passes over without a connection
    "outside": NOTHING,
    "bogus-tlsa": NOTHING,
    "nothing-runs": NOTHING,
    "fetch-fault": bad("sts", "sts-policy-fetch-error"),
    "bad-host": bad("sts", "sts-webpki-invalid"),
    "invalid": bad("sts", "sts-policy-invalid"),
    "no-usable-mx": bad("sts", "sts-policy-invalid"),
    "dane-good": good("tlsa"),
    "dane-nomatch": bad("tlsa", "certificate-not-trusted"),
    "dane-nomatch-policy": bad("tlsa", "certificate-not-trusted"),
    "dane-unusable": bad("tlsa", "tlsa-invalid"),
    "dane-unusable-policy": good("sts"),
    "dane-no-starttls": bad("tlsa", "starttls-not-supported"),
    "one-bogus": good(NONE),
    "two": (*bad("tlsa", "certificate-not-trusted"), *good("tlsa")),
    "unsigned": good("sts"),
    "twice": (Told("sts", 2),),
}
# What can be told from the log of any version: less about good sessions, more about hosts that are passed over
BY_LOG: dict[str, tuple[Told, ...]] = {
    **BY_DATAGRAMS,
    # the log says whether the chain was trusted, and that is all
    **{
        f"testing-{defect}": bad("sts", "certificate-not-trusted")
        for defect in ("expired", "self-signed", "unknown-ca")
    },
    # mail that was sent without a word about TLS
    **{
        f"{mode}-{defect}": bad("sts" if mode == "testing" else NONE, "starttls-not-supported")
        for mode in MODES[1:]
        for defect in ("no-starttls", "starttls-refused")
    },
    "bogus-tlsa": bad("tlsa", "dnssec-invalid"),
    "one-bogus": (*bad("tlsa", "dnssec-invalid"), *good(NONE)),
}


def declare(world: Outbound) -> None:
    """All domains."""

    def domain(name: str, *mx: str, **options: Any) -> None:
        world.domain(f"{name}.example", *mx, **options)
        world.record(f'_smtp._tls.{name}.example. 60 IN TXT "v=TLSRPTv1; rua=mailto:{BOX}"')

    def one(name: str, *, enforced: bool = False, **what: Any) -> None:
        mx = world.mx(f"mx.{name}.example", **what)
        domain(name, mx, policy=policy(mx) if enforced else None)

    for mode in MODES:
        for defect in DEFECTS:
            name = f"{mode}-{defect}"
            flaw = "" if defect in _STARTTLS or defect == "good" else defect
            mx = world.mx(f"mx.{name}.example", starttls=_STARTTLS.get(defect, StartTls.GOOD), flaw=flaw)
            domain(name, mx, policy=None if mode == "nopol" else policy(mx, mode=mode))
    domain("outside", world.mx("mx.impostor.example"), policy=policy("mx.outside.example"))
    domain("nothing-runs", world.mx("mx.nothing-runs.example", runs=False), policy=policy("mx.nothing-runs.example"))
    domain("fetch-fault", world.mx("mx.fetch-fault.example"), policy=policy("mx.fetch-fault.example"), fault="reset")
    domain("bad-host", world.mx("mx.bad-host.example"))
    world.record('_mta-sts.bad-host.example. 60 IN TXT "v=STSv1; id=1;"')
    world.record("mta-sts.bad-host.example. 60 IN A 127.0.0.1")
    world.policy_host.add(
        "bad-host.example",
        policy("mx.bad-host.example"),
        credentials=world.credentials("mta-sts.bad-host.example", flaw="expired"),
    )
    domain("invalid", world.mx("mx.invalid.example"), policy="version: STSv1\r\nmode: enforce\r\nmax_age: 1000\r\n")
    domain("no-usable-mx", world.mx("mx.no-usable-mx.example"), policy=policy("hostname"))
    one("dane-good", tlsa="own")
    one("dane-nomatch", tlsa=NO_MATCH)
    one("dane-nomatch-policy", enforced=True, tlsa=NO_MATCH)
    one("dane-unusable", tlsa=NOT_USABLE)
    one("dane-unusable-policy", enforced=True, tlsa=NOT_USABLE)
    one("dane-no-starttls", tlsa="own", starttls=StartTls.NONE)
    one("bogus-tlsa", tlsa="own")
    one("unsigned", enforced=True)
    one("twice", enforced=True)
    domain("one-bogus", world.mx("mx1.one-bogus.example", tlsa="own"), world.mx("mx2.one-bogus.example"))
    both = world.mx("mx1.two.example", tlsa=NO_MATCH), world.mx("mx2.two.example", tlsa="own")
    domain("two", *both, policy=policy(*both))
    box = world.mx("mx.reports.example", flaw="expired")
    world.domain(BROKEN_BOX, box, policy=policy(box))
    world.record(f'_smtp._tls.{BROKEN_BOX}. 60 IN TXT "v=TLSRPTv1; rua=mailto:{BOX}"')


def deliver_all(world: Outbound) -> None:
    """One message to each domain, two to one of them."""
    for name in [*BY_DATAGRAMS, "twice"]:
        world.postfix.deliver(f"u@{name}.example")


def settings_of(world: Outbound, **tlsrpt: Any) -> Settings:
    """The daemon's settings, for the commands."""
    given = {**world.daemon.settings}
    given["tlsrpt"] = {**given["tlsrpt"], "smtp": f"127.0.0.1:{world.postfix.ports['smtp']}", **tlsrpt}
    return Settings.model_validate(given)


def counted(world: Outbound) -> dict[str, int]:
    """Domain -> sessions in the store."""
    store = open_store(world.daemon.settings["tlsrpt"]["store"], [tables.SCHEMA])
    try:
        found: Counter[str] = Counter()
        for each in tables.pending(store, datetime.date.max):
            found[each.domain] += each.sessions
        return dict(found)
    finally:
        store.close()


def wait_counted(world: Outbound, expected: dict[str, tuple[Told, ...]]) -> None:
    """Until the store has as many sessions as are expected."""
    wanted = {f"{name}.example": sum(t.good + t.failed for t in told) for name, told in expected.items() if told}

    def all_there() -> bool:
        found = counted(world)
        return all(found.get(domain, 0) >= number for domain, number in wanted.items())

    wait_until(
        all_there, "the sessions", context=lambda: f"{wanted}\n{counted(world)}\n{world.daemon.log.text()[-3000:]}"
    )


def tomorrow() -> float:
    """A clock that is a day ahead: the day of the test is over."""
    return time.time() + 86_400


def send(world: Outbound, **tlsrpt: Any) -> str:
    """`tlspolicyd report send`, a day later."""
    return report_commands.send(settings_of(world, **tlsrpt), at_once=True, clock=tomorrow)


def read_report(mail: bytes) -> tuple[EmailMessage, dict[str, Any]]:
    """A report's mail and what it says."""
    message = email.message_from_bytes(mail, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    (part,) = [part for part in message.walk() if part.get_content_type() == "application/tlsrpt+gzip"]
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    told = json.loads(gzip.decompress(payload))
    assert isinstance(told, dict)
    return message, told


def summary(told: dict[str, Any]) -> tuple[Told, ...]:
    """What a report says, to be compared."""
    found = []
    for policy_ in told["policies"]:
        failures: Counter[str] = Counter()
        for failure in policy_["failure-details"]:
            failures[failure["result-type"]] += failure["failed-session-count"]
        counts = policy_["summary"]
        found.append(
            Told(
                policy_["policy"]["policy-type"],
                counts["total-successful-session-count"],
                counts["total-failure-session-count"],
                tuple(sorted(failures.items())),
            )
        )
    return tuple(sorted(found, key=str))
