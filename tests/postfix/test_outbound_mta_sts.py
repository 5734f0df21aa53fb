"""MTA-STS through a real Postfix: who gets mail, over which TLS, and who does not (RFC 8461 §4, §5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.mx_host import StartTls
from tests.support.outbound import Outbound, policy
from tests.support.postfix_installation import HOST, Installation
from tests.support.sending_postfix import POLICY_MAP, POLICY_MAP_TLSRPT
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

# What is wrong with the MX host of a domain with an enforce policy -> part of Postfix's reason
REFUSED = {
    "no-starttls": "TLS is required, but was not offered",
    "starttls-refused": "TLS is required, but host",
    "starttls-broken": "Cannot start TLS: handshake failure",
    "wrong-name": "Server certificate not verified",
    "expired": "Server certificate not",
    "self-signed": "Server certificate not",
    "unknown-ca": "Server certificate not",
}
_STARTTLS = {
    "no-starttls": StartTls.NONE,
    "starttls-refused": StartTls.REFUSED,
    "starttls-broken": StartTls.BROKEN,
}
MATCHES_NAMES = (3, 10, 5)  # from here on Postfix compares MX names with the patterns (RFC 8461 §4.1)
NO_TLS_NEEDED = ("no-policy", "testing", "none")


def declare(world: Outbound) -> None:
    """All domains of this file, each called after what is special about it."""

    def plain(name: str, *, mode: str = "enforce", starttls: StartTls = StartTls.GOOD, flaw: str = "") -> None:
        mx = world.mx(f"mx.{name}.example", starttls=starttls, flaw=flaw)
        world.domain(f"{name}.example", mx, policy=None if mode == "no-policy" else policy(mx, mode=mode))

    for name in ("good", "xn--bcher-kva", "mended", "remembered", "renewed"):
        plain(name)
    for name in REFUSED:
        plain(name, starttls=_STARTTLS.get(name, StartTls.GOOD), flaw="" if name in _STARTTLS else name)
    world.domain("outside.example", world.mx("mx.impostor.example"), policy=policy("mx.outside.example"))
    both = world.credentials("mx.borrowed.example", "mx.elsewhere.example")
    borrower = world.mx("mx.elsewhere.example", credentials=both)
    world.domain("borrowed.example", borrower, policy=policy("mx.borrowed.example"))
    for mode in NO_TLS_NEEDED:
        plain(f"{mode}-clear", mode=mode, starttls=StartTls.NONE)
        plain(f"{mode}-untrusted", mode=mode, flaw="self-signed")
        plain(f"{mode}-good", mode=mode)
    right = world.mx("mx.second.example")
    world.domain("second.example", world.mx("mx.first.example"), right, policy=policy(right))
    world.domain("wildcard.example", world.mx("a.mx.wildcard.example"), policy=policy("*.mx.wildcard.example"))
    world.domain("sub.good.example", world.mx("mx.sub.good.example", starttls=StartTls.NONE))


@pytest.fixture(
    scope="module", params=[(HOST, POLICY_MAP), ("debian_13", POLICY_MAP_TLSRPT)], ids=["policy", "3.10-policy-tlsrpt"]
)
def world(request: pytest.FixtureRequest, outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    installation, policy_map = request.param
    if not isinstance(installation, Installation):
        installation = request.getfixturevalue(installation)
    made = outbound(installation=installation, policy_map=policy_map)
    declare(made)
    with made:
        yield made


def test_delivered_to_the_right_mx_over_verified_tls(world: Outbound) -> None:
    fate = world.postfix.deliver("u@good.example")
    assert (fate.status, fate.relay) == ("sent", "mx.good.example")
    assert fate.tls == {"mx.good.example": "Verified"}
    (mail,) = world.hosts.find("u@good.example")
    assert mail.host == "mx.good.example"
    assert mail.tls in ("TLSv1.2", "TLSv1.3")  # RFC 8461 §7.1
    assert mail.server_name == "mx.good.example"  # RFC 8461 §7.1: SNI is the MX host's name


@pytest.mark.parametrize("name", REFUSED)
def test_refused(world: Outbound, name: str) -> None:
    fate = world.postfix.deliver(f"u@{name}.example")
    assert (fate.status, fate.dsn[:3]) == ("deferred", "4.7"), fate.log
    assert REFUSED[name] in fate.text, fate.text
    assert world.hosts.find(f"u@{name}.example") == []


def test_mx_host_that_the_policy_does_not_name(world: Outbound) -> None:
    fate = world.postfix.deliver("u@outside.example")
    assert fate.status == "deferred", fate.log
    assert world.hosts.find("u@outside.example") == []
    if world.postfix.installation.version >= MATCHES_NAMES:
        assert "MX name 'mx.impostor.example' does not match STS MX pattern for 'outside.example'" in fate.log
    else:
        assert "Server certificate not verified" in fate.text


def test_certificate_for_the_policy_name_at_another_mx_host(world: Outbound) -> None:
    """Postfix before 3.10.5 looks at the certificate's names only: complaint 8 of the peers' users."""
    fate = world.postfix.deliver("u@borrowed.example")
    strict = world.postfix.installation.version >= MATCHES_NAMES
    assert fate.status == ("deferred" if strict else "sent"), fate.log


def test_the_mx_host_that_the_policy_does_not_name_is_passed_over(world: Outbound) -> None:
    fate = world.postfix.deliver("u@second.example")
    assert (fate.status, fate.relay) == ("sent", "mx.second.example")
    assert [mail.host for mail in world.hosts.find("u@second.example")] == ["mx.second.example"]


def test_wildcard_in_the_policy(world: Outbound) -> None:
    fate = world.postfix.deliver("u@wildcard.example")
    assert fate.status == "sent", fate.text
    assert fate.tls == {"a.mx.wildcard.example": "Verified"}


@pytest.mark.parametrize("rcpt", ["u@GOOD.Example", "u@bücher.example", "u@xn--bcher-kva.example"])
def test_however_the_domain_is_written(world: Outbound, rcpt: str) -> None:
    fate = world.postfix.deliver(rcpt, utf8=not rcpt.isascii())
    assert fate.status == "sent", fate.text
    assert list(fate.tls.values()) == ["Verified"]


@pytest.mark.parametrize("mode", NO_TLS_NEEDED)
@pytest.mark.parametrize(("host", "tls"), [("clear", []), ("untrusted", ["Untrusted"]), ("good", ["Trusted"])])
def test_delivered_as_before_where_nothing_is_enforced(world: Outbound, mode: str, host: str, tls: list[str]) -> None:
    fate = world.postfix.deliver(f"u@{mode}-{host}.example")
    assert fate.status == "sent", fate.text
    assert list(fate.tls.values()) == tls


def test_a_policy_does_not_hold_for_subdomains(world: Outbound) -> None:  # RFC 8461 §3.4
    assert world.postfix.deliver("u@good.example").status == "sent"
    assert world.postfix.deliver("u@sub.good.example").status == "sent"


def test_deferred_and_delivered_later_once_mended(world: Outbound) -> None:
    rcpt, host = "u@mended.example", world.hosts.hosts["mx.mended.example"]
    good = host.certificate
    host.certificate = world.certificate(world.credentials(host.name, flaw="expired"))
    first = world.postfix.deliver(rcpt)
    assert first.status == "deferred"
    assert host.mails == []
    host.certificate = good
    second = world.postfix.retry(first, rcpt)
    assert second.status == "sent", second.text
    assert len(host.for_rcpt(rcpt)) == 1


def test_policy_host_down_and_the_daemon_killed_with_a_cached_policy(world: Outbound) -> None:
    rcpt, host = "u@remembered.example", world.hosts.hosts["mx.remembered.example"]
    assert world.postfix.deliver(rcpt).status == "sent"
    requests = world.policy_host.host("remembered.example").requests
    world.policy_host.host("remembered.example").fault = "reset"
    host.certificate = world.certificate(world.credentials("mx.else.example"))
    world.daemon.wait_kept("remembered.example")
    world.daemon.restart()
    fate = world.postfix.deliver(rcpt)
    assert fate.status == "deferred"
    assert "Server certificate not verified" in fate.text
    assert world.policy_host.host("remembered.example").requests == requests


def test_a_new_policy_is_seen(world: Outbound) -> None:
    """What postfix-tlspol's and the resolver's users missed: a changed policy counts before the old one ends."""
    rcpt, domain = "u@renewed.example", "renewed.example"
    assert world.postfix.deliver(rcpt).status == "sent"
    world.policy_host.host(domain).policy = policy("mx.other.example")
    world.replace_record(f'_mta-sts.{domain}. 60 IN TXT "v=STSv1; id=2;"')
    world.daemon.wait_kept(domain)
    world.daemon.restart()  # it would have the old record for the rest of its TTL
    wait_until(lambda: "mx.other.example" in world.daemon.ask(domain), "the new policy", interval=0.1)
    fate = world.postfix.deliver(rcpt)
    assert fate.status == "deferred", fate.text
