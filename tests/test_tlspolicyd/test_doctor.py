"""The rules of `tlspolicyd doctor` as tables over facts; what they look at for real is in tests/postfix."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from mailcommon.doctor.findings import Finding, Level
from mailcommon.doctor.paths import Identity, Node, Route
from mailcommon.doctor.postfix import Place, Postfix, Service
from mailcommon.doctor.reporting import SendingFacts, judge_sending
from mailcommon.doctor.stores import StoreFacts
from tlspolicyd.doctor.ask import ask
from tlspolicyd.doctor.facts import CaFile, Outgoing, PageFacts, ReportFacts
from tlspolicyd.doctor.keeping import judge_cache, judge_page
from tlspolicyd.doctor.maps import clients, judge_maps
from tlspolicyd.doctor.tls import forbids_old, judge_fetching, judge_tls
from tlspolicyd.doctor.tlsrpt import judge_tlsrpt

QUEUE = "/var/spool/postfix"
PATH = f"{QUEUE}/tlspolicyd/tlspolicyd.sock"
MAP = "socketmap:unix:tlspolicyd/tlspolicyd.sock:policy"
AUTHORITIES = CaFile("/ca.pem", 100)
GOOD = {
    "queue_directory": QUEUE,
    "smtp_tls_policy_maps": MAP,
    "smtp_tls_security_level": "dane",
    "smtp_dns_support_level": "dnssec",
    "smtp_host_lookup": "dns",
    "smtp_tls_CAfile": "/ca.pem",
    "smtp_tls_mandatory_protocols": ">=TLSv1.2",
    "smtp_tls_mandatory_ciphers": "medium",
}


def outgoing(
    version: tuple[int, ...] = (3, 7, 11),
    *,
    chroot: bool = True,
    path: str = PATH,
    level: str = "dane",
    dane: bool = True,
    ca: CaFile | None = AUTHORITIES,
    overrides: dict[str, str] | None = None,
    **values: str,
) -> Outgoing:
    lines = (
        Service("smtp", "unix", chroot, "smtp", overrides or {}),
        Service("slow", "unix", chroot, "smtp"),
        Service("proxymap", "unix", False, "proxymap"),
    )
    return Outgoing(Postfix(version, {**GOOD, **values}, lines), Place(path=Path(path)), level, dane, ca)


def levels(found: tuple[Finding, ...]) -> list[str]:
    return [f"{each.level.value} {each.id}" for each in found]


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (outgoing(), ["ok map"]),
        (outgoing(smtp_tls_policy_maps=""), ["mend map-missing"]),
        (outgoing(smtp_tls_policy_maps=f"hash:/x, {MAP}"), ["note map-order", "ok map"]),
        (outgoing(smtp_tls_policy_maps=f"{MAP}-tlsrpt"), ["mend map-name"]),
        (outgoing((3, 9, 1), smtp_tls_policy_maps=f"{MAP}-tlsrpt"), ["mend map-name"]),
        (outgoing((3, 10, 13), smtp_tls_policy_maps=f"{MAP}-tlsrpt"), ["ok map"]),
        (outgoing((3, 10, 4), smtp_tls_policy_maps=f"{MAP}-tlsrpt"), ["ok map", "note postfix-mx-names"]),
        (outgoing((3, 10, 13)), ["mend map-name"]),
        (outgoing(smtp_tls_policy_maps=f"socketmap:unix:{PATH}:policy"), ["mend map-path"]),
        (outgoing(smtp_tls_policy_maps=f"socketmap:unix:{PATH}:policy", chroot=False), ["ok map"]),
        (outgoing(smtp_tls_policy_maps=f"proxy:socketmap:unix:{PATH}:policy"), ["ok map"]),  # proxymap is not chrooted
        (outgoing(path="/run/x.sock"), ["mend socket-outside-chroot"]),
        (outgoing(overrides={"smtp_tls_policy_maps": ""}), ["ok map", "mend map-missing"]),
    ],
)
def test_maps(out: Outgoing, said: list[str]) -> None:
    assert levels(judge_maps(out)) == said


@pytest.mark.parametrize(
    ("value", "version", "wanted"),
    [
        ("", (3, 7), MAP),
        ("", (3, 10), f"{MAP}-tlsrpt"),
        ("hash:/x", (3, 7), f"hash:/x, {MAP}"),
        (f"hash:/x, {MAP}-tlsrpt", (3, 9), f"hash:/x, {MAP}"),
        (f"proxy:{MAP}-tlsrpt", (3, 9), f"proxy:{MAP}"),
        (f"socketmap:unix:{PATH}:policy", (3, 7), MAP),
    ],
)
def test_the_map_as_it_should_be(value: str, version: tuple[int, ...], wanted: str) -> None:
    said = judge_maps(outgoing(version, smtp_tls_policy_maps=value))
    (found,) = (each for each in said if each.level is Level.MEND)
    assert [fix.assignment for fix in found.fixes] == [f"smtp_tls_policy_maps = {wanted}"]
    again = judge_maps(outgoing(version, smtp_tls_policy_maps=wanted))
    assert not [each for each in again if each.level is Level.MEND]


def test_who_connects() -> None:
    assert [each.label for each in clients(outgoing())] == ["smtp/unix", "slow/unix"]
    proxied = outgoing(smtp_tls_policy_maps=f"proxy:{MAP}", overrides={"smtp_tls_policy_maps": ""})
    assert [each.label for each in clients(proxied)] == ["proxymap/unix"]


@pytest.mark.parametrize(("value", "wanted"), [("native", "dns, native"), ("native, dns", "dns, native"), ("x", "dns")])
def test_hosts_in_a_file_stay_reachable(value: str, wanted: str) -> None:
    (bad,) = (each for each in judge_tls(outgoing(smtp_host_lookup=value)) if each.id == "host-lookup")
    assert [fix.assignment for fix in bad.fixes] == [f"smtp_host_lookup = {wanted}"]


@pytest.mark.parametrize(
    ("level", "site", "command"),
    [
        ("none", "may", True),
        ("may", "dane", True),
        ("dane", "dane-only", True),
        ("may", "none", False),
        ("encrypt", "dane", False),
        ("secure", "dane", False),
        ("dane", "may", False),
        ("dane", "encrypt", False),
        ("half-dane", "dane", False),
    ],
)
def test_no_printed_command_makes_tls_weaker(level: str, site: str, command: bool) -> None:
    everywhere = judge_tls(outgoing(smtp_tls_security_level=level, level=site))
    one = judge_tls(outgoing(smtp_tls_security_level=site, level=site, overrides={"smtp_tls_security_level": level}))
    for found in (everywhere, one):
        bad = next(each for each in found if each.id == "security-level" and "site_level" in each.text)
        assert bad.level is Level.MEND
        assert bool(bad.fixes) is command
        assert command or f'site_level = "{level}"' in bad.cure


@pytest.mark.parametrize(
    ("out", "bad"),
    [
        (outgoing(), []),
        (outgoing(smtp_tls_security_level="may"), ["security-level"]),
        (outgoing(smtp_tls_security_level="may", level="may"), []),
        (outgoing(smtp_tls_security_level="", level="may", smtp_use_tls="yes"), []),
        (outgoing(smtp_tls_security_level="", level="encrypt", smtp_enforce_tls="yes"), []),
        (outgoing(smtp_tls_security_level="none", level="none"), ["security-level"]),
        (outgoing(overrides={"smtp_tls_security_level": "encrypt"}), ["security-level"]),
        (outgoing(smtp_dns_support_level=""), ["dns-support"]),
        (outgoing(smtp_tls_security_level="may", level="may", dane=False, smtp_dns_support_level=""), []),
        (outgoing(level="dane", dane=False, smtp_dns_support_level=""), ["dns-support"]),
        (outgoing(smtp_host_lookup="native, dns"), ["host-lookup"]),
        (outgoing(smtp_host_lookup="dns, native"), []),
        (outgoing(smtp_tls_CAfile="", ca=None), ["ca-file"]),
        (outgoing(smtp_tls_CAfile="", ca=None, tls_append_default_CA="yes"), []),
        (outgoing(smtp_tls_CAfile="", ca=None, smtp_tls_CApath="/x"), ["ca-file"]),
        (outgoing(smtp_tls_CAfile="", ca=None, smtp_tls_CApath="/x", chroot=False), []),
        (outgoing(ca=CaFile("/ca.pem", 0)), ["ca-file"]),
        (outgoing(ca=CaFile("/ca.pem", 0, "No such file")), ["ca-file"]),
        (outgoing(smtp_tls_mandatory_ciphers="low"), ["tls-ciphers"]),
        (outgoing(socketmap_max_reply_size="1000"), ["reply-size"]),
        (outgoing(relayhost="[relay.example]"), []),
    ],
)
def test_tls(out: Outgoing, bad: list[str]) -> None:
    assert [each.id for each in judge_tls(out) if each.level is Level.MEND] == bad


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (">=TLSv1.2", True),
        (">=TLSv1.3", True),
        (">=TLSv1", False),
        (">=0303", True),
        ("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", True),
        ("!SSLv3 !TLSv1 !TLSv1.1", True),
        ("!SSLv2, !SSLv3", False),
        ("TLSv1.2, TLSv1.3", True),
        ("TLSv1.1 TLSv1.2", False),
        ("<=TLSv1.3", False),
        ("", False),
    ],
)
def test_lists_of_protocols(value: str, good: bool) -> None:
    assert forbids_old(value) is good


@pytest.mark.parametrize(
    ("ca_file", "port", "private", "said"),
    [
        (None, 443, False, []),
        (CaFile("/x", 3), 443, False, []),
        (CaFile("/x", 0), 443, False, ["mend sts-ca-file"]),
        (None, 8443, True, ["mend sts-port", "note sts-private"]),
    ],
)
def test_fetching(ca_file: CaFile | None, port: int, private: bool, said: list[str]) -> None:
    assert levels(judge_fetching(ca_file, port, allow_private_addresses=private)) == said


CACHE = "[cache] store"
DAEMON = Identity("tlspolicyd", 200, frozenset({200}))


def store(folder: tuple[int, int], file: tuple[int, int] | None) -> StoreFacts:
    """/v and /v/p.db with (mode, owner)."""
    nodes = [Node(Path("/"), stat.S_IFDIR | 0o755, 0, 0), Node(Path("/v"), stat.S_IFDIR | folder[0], folder[1], 0)]
    if file:
        nodes.append(Node(Path("/v/p.db"), stat.S_IFREG | file[0], file[1], 0))
    route = Route(Path("/v/p.db"), tuple(nodes), None if file else Path("/v/p.db"))
    return StoreFacts(CACHE, "sqlite:/v/p.db", route=route, runs_as=DAEMON)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (store((0o750, 200), (0o640, 200)), ["ok store"]),
        (store((0o750, 200), None), ["ok store"]),
        (store((0o755, 0), (0o640, 200)), ["mend store-rights"]),
        (store((0o755, 0), None), ["mend store-rights"]),
        (store((0o750, 200), (0o640, 0)), ["mend store-rights"]),
        (StoreFacts(CACHE, "sqlite:/v/p.db", route=Route(Path("/v/p.db"), (), Path("/v"))), ["mend store-directory"]),
        (StoreFacts(CACHE, "sqlite:/v/p.db", route=Route(Path("/v/p.db"), (), None, Path("/v"))), ["unseen store"]),
        (StoreFacts(CACHE, "redis://x/0", "down"), ["mend store"]),
        (StoreFacts(CACHE, "redis://x/0"), ["ok store"]),
        (StoreFacts(CACHE, "memory:"), ["note store-memory"]),
    ],
)
def test_store(facts: StoreFacts, said: list[str]) -> None:
    assert levels(judge_cache(facts)) == said


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (PageFacts(""), []),
        (PageFacts("127.0.0.1:9320"), ["ok metrics"]),
        (PageFacts("0.0.0.0:9320"), ["note metrics-open"]),
        (PageFacts("127.0.0.1:9320", "refused"), ["mend metrics"]),
        (PageFacts("127.0.0.1:9320", runs=False), []),
    ],
)
def test_page(page: PageFacts, said: list[str]) -> None:
    assert levels(judge_page(page)) == said


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"9:NOTFOUND ,", ""),
        (b"16:PERM no such map,", "its answer is PERM no such map"),
        (b"220 mx ESMTP\r\n", "its answer is not one of a socketmap server"),
        (b"", "it closes the connection"),
    ],
)
def test_asking(answer: bytes, wrong: str) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(5)
        there.sendall(answer)
        there.shutdown(socket.SHUT_WR)
        assert ask(here) == wrong


OLD = Postfix((3, 7, 11), {"queue_directory": QUEUE, "smtp_tls_loglevel": "1"}, outgoing().postfix.services)
TOLD = {"queue_directory": QUEUE, "smtp_tlsrpt_enable": "yes", "smtp_tlsrpt_socket_name": "tlspolicyd/tlsrpt.sock"}


def new(**changes: str) -> Postfix:
    return Postfix((3, 10, 13), {**TOLD, **changes}, OLD.services)


SOCKET = f"unix:{QUEUE}/tlspolicyd/tlsrpt.sock"


def log_route(mode: int) -> Route:
    nodes = (Node(Path("/"), stat.S_IFDIR | 0o755, 0, 0), Node(Path("/log"), stat.S_IFREG | mode, 0, 4))
    return Route(Path("/log"), nodes)


@pytest.mark.parametrize(
    ("postfix", "facts", "said"),
    [
        (OLD, ReportFacts("", "", ""), ["ok tlsrpt"]),
        (new(), ReportFacts("", "", ""), ["mend tlsrpt-nobody"]),
        (new(), ReportFacts(SOCKET, "", "a@b.example"), []),
        (new(), ReportFacts(SOCKET, "", ""), ["mend tlsrpt-contact"]),
        (new(), ReportFacts(SOCKET, "", "a@b.example", queue_length=10), ["note tlsrpt-queue"]),
        (new(smtp_tlsrpt_enable="no"), ReportFacts(SOCKET, "", "a@b.example"), ["mend tlsrpt-enable"]),
        (new(smtp_tlsrpt_socket_name=""), ReportFacts(SOCKET, "", "a@b.example"), ["mend tlsrpt-socket"]),
        (new(), ReportFacts("unix:/run/t.sock", "", "a@b.example"), ["mend tlsrpt-outside-chroot"]),
        (OLD, ReportFacts(SOCKET, "", "a@b.example"), ["mend tlsrpt-version"]),
        (OLD, ReportFacts("", "journal:", "a@b.example"), []),
        (new(), ReportFacts("", "journal:", "a@b.example"), ["note tlsrpt-log"]),
        (
            Postfix((3, 7), {"smtp_tls_loglevel": "0"}),
            ReportFacts("", "journal:", "a@b.example"),
            ["mend tlsrpt-loglevel"],
        ),
        (OLD, ReportFacts("", "/log", "a@b.example", DAEMON, log_route(0o644)), []),
        (OLD, ReportFacts("", "/log", "a@b.example", DAEMON, log_route(0o640)), ["mend tlsrpt-log-rights"]),
        (
            OLD,
            ReportFacts("", "/log", "a@b.example", DAEMON, Route(Path("/log"), (), Path("/log"))),
            ["mend tlsrpt-log-missing"],
        ),
    ],
)
def test_tls_reports(postfix: Postfix, facts: ReportFacts, said: list[str]) -> None:
    assert levels(judge_tlsrpt(postfix, facts)) == said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (SendingFacts("127.0.0.1:25", "", "x.timer", True), []),
        (SendingFacts("127.0.0.1:25", "", "x.timer", None), []),
        (SendingFacts("127.0.0.1:25", "refused", "x.timer", False), ["mend tlsrpt-smtp", "note tlsrpt-timer"]),
    ],
)
def test_sending_reports(facts: SendingFacts, said: list[str]) -> None:
    assert levels(judge_sending(facts, "tlsrpt")) == said
