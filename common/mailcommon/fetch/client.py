"""Fetching one document over HTTPS: a `Location` in, a `Fetched` out. For any host, however hostile.

`Client.post` sends octets instead, in the same way and within the same limits.

Diagnostics: `Client.fetch` never raises but for cancellation; `Fault` has a word for all that can go wrong.
Limits: `timeout` seconds for addresses, handshakes, redirects and answers in all; the octets of the `Document`; at most
`max_concurrent` fetches at a time, and others wait for at most `timeout` seconds.
Security: chain and host name are always verified. The addresses of each host are looked up once, here, judged, and
handed to aiohttp, which has no other way to a name: there is no second look-up that could say something else. Behind a
proxy the proxy looks names up, so that the judging is the proxy's. No cookies, no netrc, no proxy from the environment,
no connection kept.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from mailcommon.dns.async_resolver import AsyncResolver
from mailcommon.fetch import addresses
from mailcommon.fetch.address import NO_ADDRESS, refusal
from mailcommon.fetch.connector import Attempt, Connector
from mailcommon.fetch.fetched import (
    Document,
    Fault,
    Fetched,
    Upload,
    failed,
    not_connected,
    read_body,
    received,
    unacceptable,
)
from mailcommon.fetch.location import Location, follow
from mailcommon.fetch.trust import trust
from mailcommon.names import is_hostname

_HEADERS = {
    "Accept-Encoding": "identity",  # a body is never unpacked: a few KB of gzip can be gigabytes
    "User-Agent": "gatepost",
}
_ANSWER = 65_536  # octets of what comes back where something was sent: nothing of it is looked at
_REDIRECTS = (301, 302, 303, 307, 308)  # RFC 9110 §15.4


@dataclass(frozen=True, slots=True)
class ClientSettings:
    ca_file: str = ""  # PEM file with the trusted roots; "": the system's
    more_roots: str = ""  # PEM file with roots beside these
    https_port: int = 443
    timeout: float = 60.0  # seconds for one fetch in all
    proxy: str = ""  # "http://HOST:PORT": an HTTP proxy that tunnels (CONNECT)
    allow_private_addresses: bool = False
    max_concurrent: int = 1000


def _headers(document: Document) -> dict[str, str]:
    headers = {"Accept": ", ".join(document.kinds) or "*/*"}
    if document.upload is not None:
        headers["Content-Type"] = document.upload.kind
    return headers


class _Redirected(Exception):
    """Ends a request inside this module; the text is where it leads to."""


class Client:
    """Fetches documents, for one event loop. Raises ValueError if `ca_file` or `proxy` cannot be used."""

    def __init__(self, resolver: AsyncResolver, settings: ClientSettings) -> None:
        if settings.proxy and urlsplit(settings.proxy).scheme != "http":
            raise ValueError(f"proxy {settings.proxy}: must begin with http://")
        self._resolver = resolver
        self._settings = settings
        self._tls = trust(settings.ca_file, settings.more_roots)
        self._places = asyncio.Semaphore(settings.max_concurrent)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, location: Location, document: Document) -> Fetched:
        """The document at `location`, if it is as `document` says."""
        if not is_hostname(location.host):
            return failed(Fault.LOCATION, f"{location.host} is not a host name")
        if self._places.locked():
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await self._places.acquire()
            except TimeoutError:
                return failed(Fault.BUSY, f"{self._settings.max_concurrent} other fetches were under way")
        else:
            await self._places.acquire()
        try:
            return await self._timed(location, document)
        finally:
            self._places.release()

    async def post(self, location: Location, upload: Upload) -> Fetched:
        """Send octets to `location`; the body of a good answer, one of status 2xx, is not read."""
        return await self.fetch(location, Document("answer", (), _ANSWER, upload=upload))

    async def find(self, host: str) -> addresses.Found:
        """The addresses that a connection to `host` may go to: those of the proxy, if there is one."""
        if not self._settings.proxy:
            return await addresses.find(self._resolver, host, self._settings.allow_private_addresses)
        name = urlsplit(self._settings.proxy).hostname or ""
        if refusal(name) != NO_ADDRESS:
            return addresses.Found(v4=(name,))  # an address: aiohttp takes it as it is
        return await addresses.find(self._resolver, name, allow_private=True)

    async def close(self) -> None:
        """Close what is open. A fetch that is under way fails."""
        if self._session is not None:
            await self._session.close()

    async def _timed(self, location: Location, document: Document) -> Fetched:
        try:
            async with asyncio.timeout(self._settings.timeout) as limit:
                return await self._follow(location, document)
        except TimeoutError:
            if limit.expired():
                return failed(
                    Fault.TIME, f"no {document.name} from {location.host} within {self._settings.timeout:g} s"
                )
            return failed(Fault.TIME, f"{location.host} does not answer")

    async def _follow(self, location: Location, document: Document) -> Fetched:
        left = document.redirects
        while True:
            try:
                return await self._find_and_get(location, document, redirect=left > 0)
            except _Redirected as redirected:
                left -= 1
                next_one = follow(location, str(redirected), self._settings.https_port)
                if isinstance(next_one, str):
                    return failed(Fault.LOCATION, f"{location.host} redirects to what {next_one}")
                location = next_one

    async def _find_and_get(self, location: Location, document: Document, *, redirect: bool) -> Fetched:
        host = location.host
        found = await self.find(host)
        if not found.all:
            return failed(Fault.DNS if found.unknown else Fault.ADDRESS, found.reason)
        # A family may connect and then be another, misconfigured server, or hang in the handshake: IPv4 gets its turn
        rounds = [found.all, found.v4] if found.v6 and found.v4 else [found.all]
        patience = self._settings.timeout / (2 if len(found.all) > 1 else 1)
        result = failed(Fault.CONNECT, f"{host} does not answer")
        for these in rounds:
            try:
                return await self._get(location, document, these, patience, redirect=redirect)
            except aiohttp.ClientConnectorError as fault:
                result = not_connected(host, fault)
            except aiohttp.ConnectionTimeoutError:
                result = failed(Fault.CONNECT, f"no connection to {host} in time")
        return result

    async def _get(
        self, location: Location, document: Document, chosen: tuple[str, ...], patience: float, *, redirect: bool
    ) -> Fetched:
        """One request to one of the `chosen` addresses, each with `patience` seconds for TCP and TLS.

        Raises ClientConnectorError and ConnectionTimeoutError, for which another address may help, TimeoutError, and
        _Redirected if `redirect`.
        """
        host = location.host
        try:
            with Attempt(chosen, document.octets):
                async with self._open_session().request(
                    "GET" if document.upload is None else "POST",
                    self._url(location),
                    headers=_headers(document),
                    data=document.upload.octets if document.upload is not None else None,
                    allow_redirects=False,  # each host is judged, here
                    proxy=self._settings.proxy or None,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience),
                ) as response:
                    if redirect and response.status in _REDIRECTS and "Location" in response.headers:
                        raise _Redirected(response.headers["Location"])
                    if document.upload is not None:
                        return received(host, response)
                    return unacceptable(host, response, document) or await read_body(response, document)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except aiohttp.ClientHttpProxyError as fault:
            return failed(Fault.CONNECT, f"the proxy does not connect to {host}: HTTP status {fault.status}")
        except aiohttp.ClientResponseError as fault:
            return failed(Fault.HTTP, f"{host} does not speak HTTP: {fault.message[:200]}")
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            if isinstance(fault, TimeoutError):
                raise
            return failed(Fault.HTTP, f"{host} broke off: {str(fault)[:200] or type(fault).__name__}")

    def _url(self, location: Location) -> URL:
        scheme = "http" if location.plain_port else "https"
        port = location.plain_port or self._settings.https_port
        return URL(f"{scheme}://{location.host}:{port}{location.target}", encoded=True)

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
