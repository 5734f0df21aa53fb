"""Fetching a policy (RFC 8461 §3.3): a domain in, a `Policy` or a `Failure` out.

Diagnostics: `Fetcher.fetch` never raises but for cancellation. Failure.FETCH: DNS, TCP, TLS, HTTP, time, size; WEBPKI:
the certificate is not accepted; INVALID: the policy's text. What a failure means for a policy that is known already is
the caller's business.
Limits: `timeout` seconds for addresses, handshake and answer in all; 64 KB of body, of which no more is read; at most
`max_concurrent` fetches at a time, and others wait for at most `timeout` seconds.
Security: chain and host name are always verified. The addresses are looked up once, here, judged, and handed to
aiohttp, which has no other way to a name: there is no second look-up that could say something else. Behind a proxy the
proxy looks names up, so that the judging is the proxy's. No cookies, no netrc, no proxy from the environment, no
connection kept.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from mailcommon.dns.async_resolver import AsyncResolver
from mailcommon.names import is_hostname
from tlspolicyd.sts import addresses, certificate
from tlspolicyd.sts.address import NO_ADDRESS, refusal
from tlspolicyd.sts.connector import Attempt, Connector
from tlspolicyd.sts.http_answer import FetchResult, body_of, failed, not_connected, read, unacceptable

_PATH = "/.well-known/mta-sts.txt"
_HEADERS = {
    "Accept": "text/plain",
    "Accept-Encoding": "identity",  # a body is never unpacked: a few KB of gzip can be gigabytes
    "User-Agent": "gatepost",
}


@dataclass(frozen=True, slots=True)
class FetchSettings:
    ca_file: str = ""  # PEM file with the trusted roots; "": the system's
    https_port: int = 443
    timeout: float = 60.0  # seconds for one fetch in all (RFC 8461 §3.3 suggests a minute)
    proxy: str = ""  # "http://HOST:PORT": an HTTP proxy that tunnels (CONNECT)
    allow_private_addresses: bool = False
    max_concurrent: int = 1000


def policy_host(domain: str) -> str:
    """The host that serves the policy of `domain` (RFC 8461 §3.2)."""
    return f"mta-sts.{domain}"


class Fetcher:
    """Fetches policies, for one event loop. Raises ValueError if `ca_file` or `proxy` cannot be used."""

    def __init__(self, resolver: AsyncResolver, settings: FetchSettings = FetchSettings()) -> None:
        if settings.proxy and urlsplit(settings.proxy).scheme != "http":
            raise ValueError(f"proxy {settings.proxy}: must begin with http://")
        self._resolver = resolver
        self._settings = settings
        self._tls = certificate.trust(settings.ca_file)
        self._places = asyncio.Semaphore(settings.max_concurrent)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, domain: str, *, with_certificate: bool = False) -> FetchResult:
        """The policy of `domain` (A-labels). `with_certificate` costs a second connection, after the fetch."""
        host = policy_host(domain)
        if not is_hostname(host):
            return failed(f"{host} is not a host name")
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._places.acquire()
        except TimeoutError:
            return failed(f"{self._settings.max_concurrent} other fetches were under way")
        try:
            result = await self._timed(host)
            if not with_certificate:
                return result
            shown = await self._look(host)
        finally:
            self._places.release()
        return FetchResult(result.policy, result.failure, result.reason, shown, result.notes)

    async def close(self) -> None:
        """Close what is open. A fetch that is under way fails."""
        if self._session is not None:
            await self._session.close()

    async def _timed(self, host: str) -> FetchResult:
        try:
            async with asyncio.timeout(self._settings.timeout) as limit:
                return await self._find_and_get(host)
        except TimeoutError:
            if limit.expired():
                return failed(f"no policy from {host} within {self._settings.timeout:g} s")
            return failed(f"{host} does not answer")

    async def _find_and_get(self, host: str) -> FetchResult:
        found = await self._find(host)
        if not found.all:
            return failed(found.reason)
        # A family may connect and then be another, misconfigured server, or hang in the handshake: IPv4 gets its turn
        rounds = [found.all, found.v4] if found.v6 and found.v4 else [found.all]
        patience = self._settings.timeout / (2 if len(found.all) > 1 else 1)
        result = failed(f"{host} does not answer")
        for these in rounds:
            try:
                return await self._get(host, these, patience)
            except aiohttp.ClientConnectorError as fault:
                result = not_connected(host, fault)
            except aiohttp.ConnectionTimeoutError:
                result = failed(f"no connection to {host} in time")
        return result

    async def _find(self, host: str) -> addresses.Found:
        if not self._settings.proxy:
            return await addresses.find(self._resolver, host, self._settings.allow_private_addresses)
        name = urlsplit(self._settings.proxy).hostname or ""
        if refusal(name) != NO_ADDRESS:
            return addresses.Found(v4=(name,))  # an address: aiohttp takes it as it is
        return await addresses.find(self._resolver, name, allow_private=True)

    async def _get(self, host: str, chosen: tuple[str, ...], patience: float) -> FetchResult:
        """One request to one of the `chosen` addresses, each with `patience` seconds for TCP and TLS.

        Raises ClientConnectorError and ConnectionTimeoutError, for which another address may help, and TimeoutError.
        """
        try:
            with Attempt(chosen):
                async with self._open_session().get(
                    URL.build(scheme="https", host=host, port=self._settings.https_port, path=_PATH),
                    allow_redirects=False,  # RFC 8461 §3.3: "HTTP 3xx redirects MUST NOT be followed"
                    proxy=self._settings.proxy or None,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience),
                ) as response:
                    fault = unacceptable(response)
                    return failed(f"{host}: {fault}") if fault else read(await body_of(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except aiohttp.ClientHttpProxyError as fault:
            return failed(f"the proxy does not connect to {host}: HTTP status {fault.status}")
        except aiohttp.ClientResponseError as fault:
            return failed(f"{host} does not speak HTTP: {fault.message[:200]}")
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            if isinstance(fault, TimeoutError):
                raise
            return failed(f"{host} broke off: {str(fault)[:200] or type(fault).__name__}")

    async def _look(self, host: str) -> str:
        if self._settings.proxy:
            return ""
        try:
            async with asyncio.timeout(self._settings.timeout):
                found = await self._find(host)
                return await certificate.look(host, self._settings.https_port, found.all)
        except TimeoutError:
            return ""

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connector(self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers=_HEADERS,
                trust_env=False,
            )
        return self._session
