"""DANE facts from real DNS packets: signed and unsigned zones, aliases, and faults of each host and family."""

from __future__ import annotations

import asyncio

import pytest

from mailcommon.dns.async_resolver import AsyncDnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.tls_facts import facts, sts
from tlspolicyd.dane.lookup import look_up
from tlspolicyd.decide import decide
from tlspolicyd.facts import DaneFact, Tlsa

DIGEST = "ab" * 32
ZONE = f"""
a.example. 300 IN MX 10 mx1.a.example.
a.example. 300 IN MX 20 mx2.a.example.
mx1.a.example. 200 IN A 192.0.2.1
mx2.a.example. 100 IN A 192.0.2.2
_25._tcp.mx1.a.example. 60 IN TLSA 3 1 1 {DIGEST}
_25._tcp.mx2.a.example. 90 IN TLSA 3 1 1 {DIGEST}
_587._tcp.mx1.a.example. 90 IN TLSA 3 1 1 {DIGEST}
"""
SIGNED = ";FAULT * * ad\n"


def ask(
    zone: str, domain: str = "a.example", *, port: int = 25, seconds: float = 10.0, every: bool = False,
    timeout: float = 2.0,
) -> tuple[DaneFact, list[str]]:  # fmt: skip
    """The fact, and what was asked for it, sorted."""
    with FakeDns(zone) as dns:

        async def run() -> DaneFact:
            resolver = AsyncDnsResolver(DnsSettings((dns.address,), timeout))
            try:
                return await look_up(resolver, domain, port=port, seconds=seconds, every=every)
            finally:
                await resolver.close()

        fact = asyncio.run(run())
        return fact, sorted({f"{query.rdtype} {query.name}" for query in dns.queries})


def tlsa(fact: DaneFact) -> list[Tlsa]:
    return [host.tlsa for host in fact.hosts]


def rule(fact: DaneFact) -> str:
    return decide(facts(fact, sts())).rule


def test_pfx_40_signed_domain() -> None:
    fact, asked = ask(SIGNED + ZONE)
    assert [(host.name, host.preference, host.secure, host.tlsa) for host in fact.hosts] == [
        ("mx1.a.example", 10, True, Tlsa.USABLE),
        ("mx2.a.example", 20, True, Tlsa.USABLE),
    ]
    assert fact.mx_secure
    assert fact.expires_in == 60  # the least TTL
    assert fact.hosts[0].records == (f"3 1 1 {DIGEST}",)
    assert asked == [
        "A mx1.a.example", "A mx2.a.example", "MX a.example", "TLSA _25._tcp.mx1.a.example",
        "TLSA _25._tcp.mx2.a.example",
    ]  # fmt: skip
    assert rule(fact) == "dane-all"


def test_unsigned_domain_costs_one_query() -> None:
    fact, asked = ask(ZONE)
    assert asked == ["MX a.example"]
    assert not fact.mx_secure
    assert fact.reason == "the MX records are not signed"
    assert fact.expires_in == 300
    assert rule(fact) == "insecure-mx"


UNSIGNED_MX = ";FAULT a.example. MX delay=0\n" + SIGNED + ZONE


def test_complaint_3_dane_only_where_the_mx_set_is_not_signed() -> None:
    fact, asked = ask(UNSIGNED_MX)
    assert asked == ["MX a.example"]
    assert decide(facts(fact, sts())).level == ""
    fact, _ = ask(UNSIGNED_MX, every=True)  # what the query tool sees
    assert tlsa(fact) == [Tlsa.USABLE, Tlsa.USABLE]
    assert not fact.mx_secure
    assert decide(facts(fact, sts())).level == ""


def test_no_tlsa_query_in_an_unsigned_zone() -> None:
    """RFC 7672 section 2.2.2: name servers of unsigned zones often fail on it."""
    zone = ";FAULT a.example. MX ad\n;FAULT mx2.a.example. A ad\n;FAULT _25._tcp.mx2.a.example. TLSA ad\n"
    fact, asked = ask(zone + ";FAULT _25._tcp.mx1.a.example. TLSA servfail\n" + ZONE)
    assert "TLSA _25._tcp.mx1.a.example" not in asked
    assert tlsa(fact) == [Tlsa.NONE, Tlsa.USABLE]
    assert rule(fact) == "dane-some"


@pytest.mark.parametrize("fault", ["servfail", "bogus", "timeout", "refused", "garbage"])
def test_complaint_2_one_failing_tlsa_lookup_is_one_host(fault: str) -> None:
    fact, _ = ask(f"{SIGNED};FAULT _25._tcp.mx1.a.example. TLSA {fault}\n{ZONE}", timeout=0.3)
    assert tlsa(fact) == [Tlsa.FAILED, Tlsa.USABLE]
    assert "TLSA records could not be looked up" in fact.hosts[0].reason
    assert 0 < fact.expires_in <= 5
    assert rule(fact) == "dane-some"


@pytest.mark.parametrize("fault", ["servfail", "bogus", "timeout"])
@pytest.mark.parametrize(("broken", "present"), [("AAAA", "A 192.0.2.9"), ("A", "AAAA 2001:db8::9")])
def test_complaint_2_one_broken_address_family(broken: str, present: str, fault: str) -> None:
    zone = f"b.example. MX 1 mx.b.example.\nmx.b.example. {present}\n_25._tcp.mx.b.example. TLSA 3 1 1 {DIGEST}\n"
    fact, _ = ask(f"{SIGNED};FAULT mx.b.example. {broken} {fault}\n{zone}", "b.example", timeout=1.0)
    assert tlsa(fact) == [Tlsa.USABLE]
    assert rule(fact) == "dane-all"


@pytest.mark.parametrize("fault", ["servfail", "bogus"])
def test_complaint_2_host_whose_delegation_is_broken(fault: str) -> None:
    fact, _ = ask(f"{SIGNED};FAULT mx1.a.example. * {fault}\n{ZONE}")
    assert tlsa(fact) == [Tlsa.FAILED, Tlsa.USABLE]
    assert rule(fact) == "dane-some"


def test_only_ipv6() -> None:
    fact, _ = ask(SIGNED + ZONE.replace("mx1.a.example. 200 IN A 192.0.2.1", "mx1.a.example. AAAA 2001:db8::1"))
    assert tlsa(fact) == [Tlsa.USABLE, Tlsa.USABLE]


def test_host_without_address_does_not_count() -> None:
    fact, asked = ask(SIGNED + ZONE.replace("mx1.a.example. 200 IN A 192.0.2.1", ""))
    assert [host.address for host in fact.hosts] == [False, True]
    assert "AAAA mx1.a.example" in asked
    assert "TLSA _25._tcp.mx1.a.example" not in asked
    assert rule(fact) == "dane-all"


@pytest.mark.parametrize("fault", ["servfail", "bogus", "timeout"])
def test_mx_lookup_failed(fault: str) -> None:
    fact, _ = ask(f"{SIGNED};FAULT a.example. MX {fault}\n{ZONE}", timeout=0.3)
    assert fact.mx_failed
    assert fact.reason.startswith("the MX look-up ")
    assert 0 < fact.expires_in <= 5
    assert rule(fact) == "mx-failed"


def test_port_of_the_key() -> None:
    fact, asked = ask(SIGNED + ZONE, port=587)
    assert tlsa(fact) == [Tlsa.USABLE, Tlsa.NONE]
    assert "TLSA _587._tcp.mx1.a.example" in asked


@pytest.mark.parametrize("signed", [True, False])
def test_null_mx(signed: bool) -> None:
    fact, asked = ask((SIGNED if signed else "") + "n.example. 300 MX 0 .", "n.example")
    assert (fact.null_mx, fact.hosts) == (True, ())
    assert asked == ["MX n.example"]
    assert rule(fact) == "null-mx"


IMPLICIT = f"i.example. 300 A 192.0.2.1\n_25._tcp.i.example. 60 TLSA 3 1 1 {DIGEST}\n"


def test_implicit_mx_rfc_7672_2_2_2() -> None:
    fact, asked = ask(SIGNED + IMPLICIT, "i.example")
    assert fact.implicit_mx
    assert [host.name for host in fact.hosts] == ["i.example"]
    assert rule(fact) == "dane-all"
    assert asked == ["A i.example", "MX i.example", "TLSA _25._tcp.i.example"]


def test_implicit_mx_of_an_unsigned_zone_costs_one_query() -> None:
    fact, asked = ask(IMPLICIT, "i.example")
    assert asked == ["MX i.example"]
    assert not fact.mx_secure


@pytest.mark.parametrize("signed", [True, False])
def test_domain_that_does_not_exist(signed: bool) -> None:
    fact, asked = ask((SIGNED if signed else "") + ZONE, "gone.example")
    assert fact.hosts == ()
    assert fact.reason == "the domain does not exist"
    assert asked == ["MX gone.example"]
    assert rule(fact) == "no-policy"


ALIAS = """
c.example. 300 MX 5 mx.c.example.
mx.c.example. 300 CNAME step.c.example.
step.c.example. 50 CNAME real.h.example.
real.h.example. 300 A 192.0.2.7
"""
AT_END = f"_25._tcp.real.h.example. 300 TLSA 3 1 1 {DIGEST}\n"
AT_NAME = f"_25._tcp.mx.c.example. 300 TLSA 2 0 1 {DIGEST}\n"


@pytest.mark.parametrize(
    ("records", "found"),
    [(AT_END + AT_NAME, "3 1 1"), (AT_END, "3 1 1"), (AT_NAME, "2 0 1")],
    ids=["the end first", "only there", "then the name"],
)
def test_alias_that_is_signed_to_its_end_rfc_7672_2_2_2(records: str, found: str) -> None:
    fact, _ = ask(SIGNED + ALIAS + records, "c.example")
    assert tlsa(fact) == [Tlsa.USABLE]
    assert fact.hosts[0].records[0].startswith(found)
    assert fact.expires_in == 50


HALF = ";FAULT c.example. MX ad\n;FAULT mx.c.example. CNAME ad\n;FAULT _25._tcp.mx.c.example. TLSA ad\n"


def test_alias_of_which_only_the_first_step_is_signed() -> None:
    fact, asked = ask(HALF + ALIAS + AT_NAME + AT_END, "c.example")
    assert tlsa(fact) == [Tlsa.USABLE]
    assert fact.hosts[0].records[0].startswith("2 0 1")
    assert "TLSA _25._tcp.real.h.example" not in asked


def test_alias_that_is_not_signed() -> None:
    fact, asked = ask(";FAULT c.example. MX ad\n" + ALIAS + AT_NAME + AT_END, "c.example")
    assert tlsa(fact) == [Tlsa.NONE]
    assert not any(query.startswith("TLSA") for query in asked)


@pytest.mark.parametrize("where", ["mx.c.example", "step.c.example"])
def test_alias_that_cannot_be_followed(where: str) -> None:
    fact, _ = ask(f"{SIGNED};FAULT {where}. CNAME servfail\n{ALIAS}{AT_END}", "c.example")
    assert tlsa(fact) == [Tlsa.FAILED]


def test_failure_at_the_end_of_an_alias_is_not_made_good_by_the_name() -> None:
    fact, _ = ask(f"{SIGNED};FAULT _25._tcp.real.h.example. TLSA bogus\n{ALIAS}{AT_NAME}{AT_END}", "c.example")
    assert tlsa(fact) == [Tlsa.FAILED]


def test_domain_that_is_an_alias() -> None:
    zone = "w.example. CNAME a.example.\n" + ZONE
    assert rule(ask(SIGNED + zone, "w.example")[0]) == "dane-all"
    assert not ask(zone, "w.example")[0].mx_secure


def test_implicit_mx_behind_a_half_signed_alias() -> None:
    zone = ";FAULT mx.c.example. CNAME ad\n;FAULT _25._tcp.mx.c.example. TLSA ad\n"
    fact, _ = ask(zone + ALIAS + AT_NAME, "mx.c.example")
    assert fact.implicit_mx
    assert rule(fact) == "dane-all"


def test_tlsa_records_that_are_not_signed_do_not_count() -> None:
    unsigned = "".join(f";FAULT _25._tcp.mx{n}.a.example. TLSA delay=0\n" for n in (1, 2))
    fact, _ = ask(SIGNED + unsigned + ZONE)
    assert tlsa(fact) == [Tlsa.NONE, Tlsa.NONE]


def test_unusable_records_ask_for_tls_rfc_7672_2_2() -> None:
    zone = ZONE.replace(f"TLSA 3 1 1 {DIGEST}", f"TLSA 1 1 1 {DIGEST}")
    fact, _ = ask(SIGNED + zone)
    assert tlsa(fact) == [Tlsa.UNUSABLE, Tlsa.UNUSABLE]
    assert rule(fact) == "dane-unusable"


def test_twenty_hosts_at_most_the_preferred_ones() -> None:
    zone = "".join(f"m.example. MX {n} h{n}.m.example.\nh{n}.m.example. A 192.0.2.1\n" for n in range(40))
    fact, _ = ask(SIGNED + zone, "m.example")
    assert [host.preference for host in fact.hosts] == list(range(20))


def test_slow_hosts_count_as_failed_in_time() -> None:
    zone = f"{SIGNED};FAULT _25._tcp.mx1.a.example. TLSA delay=30\n{ZONE}"
    fact, _ = ask(zone, seconds=0.5, timeout=20.0)
    assert tlsa(fact) == [Tlsa.FAILED, Tlsa.USABLE]
    assert fact.hosts[0].reason == "the look-up took too long"
    fact, _ = ask(f";FAULT a.example. MX delay=30\n{ZONE}", seconds=0.2, timeout=20.0)
    assert fact.mx_failed


def test_strange_mx_records() -> None:
    zone = "s.example. MX 0 .\ns.example. MX 5 192\\.0\\.2\\.1.\ns.example. MX 5 bad\\032name.example.\n"
    fact, _ = ask(SIGNED + zone + "s.example. MX 9 mx1.a.example.\n" + ZONE, "s.example")
    assert not fact.null_mx
    assert [host.name for host in fact.hosts][-1] == "mx1.a.example"
    assert all(host.name.replace(".", "").replace("-", "").isalnum() for host in fact.hosts)
