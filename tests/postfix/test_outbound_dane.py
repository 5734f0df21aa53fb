"""DANE before MTA-STS through a real Postfix, a signed tree and a validating resolver (RFC 7672, RFC 8461 §2).

Each domain is called after its case. The site's default is `smtp_tls_security_level = dane`, as the docs say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.mx_host import StartTls
from tests.support.outbound import Outbound, policy
from tests.support.postfix_installation import HOST, Installation
from tests.support.sending_postfix import POLICY_MAP, POLICY_MAP_TLSRPT, Fate

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

NO_MATCH = f"3 0 1 {'ab' * 32}"
NOT_USABLE = f"3 0 99 {'ab' * 32}"  # an unknown kind of digest

FAULTS = {
    "unsigned": ["unsigned.example", "mx.unsigned-host.example"],
    "bogus": ["bogus.example", "_25._tcp.mx.bogus-tlsa.example", "_mta-sts.bogus-record.example"],
    "expired": ["expired.example"],
    "failing": ["_mta-sts.broken-delegation.example", "failing.example"],
    "tampered": [
        ("_25._tcp.mx1.one-bogus.example", "TLSA"),
        ("_25._tcp.mx1.one-bogus-policy.example", "TLSA"),
        ("mx.broken-aaaa.example", "AAAA"),
        ("_25._tcp.mx.tampered-policy.example", "TLSA"),
    ],
}


def declare(world: Outbound) -> None:
    """All domains of this file."""

    def two(name: str, first: dict[str, object], second: dict[str, object], *, enforced: bool) -> None:
        hosts = [world.mx(f"mx{n}.{name}.example", **what) for n, what in ((1, first), (2, second))]  # type: ignore[arg-type]
        world.domain(f"{name}.example", *hosts, policy=policy(*hosts) if enforced else None)

    def one(name: str, *, enforced: bool, **what: object) -> None:
        mx = world.mx(f"mx.{name}.example", **what)  # type: ignore[arg-type]
        world.domain(f"{name}.example", mx, policy=policy(mx) if enforced else None)

    one("dane-only", enforced=False, flaw="self-signed", tlsa="own")
    one("dane-not-pkix", enforced=True, flaw="self-signed", tlsa="own")
    one("pkix-not-dane", enforced=True, tlsa=NO_MATCH)
    one("not-usable", enforced=True, tlsa=NOT_USABLE)
    one("not-usable-bad", enforced=True, tlsa=NOT_USABLE, flaw="self-signed")
    # only some hosts have TLSA
    self_signed: dict[str, object] = {"flaw": "self-signed"}
    clear: dict[str, object] = {"starttls": StartTls.NONE}
    two("some", {"tlsa": NO_MATCH}, clear, enforced=False)
    two("some-policy", {"tlsa": NO_MATCH}, self_signed, enforced=True)
    two("some-policy-second", self_signed, {"tlsa": "own"}, enforced=True)
    # one host is broken
    two("one-bogus", {"tlsa": "own"}, {}, enforced=False)
    two("one-bogus-policy", {"tlsa": "own"}, {}, enforced=True)
    one("bogus-tlsa", enforced=False, tlsa="own")
    one("tampered-policy", enforced=True, tlsa="own")
    one("broken-aaaa", enforced=True)
    world.record("mx.broken-aaaa.example. 60 IN AAAA ::1")
    # whole zones
    one("unsigned", enforced=True)
    world.domain(
        "unsigned-host.example", world.mx("mx.unsigned-host.example"), policy=policy("mx.unsigned-host.example")
    )
    for name in ("bogus", "expired", "failing"):
        one(name, enforced=False)
    for name in ("broken-delegation", "bogus-record"):
        one(name, enforced=False)


@pytest.fixture(
    scope="module", params=[(HOST, POLICY_MAP), ("debian_13", POLICY_MAP_TLSRPT)], ids=["policy", "3.10-policy-tlsrpt"]
)
def world(request: pytest.FixtureRequest, outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    installation, policy_map = request.param
    if not isinstance(installation, Installation):
        installation = request.getfixturevalue(installation)
    made = outbound(installation=installation, policy_map=policy_map, faults=FAULTS)
    declare(made)
    with made:
        yield made


def deliver(world: Outbound, name: str) -> tuple[Fate, str]:
    """What became of a message, and the line that Postfix had got."""
    line = world.daemon.ask(f"{name}.example")
    return world.postfix.deliver(f"u@{name}.example"), line


def test_usable_tlsa_everywhere_is_dane_only(world: Outbound) -> None:
    fate, line = deliver(world, "dane-only")
    assert line == "OK dane-only"
    assert (fate.status, fate.tls) == ("sent", {"mx.dane-only.example": "Verified"}), fate.log


def test_tlsa_matches_where_pkix_would_not(world: Outbound) -> None:  # resolver#67, #92
    fate, line = deliver(world, "dane-not-pkix")
    assert line == "OK dane-only"
    assert (fate.status, fate.tls) == ("sent", {"mx.dane-not-pkix.example": "Verified"}), fate.log


def test_tlsa_does_not_match_where_pkix_would(world: Outbound) -> None:  # RFC 8461 §2
    fate, line = deliver(world, "pkix-not-dane")
    assert line == "OK dane-only"
    assert (fate.status, fate.dsn) == ("deferred", "4.7.5"), fate.log
    assert world.hosts.find("u@pkix-not-dane.example") == []


def test_tlsa_that_cannot_be_used_leaves_it_to_mta_sts(world: Outbound) -> None:
    fate, line = deliver(world, "not-usable")
    assert line.startswith("OK secure match=mx.not-usable.example servername=hostname")
    assert fate.status == "sent", fate.log
    assert deliver(world, "not-usable-bad")[0].status == "deferred"


def test_some_hosts_have_tlsa_and_no_policy(world: Outbound) -> None:
    """The host whose TLSA records do not match is passed over; the other takes the mail as it can."""
    fate, line = deliver(world, "some")
    assert line == "OK dane"
    assert (fate.status, fate.relay) == ("sent", "mx2.some.example"), fate.log


def test_some_hosts_have_tlsa_and_a_policy_is_enforced(world: Outbound) -> None:
    """The host without TLSA must not escape both."""
    fate, line = deliver(world, "some-policy")
    assert line == "OK dane-only"
    assert fate.status == "deferred", fate.log
    assert world.hosts.find("u@some-policy.example") == []
    fate, line = deliver(world, "some-policy-second")
    assert line == "OK dane-only"
    assert (fate.status, fate.relay) == ("sent", "mx2.some-policy-second.example"), fate.log


def test_one_host_with_a_bogus_tlsa_look_up_stops_only_itself(world: Outbound) -> None:
    """tlspol#189: one broken host at a large domain."""
    fate, line = deliver(world, "one-bogus")
    assert line == "OK dane"
    assert (fate.status, fate.relay) == ("sent", "mx2.one-bogus.example"), fate.log
    assert world.hosts.hosts["mx1.one-bogus.example"].for_rcpt("u@one-bogus.example") == []


def test_mta_sts_is_never_put_over_a_host_whose_tlsa_look_up_is_bogus(world: Outbound) -> None:
    fate, line = deliver(world, "one-bogus-policy")
    assert "mx1" not in line
    assert (fate.status, fate.relay) == ("sent", "mx2.one-bogus-policy.example"), fate.log
    assert fate.tls["mx2.one-bogus-policy.example"] == "Verified"
    fate, line = deliver(world, "tampered-policy")
    assert line == "OK dane-only"
    assert fate.status == "deferred", fate.log


def test_bogus_tlsa_of_the_only_host_defers(world: Outbound) -> None:
    fate, line = deliver(world, "bogus-tlsa")
    assert line == "OK dane"
    assert fate.status == "deferred", fate.log


def test_one_broken_address_family_does_not_stop_mail(world: Outbound) -> None:
    """tlspol#189: SERVFAIL for AAAA of an MX host."""
    fate, _ = deliver(world, "broken-aaaa")
    assert fate.status == "sent", fate.log


@pytest.mark.parametrize("name", ["unsigned", "unsigned-host"])
def test_mta_sts_decides_where_dane_cannot(world: Outbound, name: str) -> None:  # tlspol#8
    fate, line = deliver(world, name)
    assert line.startswith(f"OK secure match=mx.{name}.example servername=hostname")
    assert (fate.status, fate.tls) == ("sent", {f"mx.{name}.example": "Verified"}), fate.log


@pytest.mark.parametrize("name", ["bogus", "expired", "failing"])
def test_a_zone_that_fails_is_left_to_postfix(world: Outbound, name: str) -> None:
    fate, line = deliver(world, name)
    assert line == "NOTFOUND "
    assert fate.status == "deferred"
    assert "Name service error" in fate.text, fate.text


@pytest.mark.parametrize("name", ["broken-delegation", "bogus-record"])
def test_broken_mta_sts_record_does_not_stop_mail(world: Outbound, name: str) -> None:  # tlspol#4, #7, #82
    fate, line = deliver(world, name)
    assert line == "NOTFOUND "
    assert fate.status == "sent", fate.log


def test_no_answer_is_weaker_than_the_sites_own_level(outbound: Callable[..., Outbound]) -> None:
    """A host without TLSA would get mail in clear at the level `dane`; this site demands TLS of everybody."""
    made = outbound(postfix_settings={"smtp_tls_security_level": "encrypt"}, settings={"site_level": "encrypt"})
    first = made.mx("mx1.some.example", tlsa=NO_MATCH, runs=False)
    made.domain("some.example", first, made.mx("mx2.some.example", starttls=StartTls.NONE))
    with made:
        fate, line = deliver(made, "some")
        assert line == "NOTFOUND "
        assert fate.status == "deferred", fate.log
        assert "TLS is required, but was not offered by host mx2.some.example" in fate.log


@pytest.mark.parametrize("level", ["dane-only", "fingerprint"])
def test_an_enforce_policy_does_not_replace_a_stricter_level(outbound: Callable[..., Outbound], level: str) -> None:
    """The host has what the policy asks for, and not what this site asks of everybody."""
    made = outbound(postfix_settings={"smtp_tls_security_level": level}, settings={"site_level": level})
    made.domain("sts.example", made.mx("mx.sts.example"), policy=policy("mx.sts.example"))
    with made:
        fate, line = deliver(made, "sts")
        assert line == "NOTFOUND "
        assert fate.status == "deferred", fate.log
        assert made.hosts.find("u@sts.example") == []
        made.daemon.log.wait(f"own level {level} is stricter")
