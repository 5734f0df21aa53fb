"""Fetching a policy (RFC 8461 §3.3): a domain in, a `Policy` or a `Failure` out.

Diagnostics: `Fetcher.fetch` never raises but for cancellation. Failure.FETCH: DNS, TCP, TLS, HTTP, time, size; WEBPKI:
the certificate is not accepted; INVALID: the policy's text. What a failure means for a policy that is known already is
the caller's business.
Limits, Security: those of `mailcommon.fetch.client`; a policy has at most 64 KB.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from mailcommon.dns.async_resolver import AsyncResolver
from mailcommon.fetch.client import Client, ClientSettings
from mailcommon.fetch.fetched import Document, Fault, Fetched
from mailcommon.fetch.location import Location
from tlspolicyd.facts import Failure, Policy
from tlspolicyd.sts import certificate, policy

_PATH = "/.well-known/mta-sts.txt"
# RFC 8461 §3.2: "text/plain"; §3.3: "HTTP 3xx redirects MUST NOT be followed", only status 200 counts
_POLICY = Document("policy", ("text/plain",), policy.MAX_OCTETS)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """One fetch. Either `policy` or `failure` is there."""

    policy: Policy | None
    failure: Failure | None = None
    reason: str = ""  # of the failure, for people
    certificate: str = ""  # the policy host's, if it was asked for; for people
    notes: tuple[str, ...] = ()  # what was passed over in the policy's text, for people
    lines: tuple[str, ...] = ()  # with Failure.INVALID: what was published (RFC 8460 §4.5)


def policy_host(domain: str) -> str:
    """The host that serves the policy of `domain` (RFC 8461 §3.2)."""
    return f"mta-sts.{domain}"


class Fetcher:
    """Fetches policies, for one event loop. Raises ValueError if `ca_file` or `proxy` cannot be used."""

    def __init__(self, resolver: AsyncResolver, settings: ClientSettings) -> None:
        self._settings = settings
        self._client = Client(resolver, settings)

    async def fetch(self, domain: str, *, with_certificate: bool = False) -> FetchResult:
        """The policy of `domain` (A-labels). `with_certificate` costs a second connection, after the fetch."""
        host = policy_host(domain)
        fetched = await self._client.fetch(Location(host, _PATH), _POLICY)
        result = _read(fetched)
        if not with_certificate or fetched.fault in (Fault.LOCATION, Fault.BUSY):
            return result
        return replace(result, certificate=await self._look(host))

    async def close(self) -> None:
        """Close what is open. A fetch that is under way fails."""
        await self._client.close()

    async def _look(self, host: str) -> str:
        if self._settings.proxy:
            return ""
        try:
            async with asyncio.timeout(self._settings.timeout):
                found = await self._client.find(host)
                return await certificate.look(host, self._settings.https_port, found.all)
        except TimeoutError:
            return ""


def _read(fetched: Fetched) -> FetchResult:
    if fetched.body is None:
        # RFC 8460 §4.3.2.2: "could not be authenticated using PKIX validation"
        failure = Failure.WEBPKI if fetched.fault is Fault.CERTIFICATE else Failure.FETCH
        return FetchResult(None, failure, fetched.reason)
    reading = policy.parse(fetched.body)
    if reading.policy is None:
        lines = policy.shown(fetched.body)
        return FetchResult(None, Failure.INVALID, reading.reason, notes=reading.notes, lines=lines)
    return FetchResult(reading.policy, notes=reading.notes)
