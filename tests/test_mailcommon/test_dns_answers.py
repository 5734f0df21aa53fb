"""What each kind of DNS answer and each fault of a server comes to, blocking and asyncio alike."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mailcommon.dns.answer import Answer, Mx, Status, Tlsa
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.ports import free_port
from tests.test_mailcommon.dns_asking import WAYS, Ask

BIG = "\n".join(f'big.example. 300 IN TXT "{number:03d} {"x" * 200}"' for number in range(300))
HUGE = "\n".join(f'huge.example. 300 IN TXT "{number}"' for number in range(1500))
CHAIN = "\n".join(f"c{number}.example. 300 IN CNAME c{number + 1}.example." for number in range(1, 30))
ZONE = f"""
a.example.       300 IN TXT "v=spf1 " "include:b.example" " -all"
a.example.       300 IN A 192.0.2.1
a.example.       300 IN AAAA 2001:DB8:0:0::1
a.example.       300 IN MX 20 MX2.example.
a.example.       300 IN MX 10 mx1.example.
octets.example.  300 IN TXT "\\000\\255 \\"q\\" \\\\"
null.example.    300 IN MX 0 .
twice.example.   300 IN TXT "one"
twice.example.   200 IN TXT "two"
1.2.0.192.in-addr.arpa. 300 IN PTR Mail.Example.
_25._tcp.mx1.example. 300 IN TLSA 3 1 1 {"00ff" * 16}
deep.empty.example. 300 IN A 192.0.2.1
www.example.     100 IN CNAME WWW2.example.
www2.example.    200 IN CNAME a.example.
dangling.example. 300 IN CNAME nowhere.example.
nodata.example.  300 IN CNAME a.example.
loop1.example.   300 IN CNAME loop2.example.
loop2.example.   300 IN CNAME loop1.example.
self.example.    300 IN CNAME self.example.
alone.example.   100 IN CNAME a.example.
alonenx.example. 100 IN CNAME nowhere.example.
aloneloop1.example. 100 IN CNAME aloneloop2.example.
aloneloop2.example. 100 IN CNAME aloneloop1.example.
fault.example.   300 IN TXT "yes"
{BIG}
{HUGE}
{CHAIN}
c30.example. 300 IN TXT "end"
;FAULT alone.example. * no-follow
;FAULT alonenx.example. * no-follow
;FAULT aloneloop1.example. * no-follow
;FAULT aloneloop2.example. * no-follow
"""


@pytest.fixture(scope="module")
def dns() -> Iterator[FakeDns]:
    with FakeDns(ZONE, negative_ttl=60) as server:
        yield server


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def ask(request: pytest.FixtureRequest) -> Ask:
    way: Ask = request.param
    return way


def ok(*records: object, ttl: int = 300, alias: bool = False, secure: bool = False) -> Answer[object]:
    return Answer(Status.OK, records, ttl, secure, "", alias)


@pytest.mark.parametrize(
    ("rdtype", "name", "expected"),
    [
        ("TXT", "a.example", ok(b"v=spf1 include:b.example -all")),
        ("TXT", "A.eXample.", ok(b"v=spf1 include:b.example -all")),
        ("TXT", "octets.example", ok(b'\x00\xff "q" \\')),
        ("TXT", "twice.example", ok(b"one", b"two", ttl=200)),
        ("A", "a.example", ok("192.0.2.1")),
        ("AAAA", "a.example", ok("2001:db8::1")),
        ("MX", "a.example", ok(Mx(10, "mx1.example"), Mx(20, "mx2.example"))),
        ("MX", "null.example", ok(Mx(0, ""))),
        ("PTR", "1.2.0.192.in-addr.arpa", ok("mail.example")),
        ("TLSA", "_25._tcp.mx1.example", ok(Tlsa(3, 1, 1, b"\x00\xff" * 16))),
        ("TXT", "www.example", ok(b"v=spf1 include:b.example -all", ttl=100, alias=True)),
        ("TXT", "alone.example", ok(b"v=spf1 include:b.example -all", ttl=100, alias=True)),
        ("CNAME", "www.example", ok("www2.example", ttl=100)),
        ("TXT", "c18.example", ok(b"end", alias=True)),  # 12 aliases
        ("TXT", "none.example", Answer(Status.NXDOMAIN, (), 60, detail="NXDOMAIN")),
        ("TXT", "empty.example", Answer(Status.NODATA, (), 60)),  # an empty non-terminal exists
        ("TXT", "null.example", Answer(Status.NODATA, (), 60)),
        ("TXT", "dangling.example", Answer(Status.NXDOMAIN, (), 60, detail="NXDOMAIN", alias=True)),
        ("TXT", "alonenx.example", Answer(Status.NXDOMAIN, (), 60, detail="NXDOMAIN", alias=True)),
        ("TLSA", "nodata.example", Answer(Status.NODATA, (), 60, alias=True)),
        ("TXT", "bücher.example", Answer(Status.NXDOMAIN, (), 60, detail="NXDOMAIN")),
        ("TXT", "a" * 64 + ".example", Answer(Status.NXDOMAIN, detail="not a DNS name")),
        ("TXT", "a..example", Answer(Status.NXDOMAIN, detail="not a DNS name")),
        ("TXT", "", Answer(Status.NXDOMAIN, detail="not a DNS name")),
        ("TXT", "a." * 130 + "example", Answer(Status.NXDOMAIN, detail="not a DNS name")),
        ("TXT", "\ud800.example", Answer(Status.NXDOMAIN, detail="not a DNS name")),
        ("TXT", "x" * 1_000_000, Answer(Status.NXDOMAIN, detail="not a DNS name")),
        ("TXT", "a b\\.c\n\0.example", Answer(Status.NXDOMAIN, (), 60, detail="NXDOMAIN")),
        ("SPF", "a.example", Answer(Status.SERVFAIL, detail="record type SPF is not supported")),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_answers(dns: FakeDns, ask: Ask, rdtype: str, name: str, expected: Answer[object]) -> None:
    assert ask(DnsSettings((dns.address,)), rdtype, name) == expected


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("loop1.example", "alias loop at loop1.example"),
        ("self.example", "alias loop at self.example"),
        ("aloneloop1.example", "alias loop at aloneloop1.example"),
        ("c17.example", "more than 12 aliases"),
        ("c1.example", "more than 12 aliases"),
    ],
)
def test_alias_loops_and_long_chains_are_failures(dns: FakeDns, ask: Ask, name: str, detail: str) -> None:
    answer = ask(DnsSettings((dns.address,)), "TXT", name)
    assert (answer.status, answer.detail) == (Status.SERVFAIL, detail)


def test_three_hundred_txt_records_come_over_tcp(dns: FakeDns, ask: Ask) -> None:
    dns.forget()
    answer = ask(DnsSettings((dns.address,)), "TXT", "big.example")
    assert answer.status is Status.OK
    assert answer.records == tuple(b"%03d %s" % (number, b"x" * 200) for number in range(300))
    assert [query.transport for query in dns.queries] == ["udp", "tcp"]


def test_a_giant_set_is_cut_at_a_thousand_records(dns: FakeDns, ask: Ask) -> None:
    answer = ask(DnsSettings((dns.address,)), "TXT", "huge.example")
    assert len(answer.records) == 1000
    assert answer.records[0] == b"0"


@pytest.mark.parametrize(
    ("faults", "status", "detail", "queries"),
    [
        ("servfail", Status.SERVFAIL, "SERVER: SERVFAIL", 1),
        ("refused", Status.SERVFAIL, "SERVER: REFUSED", 1),
        ("lame", Status.SERVFAIL, "SERVER: lame: a referral, no answer", 1),
        ("garbage", Status.SERVFAIL, "SERVER: malformed answer", 1),
        ("bogus", Status.BOGUS, "SERVER: DNSSEC validation failed: SERVFAIL", 1),
        ("timeout", Status.TIMEOUT, "no answer within 0.3 s", None),
        ("drip", Status.TIMEOUT, "no answer within 0.3 s", None),
        ("delay=9", Status.TIMEOUT, "no answer within 0.3 s", None),
        ("close", Status.SERVFAIL, "SERVER: connection closed before the answer was whole", 6),
        ("truncate", Status.OK, "", 2),
        ("truncate wrong-case", Status.OK, "", 2),
        ("wrong-case", Status.OK, "", 1),
        ("wrong-id", Status.OK, "", 1),
        ("wrong-question", Status.OK, "", 1),
        ("formerr", Status.OK, "", 2),
        ("notimp", Status.OK, "", 2),
        ("timeout times=1", Status.OK, "", 2),
        ("timeout times=2", Status.OK, "", 3),
        ("delay=0.02", Status.OK, "", 1),
    ],
)
def test_faults(ask: Ask, faults: str, status: Status, detail: str, queries: int | None) -> None:
    with FakeDns(f'fault.example. 300 IN TXT "yes"\n;FAULT fault.example. TXT {faults}\n') as dns:
        timeout = 0.3 if queries is None else 1.0
        began = time.monotonic()
        answer = ask(DnsSettings((dns.address,), timeout=timeout), "TXT", "Fault.example")
        assert time.monotonic() - began < timeout + 0.3
        expected = (status, (b"yes",) if status is Status.OK else (), detail.replace("SERVER", dns.address))
        assert (answer.status, answer.records, answer.detail) == expected
        assert dns.count() == queries or (queries is None and dns.count() > 1)
        assert answer.status.failed is (status is not Status.OK)
        if answer.status.failed:
            assert answer.ttl == 5


@pytest.mark.parametrize("fault", ["servfail", "refused", "lame", "garbage", "timeout", "close"])
def test_the_next_server_is_asked(ask: Ask, fault: str) -> None:
    good = 'fault.example. 300 IN TXT "yes"\n'
    with FakeDns(good) as second, FakeDns(good + f";FAULT * * {fault}") as first:
        answer = ask(DnsSettings((first.address, second.address), timeout=1.0), "TXT", "fault.example")
        assert (answer.status, answer.records) == (Status.OK, (b"yes",))
        assert second.count() == 1


def test_what_one_server_finds_bogus_no_other_is_asked(ask: Ask) -> None:
    with FakeDns('fault.example. TXT "yes"') as second, FakeDns(";FAULT * * bogus") as first:
        answer = ask(DnsSettings((first.address, second.address)), "TXT", "fault.example")
        assert answer.status is Status.BOGUS
        assert second.count() == 0


def test_names_in_an_answer_may_have_any_case(ask: Ask) -> None:
    zone = 'a.example. CNAME B.Example.\nb.example. CNAME C.EXAMPLE.\nc.example. TXT "yes"\n'
    with FakeDns(zone + ";FAULT * * wrong-case") as dns:
        assert ask(DnsSettings((dns.address,)), "TXT", "a.example").records == (b"yes",)
        assert dns.count() == 1


def test_a_port_where_nobody_listens(ask: Ask) -> None:
    closed = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    answer = ask(DnsSettings((closed,)), "TXT", "a.example")
    assert time.monotonic() - began < 1
    assert (answer.status, answer.detail) == (Status.SERVFAIL, f"{closed}: Connection refused")


def test_the_query_asks_for_ad_and_takes_it(ask: Ask) -> None:
    zone = 'safe.example. TXT "yes"\nhalf.example. CNAME end.example.\nend.example. TXT "no"\n'
    zone += "other.example. CNAME safe.example.\n"
    faults = ";FAULT safe.example. * ad\n;FAULT half.example. * ad no-follow\n;FAULT other.example. * no-follow\n"
    with FakeDns(zone + faults) as dns:
        settings = DnsSettings((dns.address,))
        assert ask(settings, "TXT", "safe.example").secure
        assert not ask(settings, "TXT", "half.example").secure  # one part of the chain is not
        assert not ask(settings, "TXT", "other.example").secure
        assert all(query.ad and query.edns for query in dns.queries)


@pytest.mark.parametrize(("negative_ttl", "expected"), [(0, 0), (7, 7), (86400, 3600), (None, 5)])
def test_negative_ttl(ask: Ask, negative_ttl: int | None, expected: int) -> None:
    with FakeDns("a.example. 86401 IN A 192.0.2.1", negative_ttl=negative_ttl) as dns:
        settings = DnsSettings((dns.address,))
        assert ask(settings, "TXT", "a.example").ttl == expected
        assert ask(settings, "TXT", "b.example").ttl == expected
        assert ask(settings, "A", "a.example").ttl == 86400
