"""Fetching a policy over real TLS from a real HTTPS server: what counts as a policy, and every way to fail."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailcommon.fetch.trust import trust
from tests.support.certificates import FLAWS, PrivateCa
from tests.test_tlspolicyd.sts_world import LOOPS, POLICY, World, new_world
from tlspolicyd.facts import Failure, Mode
from tlspolicyd.sts.fetch import Fetcher, FetchResult


@pytest.fixture(scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_world(tmp_path_factory.mktemp("sts")) as world:
        yield world


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def world(_world: World, request: pytest.FixtureRequest) -> World:
    _world.loop = request.param
    return _world


def test_sts7_the_policy_of_a_domain(world: World) -> None:
    host = world.host()
    result = world.fetch(host)
    assert result.failure is None
    assert result.policy is not None
    assert result.policy.mode is Mode.ENFORCE
    assert result.policy.mx == ("mx.a.example", "*.b.example")
    assert result.policy.max_age == 604800
    assert (result.reason, result.certificate) == ("", "")
    # one connection, one request, the server name in the handshake (the server finds its host by it)
    assert (host.connections, host.requests) == (1, 1)
    request, *fields = host.heads[0].split("\r\n")
    assert request == "GET /.well-known/mta-sts.txt HTTP/1.1"
    assert f"Host: {host.name}:{world.server.port}" in fields
    assert "Accept-Encoding: identity" in fields
    assert not [field for field in fields if field.startswith(("Cookie", "Authorization"))]


def test_sts7_one_query_for_each_address_family(world: World) -> None:
    host = world.host()
    world.dns.forget()
    world.fetch(host)
    assert sorted(query.rdtype for query in world.dns.queries) == ["A", "AAAA"]


@pytest.mark.parametrize("flaw", FLAWS)
def test_sts8_certificates_that_are_not_accepted(world: World, flaw: str) -> None:
    """STS-8, RFC 8461 §3.3: chain, dates, DNS-ID; RFC 6125 §6.4.3 as to wildcards."""
    host = world.host(flaw=flaw)
    result = world.fetch(host)
    assert result.policy is None
    assert result.failure is Failure.WEBPKI, result.reason
    assert host.requests == 0
    assert host.name in result.reason


REASONS = {
    "expired": "certificate has expired",
    "not-yet-valid": "certificate is not yet valid",
    "wrong-name": "Hostname mismatch",
    "cn-only": "Hostname mismatch",
    "self-signed": "self-signed certificate",
    "sha1": "CA signature digest algorithm too weak",
    "missing-intermediate": "unable to get local issuer certificate",
    "wrong-usage": "unsuitable certificate purpose",
}


@pytest.mark.parametrize("flaw", REASONS)
def test_the_reason_names_what_is_wrong_with_a_certificate(world: World, flaw: str) -> None:
    reason = world.fetch(world.host(flaw=flaw)).reason
    assert REASONS[flaw].lower().replace("-", " ") in reason.lower().replace("-", " ")


def test_sts8_a_wildcard_as_the_whole_left_most_label_is_accepted(world: World) -> None:
    domain = world.domain()
    world.server.add(domain, POLICY, credentials=world.ca.issue(f"*.{domain}"))
    assert world.fetch(domain).policy is not None


def test_sts8_several_names_letter_case_and_idn(world: World) -> None:
    world.zone("mta-sts.xn--bcher-kva.example. IN A 127.0.0.1")
    credentials = world.ca.issue("other.example", "MTA-STS.XN--BCHER-KVA.Example")
    world.server.add("xn--bcher-kva.example", POLICY, credentials=credentials)
    assert world.fetch("xn--bcher-kva.example").policy is not None


def test_sts8_the_root_comes_from_the_settings(world: World, tmp_path: Path) -> None:
    other = PrivateCa("Other").write_roots(tmp_path / "other.pem")
    assert world.fetch(world.host(), ca_file=str(other)).failure is Failure.WEBPKI
    assert world.fetch(world.host(), ca_file="").failure is Failure.WEBPKI  # the system's do not have ours


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_cannot_be_used_is_said_at_once(world: World, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="ca_file"):
        world.fetch("a.example", ca_file=str(path))


def test_sts28_nothing_below_tls_1_2(world: World) -> None:
    """RFC 8461 §7.2."""
    host = world.host("old-tls")
    result = world.fetch(host)
    assert result.failure is Failure.FETCH
    assert (host.connections, host.handshakes) == (1, 0)
    assert trust().minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 410, 500, 503])
def test_sts9_only_status_200_counts(world: World, status: int) -> None:
    host = world.host()
    host.status = status
    result = world.fetch(host)
    assert result.failure is Failure.FETCH
    assert f"HTTP status {status}" in result.reason


def test_sts9_no_redirect_is_followed(world: World) -> None:
    host = world.host("redirect")
    result = world.fetch(host)
    assert result.failure is Failure.FETCH
    assert "301" in result.reason
    assert "/elsewhere" in result.reason
    assert host.requests == 1


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "TEXT/Plain", "text/plain; charset=utf-8", "text/plain;charset=iso-8859-1", "text/plain ; x=y; z"],
)
def test_sts10_media_types_that_count(world: World, kind: str) -> None:
    host = world.host()
    host.content_type = kind
    assert world.fetch(host).policy is not None


@pytest.mark.parametrize(
    "kind",
    ["", "text/html", "text/html; text/plain", "application/octet-stream", "text/plainer", "text", "text/x-plain"],
)
def test_sts10_media_types_that_do_not(world: World, kind: str) -> None:
    host = world.host()
    host.content_type = kind
    result = world.fetch(host)
    assert result.failure is Failure.FETCH
    assert "media type" in result.reason


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("reset", "reset"),
        ("plain", "no TLS"),
        ("no-name", "no TLS"),
        ("reset-body", "broke off"),
        ("cut-body", "broke off"),
        ("garbage", "does not speak HTTP"),
        ("endless-header", "does not speak HTTP"),
        ("packed", "gzip"),
    ],
)
def test_faults_that_end_a_fetch(world: World, fault: str, words: str) -> None:
    result = world.fetch(world.host(fault))
    assert result.policy is None
    assert result.failure is Failure.FETCH
    assert words.lower() in result.reason.lower()


@pytest.mark.parametrize("fault", ["silent", "hang", "hang-body", "drip", "drip-body"])
def test_sts11_the_time_limit_holds_for_all_of_it(world: World, fault: str) -> None:
    host = world.host(fault)
    host.pause = 0.05  # an octet every 50 ms never lets a read time out
    start = time.monotonic()
    result = world.fetch(host, timeout=0.5)
    spent = time.monotonic() - start
    assert result.failure is Failure.FETCH
    assert "within 0.5 s" in result.reason
    assert 0.45 < spent < 2.0


@pytest.mark.parametrize("fault", ["huge", "huge-chunked"])
def test_sts11_no_more_than_64_kb_is_read(world: World, fault: str) -> None:
    host = world.host(fault)
    start = time.monotonic()
    result = world.fetch(host)
    assert result.failure is Failure.FETCH
    assert "65536" in result.reason
    assert time.monotonic() - start < 2.0
    assert host.sent < 16_000_000  # what the kernel's buffers take; the rest of the gigabyte never leaves


def test_sts11_a_length_above_the_limit_is_enough_to_refuse(world: World) -> None:
    start = time.monotonic()
    assert "65536" in world.fetch(world.host("hang-body", policy="x" * 65_537)).reason
    assert time.monotonic() - start < 2.0


class _DeafHost(threading.Thread):
    """Sends a body without end to one client, and takes no notice of its TLS close_notify."""

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    piece = b"mx: mx.a.example\n" * 1000

    def __init__(self, context: ssl.SSLContext, head: bytes = head, piece: bytes = piece) -> None:
        super().__init__(daemon=True)
        self.head, self.piece = head, piece
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        with (
            self._listener,
            self._listener.accept()[0] as connection,
            self._context.wrap_socket(connection, server_side=True) as stream,
        ):
            stream.recv(4096)
            try:
                stream.sendall(self.head)
                while True:
                    stream.sendall(self.piece)
                    time.sleep(0.001)  # leaves the other thread some of the interpreter
            except OSError:
                return


def test_sts11_a_host_that_goes_on_sending_loses_its_connection_at_once(world: World) -> None:
    """Polite closing would go on reading for 30 seconds."""
    domain = world.domain()
    deaf = _DeafHost(world.ca.issue(f"mta-sts.{domain}").server_context())

    async def fetch(fetcher: Fetcher) -> FetchResult:
        result = await fetcher.fetch(domain)
        async with asyncio.timeout(2):
            while deaf.is_alive():
                await asyncio.sleep(0.01)  # the loop runs on, as in the daemon
        return result

    assert "65536" in world.run(fetch, https_port=deaf.port).reason
    deaf.join(1)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 500),
        (_DeafHost.head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 10_000),
    ],
    ids=["interim answers", "chunk extension"],
)
def test_sts11_what_is_no_body_is_bounded_too(world: World, head: bytes, piece: bytes) -> None:
    """aiohttp reads these for as long as they come, at the cost of everybody else's answers."""
    domain = world.domain()
    deaf = _DeafHost(world.ca.issue(f"mta-sts.{domain}").server_context(), head, piece)
    start = time.monotonic()
    result = world.fetch(domain, https_port=deaf.port)
    assert result.failure is Failure.FETCH
    assert "within" not in result.reason
    assert time.monotonic() - start < 3
    deaf.join(1)


@pytest.mark.parametrize(("size", "good"), [(65_536, True), (65_537, False)])
def test_sts11_the_size_limit_is_exact(world: World, size: int, good: bool) -> None:
    body = POLICY.encode() + b"x: "
    body += b"y" * (size - len(body))
    result = world.fetch(world.host(policy=body))
    assert (result.policy is not None) is good


def test_a_bomb_is_not_unpacked(world: World) -> None:
    start = time.process_time()
    result = world.fetch(world.host("bomb"))
    assert result.failure is Failure.FETCH
    assert "packed" in result.reason
    assert time.process_time() - start < 3.0  # the server packs in the same process


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "<!DOCTYPE html>\n<html><body>404</body></html>\n",
        b"\x00\x01\x02\xff" * 100,
        b"\x89PNG\r\n\x1a\n",
        "version: STSv1",
    ],
    ids=["empty", "html", "binary", "png", "half"],
)
def test_sts21_a_text_that_is_no_policy(world: World, policy: str | bytes) -> None:
    result = world.fetch(world.host(policy=policy))
    assert result.policy is None
    assert result.failure is Failure.INVALID
    assert result.reason


def test_notes_of_the_policy_come_along(world: World) -> None:
    result = world.fetch(world.host(policy="version: STSv1\nmode: testing\nmax_age: 1\nmx: bücher.example\n"))
    assert result.policy is not None
    assert result.notes


def test_cookies_are_not_kept(world: World) -> None:
    host = world.host("cookie")

    async def twice(fetcher: Fetcher) -> list[FetchResult]:
        domain = host.name.removeprefix("mta-sts.")
        return [await fetcher.fetch(domain), await fetcher.fetch(domain)]

    assert all(result.policy for result in world.run(twice))
    assert host.connections == host.requests == 2  # no connection is kept either
    assert not any("cookie" in head.lower() for head in host.heads)


def test_nothing_comes_from_the_environment(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    host = world.host()
    assert world.fetch(host).policy is not None
    assert "authorization" not in host.heads[0].lower()


@pytest.mark.parametrize("flaw", ["", "expired", "cn-only", "unknown-ca", "sha1"])
def test_the_certificate_is_shown_also_when_it_is_not_accepted(world: World, flaw: str) -> None:
    host = world.host(flaw=flaw)
    result = world.fetch(host, with_certificate=True)
    assert (result.policy is None) is bool(flaw)
    assert "issuer CN=" in result.certificate
    assert ("names (none)" if flaw == "cn-only" else f"names {host.name}") in result.certificate
    assert host.requests == (0 if flaw else 1)  # looking asks for nothing


def test_no_certificate_to_show(world: World) -> None:
    assert world.fetch(world.host("reset"), with_certificate=True).certificate == ""
    assert world.fetch(world.host("silent"), with_certificate=True, timeout=0.3).certificate == ""
    assert world.fetch("nowhere.example", with_certificate=True).certificate == ""


@pytest.mark.parametrize(
    "domain", ["", "a b.example", "a_b.example", "a/../b", "a.example:25", "x" * 64, "ä.example", "1.2.3.4"]
)
def test_names_that_no_host_can_have(world: World, domain: str) -> None:
    result = world.fetch(domain)
    assert result.failure is Failure.FETCH
    assert "not a host name" in result.reason


def test_no_more_than_so_many_at_a_time(world: World) -> None:
    host = world.host()
    host.delay = 0.1
    domain = host.name.removeprefix("mta-sts.")

    async def many(fetcher: Fetcher) -> float:
        start = time.monotonic()
        results = await asyncio.gather(*(fetcher.fetch(domain) for _ in range(6)))
        assert all(result.policy for result in results)
        return time.monotonic() - start

    assert world.run(many, max_concurrent=2) > 0.28  # three rounds


def test_who_gets_no_place_in_time_is_told_so(world: World) -> None:
    first, second, good = world.host("hang"), world.host("hang"), world.host()

    async def queue(fetcher: Fetcher) -> list[FetchResult]:
        holder = asyncio.create_task(fetcher.fetch(first.name.removeprefix("mta-sts.")))
        while not first.requests:
            await asyncio.sleep(0.005)
        # The second takes the place of the first, for as long again
        waiting = [fetcher.fetch(host.name.removeprefix("mta-sts.")) for host in (second, good)]
        return await asyncio.gather(holder, *waiting)

    results = world.run(queue, max_concurrent=1, timeout=0.3)
    assert results[2].failure is Failure.FETCH
    assert "under way" in results[2].reason
    assert good.connections == 0


def test_a_fetch_can_be_cancelled_and_gives_its_place_back(world: World) -> None:
    hanging, good = world.host("hang"), world.host()

    async def cancel(fetcher: Fetcher) -> FetchResult:
        task = asyncio.create_task(fetcher.fetch(hanging.name.removeprefix("mta-sts.")))
        while not hanging.requests:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await fetcher.fetch(good.name.removeprefix("mta-sts."))

    assert world.run(cancel, max_concurrent=1).policy is not None


def test_two_domains_at_once_keep_their_addresses_apart(world: World) -> None:
    hosts = [world.host() for _ in range(20)]

    async def all_of_them(fetcher: Fetcher) -> list[FetchResult]:
        return await asyncio.gather(*(fetcher.fetch(host.name.removeprefix("mta-sts.")) for host in hosts))

    assert all(result.policy for result in world.run(all_of_them))
    assert [host.connections for host in hosts] == [1] * 20
