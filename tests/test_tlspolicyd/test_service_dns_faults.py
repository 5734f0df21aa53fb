"""A DNS server that misbehaves, in front of the whole daemon: what Postfix gets, for each fault at each look-up.

Four kinds of domain: `sts` has an unsigned zone and an enforce policy, `dane` a signed one with usable TLSA records,
`both` has both, and `cached` is as `sts` and was asked for before the faults began. No fault stops the mail of a
domain: that is left to policies that cannot be read (docs/outbound-decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.certificates import PrivateCa
from tests.support.dns_server import FakeDns
from tests.support.policy_daemon import PolicyDaemon
from tests.support.policy_host import PolicyHost

DIGEST = "ab" * 32
# fault -> the words of the server; "ad" is added where the zone is signed
FAILING = ("servfail", "refused", "bogus", "timeout", "drip", "close", "lame", "garbage", "nxdomain garbage")
HARMLESS = ("truncate", "formerr", "notimp", "wrong-id", "wrong-question", "wrong-case", "delay=0.4")
ABSENT = ("nxdomain",)
FAULTS = FAILING + HARMLESS + ABSENT
# which look-up has the fault: what stands before the domain, and the type
PLACES = {
    "txt": ("_mta-sts.", "TXT"),
    "a": ("mta-sts.", "A"),
    "aaaa": ("mta-sts.", "AAAA"),
    "mx": ("", "MX"),
    "mx-a": ("mx.", "A"),
    "tlsa": ("_25._tcp.mx.", "TLSA"),
}
SECURE, DANE, DANE_ONLY, NOTFOUND = "secure", "dane", "dane-only", "NOTFOUND "

# (kind, place): the answer where the look-up fails, and where it says that there is nothing
EXPECTED: dict[tuple[str, str], tuple[str, str]] = {
    ("sts", "txt"): (NOTFOUND, NOTFOUND),  # complaint 2: no policy is known
    ("sts", "a"): (NOTFOUND, NOTFOUND),
    ("sts", "aaaa"): (SECURE, SECURE),  # one address family is enough
    ("sts", "mx"): (SECURE, SECURE),
    ("cached", "txt"): (SECURE, SECURE),  # STS-5, STS-13
    ("cached", "a"): (SECURE, SECURE),
    ("cached", "aaaa"): (SECURE, SECURE),
    ("cached", "mx"): (SECURE, SECURE),
    ("dane", "txt"): (DANE_ONLY, DANE_ONLY),
    ("dane", "mx"): (NOTFOUND, NOTFOUND),  # row mx-failed: Postfix's own DANE is in charge
    ("dane", "mx-a"): (DANE, NOTFOUND),  # row dane-failed; a host without address takes no mail
    ("dane", "tlsa"): (DANE, NOTFOUND),  # the same: Postfix passes over this host alone; no records
    ("both", "txt"): (DANE_ONLY, DANE_ONLY),
    ("both", "a"): (DANE_ONLY, DANE_ONLY),
    ("both", "mx"): (SECURE, SECURE),  # row sts-enforce
    ("both", "mx-a"): (DANE_ONLY, SECURE),  # row dane-failed-enforce
    ("both", "tlsa"): (DANE_ONLY, SECURE),
}
CASES = [(kind, place, fault) for kind, place in EXPECTED for fault in FAULTS]


def domain_of(kind: str, place: str, fault: str) -> str:
    return f"{fault.replace(' ', '-').replace('=', '').replace('.', '')}.{place}.{kind}.example"


def records(kind: str, domain: str) -> list[str]:
    lines = [f"{domain}. 1 MX 10 mx.{domain}.", f"mx.{domain}. 1 A 127.0.0.2"]
    if kind != "dane":
        lines += [f'_mta-sts.{domain}. 1 TXT "v=STSv1; id=1"', f"mta-sts.{domain}. 1 A 127.0.0.1"]
    if kind in ("dane", "both"):
        lines += [f"_25._tcp.mx.{domain}. 1 TLSA 3 1 1 {DIGEST}"]
        lines += [f";FAULT {prefix}{domain}. {rdtype} ad" for prefix, rdtype in PLACES.values()]
    return lines


def zone(*, faults: bool) -> str:
    lines = ["org. 300 NS ns.org.", ";FAULT org. * ad"]
    for kind, place, fault in CASES:
        domain = domain_of(kind, place, fault)
        lines += records(kind, domain)
        if faults:
            prefix, rdtype = PLACES[place]
            lines.append(f";FAULT {prefix}{domain}. {rdtype} {fault}{' ad' if kind in ('dane', 'both') else ''}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Domain -> what Postfix gets; all are asked for at the same time."""
    ca = PrivateCa()
    shared = ca.issue(*(f"mta-sts.{domain_of(*case)}" for case in CASES))
    with FakeDns(zone(faults=False)) as dns, PolicyHost(ca) as hosts:
        for case in CASES:
            domain = domain_of(*case)
            text = f"version: STSv1\nmode: enforce\nmx: mx.{domain}\nmax_age: 86400\n"
            hosts.add(domain, text, credentials=shared)
        settings: dict[str, Any] = {
            "dns": {"nameservers": [dns.address], "timeout": 4.0},  # a busy machine answers late
            "dane": {"enabled": True},
            "sts": {
                "ca_file": str(ca.write_roots(tmp_path_factory.mktemp("ca") / "ca.pem")),
                "https_port": hosts.port,
                "allow_private_addresses": True,
                "wait": 10.0,
                "timeout": 10.0,
            },
        }
        with PolicyDaemon(settings) as daemon, ThreadPoolExecutor(100) as threads:
            known = [domain_of(*case) for case in CASES if case[0] == "cached"]
            assert {reply.split()[1] for reply in threads.map(daemon.ask, known)} == {"secure"}
            daemon.process.stop()
            dns.load(zone(faults=True))
            daemon.start()  # what it knew of DNS is gone, the policies are not
            daemon.log.wait("DANE is on")
            domains = [domain_of(*case) for case in CASES]
            yield dict(zip(domains, threads.map(daemon.ask, domains), strict=True))
            assert "Traceback" not in daemon.log.text()


@pytest.mark.parametrize(("kind", "place", "fault"), CASES, ids=["-".join(case) for case in CASES])
def test_no_fault_stops_mail_or_weakens_what_is_known(
    kind: str, place: str, fault: str, replies: dict[str, str]
) -> None:
    domain = domain_of(kind, place, fault)
    failing, absent = EXPECTED[kind, place]
    whole = DANE_ONLY if kind in ("dane", "both") else SECURE
    expected = failing if fault in FAILING else absent if fault in ABSENT else whole
    if expected == SECURE:
        expected = f"OK secure match=mx.{domain} servername=hostname"
    elif expected != NOTFOUND:
        expected = f"OK {expected}"
    assert replies[domain] == expected
