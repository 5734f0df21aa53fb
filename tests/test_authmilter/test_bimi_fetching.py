"""Fetching indicators and evidence from real HTTPS hosts, good ones and hostile ones (BIMI-23, BIMI-24)."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from authmilter.bimi import fetching
from authmilter.bimi.assets import Asset, Fault, Kind, Source
from authmilter.bimi.evidence.mark import Mark
from authmilter.bimi.indicator import Indicator
from tests.support.bimi_world import CRL_HOST, BimiWorld
from tests.support.marks import LOGO, OTHER_LOGO, MarkCa
from tests.support.waiting import wait_until

LOGO_URI = "https://brand.example/logo.svg"
MARK_URI = "https://brand.example/mark.pem"
PATIENCE = 20.0  # seconds for what should come at once


@pytest.fixture
def world() -> Iterator[BimiWorld]:
    zone = (
        "plain.example. 300 IN A 127.0.0.2\nevil.example. 300 IN A 127.0.0.1\ninside.example. 300 IN A 10.0.0.1\n"
        "meta.example. 300 IN A 169.254.169.254\n"
    )
    with BimiWorld(zone) as made:
        yield made


def logo(source: Source, uri: str = LOGO_URI, seconds: float = PATIENCE) -> Asset:
    return source.get(Kind.INDICATOR, BimiWorld.uri(uri), seconds)


def mark(source: Source, seconds: float = PATIENCE) -> Asset:
    return source.get(Kind.EVIDENCE, BimiWorld.uri(MARK_URI), seconds)


def reason(asset: Asset) -> str:
    assert isinstance(asset, Fault), asset
    return asset.reason


def wide(world: BimiWorld, **bimi: Any) -> Source:
    """A source that waits as long as a fetch takes."""
    return world.source(budget=10.0, **bimi)


@pytest.mark.parametrize(
    ("octets", "kind"),
    [(LOGO, "image/svg+xml"), (gzip.compress(LOGO), "image/svg+xml"), (LOGO, "application/octet-stream"), (LOGO, "")],
)
def test_an_indicator(world: BimiWorld, octets: bytes, kind: str) -> None:
    host = world.web("brand.example", {"/logo.svg": octets})
    host.content_type = kind
    assert logo(wide(world)) == Indicator(LOGO)
    assert "cookie" not in host.heads[0].lower()
    assert "authorization" not in host.heads[0].lower()


def test_what_a_host_packs_on_its_own(world: BimiWorld) -> None:
    """Many servers send .svgz with Content-Encoding: gzip."""
    world.web("brand.example", fault="packed")
    assert logo(wide(world)) == Indicator(LOGO)


HOSTILE = {
    "bomb": "the indicator has more than 65536 octets",  # 64 MB behind gzip
    "huge": "the indicator has more than 65536 octets",  # 1 GB
    "huge-chunked": "the indicator has more than 65536 octets",
    "garbage": "brand.example does not speak HTTP: ",
    "plain": "no TLS with brand.example: ",
    "reset": "no connection to brand.example: ",
    "no-name": "no TLS with brand.example: ",
    "old-tls": "no connection to brand.example: ",
    "reset-body": "brand.example broke off: ",
    "cut-body": "brand.example broke off: ",
    "endless-header": "brand.example ",
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_hosts(world: BimiWorld, fault: str) -> None:
    host = world.web("brand.example", fault=fault)
    began = time.monotonic()
    assert reason(logo(wide(world))).startswith(HOSTILE[fault])
    assert time.monotonic() - began < 5.0
    assert host.sent < 50_000_000  # it is cut off, not read to its end; the kernel holds some megabytes


def test_a_file_of_100_megabytes(world: BimiWorld) -> None:
    host = world.web("brand.example", {"/logo.svg": LOGO + b" " * 100_000_000})
    assert reason(logo(wide(world))) == "the indicator has more than 65536 octets"
    assert host.sent < 50_000_000


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<!DOCTYPE svg [<!ENTITY a 'b'>]>" + LOGO, "line 1: <!DOCTYPE>: not allowed"),
        (LOGO.replace(b"</svg>", b"<script/></svg>"), "line 7: <script>: scripts are not allowed"),
        (gzip.compress(b" " * 50_000_000), "it has more than 32768 octets"),
        (b"\x89PNG\r\n\x1a\n", "line 1: not UTF-8"),
    ],
)
def test_files_that_are_no_indicator(world: BimiWorld, content: bytes, complaint: str) -> None:
    world.web("brand.example", {"/logo.svg": content})
    found = logo(wide(world))
    assert found == Fault(complaint)


def test_status_codes(world: BimiWorld) -> None:
    host = world.web("brand.example")
    missing = logo(wide(world), "https://brand.example/other.svg")
    assert missing == Fault("brand.example: HTTP status 404")
    host.status = 503
    assert logo(wide(world)) == Fault("brand.example: HTTP status 503", temporary=True)


# Redirects


def test_a_redirect_is_followed_to_another_host(world: BimiWorld) -> None:
    first = world.web("web.example", fault="redirect")
    first.redirect_to = LOGO_URI
    second = world.web("brand.example")
    assert logo(wide(world), "https://web.example/logo.svg") == Indicator(LOGO)
    assert (first.requests, second.requests) == (1, 1)


def test_a_redirect_loop_ends(world: BimiWorld) -> None:
    host = world.web("brand.example", fault="redirect")
    host.redirect_to = LOGO_URI
    assert "HTTP status 301" in reason(logo(wide(world)))
    assert host.requests == 4


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://brand.example/logo.svg", "is not an https URL"),
        ("https://127.0.0.1/logo.svg", "has no host name"),
        ("https://user@brand.example/logo.svg", "has a user name"),
        ("https://brand.example:22/", "names the port 22"),
        ("file:///etc/passwd", "is not an https URL"),
    ],
)
def test_where_no_redirect_leads(world: BimiWorld, to: str, why: str) -> None:
    host = world.web("brand.example", fault="redirect")
    host.redirect_to = to
    assert reason(logo(wide(world))) == f"brand.example redirects to what {why}"


# Addresses


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("https://evil.example/", "127.0.0.1 is loopback"),
        ("https://inside.example/", "10.0.0.1 is private"),
        ("https://meta.example/latest", "169.254.169.254 is link-local"),
    ],
)
def test_names_that_lead_inside(world: BimiWorld, uri: str, word: str) -> None:
    """DNS rebinding: the address that was judged is the one that is connected to, and these never are."""
    host = world.web("evil.example")
    found = logo(wide(world, allow_private_addresses=False), uri)
    assert word in reason(found)
    assert host.connections == world.hosts.connections == 0


def test_a_host_whose_certificate_is_not_accepted(world: BimiWorld) -> None:
    world.web("brand.example")
    found = logo(wide(world, https_ca_file=str(world.folder / "marks.pem")))
    assert reason(found).startswith("the certificate of brand.example is not accepted")
    assert found == Fault(reason(found))  # nothing that another try would help


def test_roots_of_hosts_may_stand_in_ca_file(world: BimiWorld) -> None:
    world.web("brand.example")
    both = world.folder / "both.pem"
    both.write_bytes((world.folder / "marks.pem").read_bytes() + (world.folder / "hosts.pem").read_bytes())
    assert logo(wide(world, https_ca_file="", ca_file=str(both))) == Indicator(LOGO)


# Evidence


def evidence(world: BimiWorld, pem: bytes) -> None:
    world.web("brand.example", {"/mark.pem": pem})


def test_evidence(world: BimiWorld) -> None:
    evidence(world, world.marks.issue("a.example"))
    found = mark(wide(world))
    assert isinstance(found, Mark)
    assert found.indicator == Indicator(LOGO)


@pytest.mark.parametrize("flaw", ["expired", "unknown-ca", "altered-logotype", "extra-leaf", "huge-chain", "not-pem"])
def test_evidence_with_a_flaw(world: BimiWorld, flaw: str) -> None:
    evidence(world, world.marks.issue("a.example", flaw=flaw))
    assert isinstance(mark(wide(world)), Fault)


@pytest.mark.parametrize("revocation", ["off", "soft", "hard"])
def test_revoked(world: BimiWorld, revocation: str) -> None:
    pem = world.marks.issue("a.example")
    evidence(world, pem)
    world.marks.revoke(pem)
    world.web(CRL_HOST, {"/issuer.crl": world.marks.crl()})
    found = mark(wide(world, revocation=revocation))
    assert isinstance(found, Mark) if revocation == "off" else reason(found).startswith("it was revoked on ")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "its revocation list cannot be had: "),
        ({"/issuer.crl": b"x"}, "its revocation list cannot be used: it cannot be read"),
        (
            {"/issuer.crl": b"x" * 2_000_000},
            "its revocation list cannot be had: the revocation list has more than 1048576",
        ),
    ],
)
def test_a_list_that_cannot_be_had(world: BimiWorld, files: dict[str, bytes], why: str) -> None:
    evidence(world, world.marks.issue("a.example"))
    world.web(CRL_HOST, files or {"/x": b""})
    assert isinstance(mark(wide(world)), Mark)
    found = mark(wide(world, revocation="hard"))
    assert reason(found).startswith(why)
    assert found == Fault(reason(found), temporary=True)


def test_one_list_serves_all_marks_of_an_issuer(world: BimiWorld) -> None:
    files = {f"/{n}.pem": world.marks.issue(f"{n}.example") for n in range(3)}
    world.web("brand.example", files)
    source = wide(world)
    for name in files:
        assert isinstance(source.get(Kind.EVIDENCE, BimiWorld.uri(f"https://brand.example{name}"), PATIENCE), Mark)
    assert world.hosts.named(CRL_HOST).requests == 1


@pytest.mark.parametrize("flaw", ["expired", "wrong-signature", "wrong-issuer"])
def test_a_list_that_cannot_be_used(world: BimiWorld, flaw: str) -> None:
    evidence(world, world.marks.issue("a.example"))
    world.web(CRL_HOST, {"/issuer.crl": world.marks.crl(flaw)})
    assert isinstance(mark(wide(world)), Mark)
    assert reason(mark(wide(world, revocation="hard"))).startswith("its revocation list cannot be used: ")


def test_a_list_by_plain_http(world: BimiWorld) -> None:
    """As lists mostly come: they are signed. Anything else is never asked for by http."""
    with ThreadingHTTPServer(("127.0.0.2", world.hosts.port), ListServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://plain.example:{world.hosts.port}/issuer.crl"
        marks = MarkCa(crl_url=url)
        roots = marks.write_roots(world.folder / "plain.pem")
        logs = marks.write_logs(world.folder / "plain.json")
        ListServer.content = marks.crl()
        evidence(world, marks.issue("a.example"))
        options = {"ca_file": str(roots), "ct_log_list": str(logs), "revocation": "hard"}
        assert isinstance(mark(wide(world, **options)), Mark)
        assert ListServer.asked == ["/issuer.crl"]
        pem = marks.issue("a.example")
        evidence(world, pem)
        marks.revoke(pem)
        ListServer.content = marks.crl()
        assert reason(mark(wide(world, **options))).startswith("it was revoked on ")
        server.shutdown()


class ListServer(BaseHTTPRequestHandler):
    """Serves one list."""

    content = b""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


# Waiting and keeping


def test_a_host_that_hangs_costs_one_message_its_budget(world: BimiWorld) -> None:
    host = world.web("brand.example", fault="hang")
    source = world.source(budget=0.5)
    waits = []
    for _ in range(3):
        began = time.monotonic()
        found = logo(source, seconds=0.5)
        waits.append(time.monotonic() - began)
        assert found == Fault("brand.example has not answered yet", temporary=True)
    assert 0.45 < waits[0] < 1.5
    assert max(waits[1:]) < 0.2  # the fetch is older than anybody waits for
    assert host.connections == 1


def test_what_comes_late_is_there_for_the_next_message(world: BimiWorld) -> None:
    host = world.web("brand.example")
    host.delay = 0.7
    source = world.source(budget=0.2)
    assert isinstance(logo(source, seconds=0.2), Fault)
    wait_until(lambda: logo(source, seconds=0.0) == Indicator(LOGO), "the indicator")
    assert host.requests == 1


def test_many_messages_share_one_fetch(world: BimiWorld) -> None:
    host = world.web("brand.example")
    host.delay = 0.3
    source = wide(world)
    found: list[Asset] = []
    threads = [threading.Thread(target=lambda: found.append(logo(source))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Indicator(LOGO)] * 20
    assert host.requests == 1


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def timed(world: BimiWorld) -> tuple[fetching.FetchedAssets, Clock]:
    source = wide(world)
    assert isinstance(source, fetching.FetchedAssets)
    clock = Clock()
    made = fetching.FetchedAssets(source._make_loader, 10.0, clock)
    world._sources.append(made)
    return made, clock


def test_what_is_known_is_given_at_once_and_fetched_again_after_an_hour(world: BimiWorld) -> None:
    host = world.web("brand.example")
    source, clock = timed(world)
    assert logo(source) == Indicator(LOGO)
    clock.ahead = fetching.FRESH - 10
    assert logo(source, seconds=0.0) == Indicator(LOGO)
    assert host.requests == 1
    host.files["/logo.svg"] = OTHER_LOGO
    clock.ahead = fetching.FRESH + 10
    assert logo(source, seconds=0.0) == Indicator(LOGO)  # nobody waits for the new one
    wait_until(lambda: logo(source, seconds=0.0) == Indicator(OTHER_LOGO), "the new indicator")


def test_an_indicator_survives_a_host_that_is_down_but_not_one_that_takes_it_back(world: BimiWorld) -> None:
    host = world.web("brand.example")
    source, clock = timed(world)
    assert logo(source) == Indicator(LOGO)
    host.status = 503
    clock.ahead = fetching.FRESH + 10
    assert logo(source, seconds=0.0) == Indicator(LOGO)
    wait_until(lambda: host.requests == 2 and not source._flights, "the second fetch")
    assert logo(source, seconds=0.0) == Indicator(LOGO)
    host.status = 404
    clock.ahead += fetching.PASSING + 10
    logo(source, seconds=0.0)
    wait_until(lambda: logo(source, seconds=0.0) == Fault("brand.example: HTTP status 404"), "the end of it")


def test_a_failure_is_kept_for_a_while(world: BimiWorld) -> None:
    host = world.web("brand.example", {"/x": b""})
    source, clock = timed(world)
    for _ in range(3):
        assert logo(source) == Fault("brand.example: HTTP status 404")
    assert host.requests == 1
    clock.ahead = fetching.FAILED + 10
    assert logo(source) == Fault("brand.example: HTTP status 404")
    assert host.requests == 2


def test_what_is_kept_is_bounded(world: BimiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_KEPT", 20_000)
    files = {f"/{n}.svg": LOGO.replace(b"</title>", b"x" * 4_000 + b"</title>") for n in range(10)}
    host = world.web("brand.example", files)
    source, _ = timed(world)
    for n in range(10):
        assert isinstance(logo(source, f"https://brand.example/{n}.svg"), Indicator)
    assert source._known.currsize <= 20_000
    assert isinstance(logo(source, "https://brand.example/9.svg"), Indicator)
    assert host.requests == 10
    assert isinstance(logo(source, "https://brand.example/0.svg"), Indicator)
    assert host.requests == 11


def test_fetches_under_way_are_bounded(world: BimiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_UNDER_WAY", 3)
    world.web("brand.example", fault="hang")
    source, _ = timed(world)
    for n in range(3):
        source.start(Kind.INDICATOR, BimiWorld.uri(f"https://brand.example/{n}"))
    assert logo(source, "https://brand.example/3") == Fault("3 fetches are under way", temporary=True)


def test_closing_gives_up_what_is_under_way(world: BimiWorld) -> None:
    host = world.web("brand.example", fault="hang")
    source = wide(world)
    found: list[Asset] = []
    waiting = threading.Thread(target=lambda: found.append(logo(source)))
    waiting.start()
    wait_until(lambda: host.requests == 1, "the request")
    source.close()
    source.close()
    waiting.join(5.0)
    assert found == [Fault("the fetch was given up", temporary=True)]
    assert logo(source, "https://brand.example/other.svg") == Fault("the fetch was given up", temporary=True)


def test_no_thread_before_the_first_fetch(world: BimiWorld) -> None:
    before = set(threading.enumerate())
    source = world.source()
    assert set(threading.enumerate()) <= before
    world.web("brand.example")
    logo(source)
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["bimi"]
