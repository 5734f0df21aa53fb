"""What a URI leads to, fetched and judged: a `Uri` in, an `Asset` out, for one event loop.

Diagnostics: a `Fault` for whatever goes wrong; only cancellation raises.
Limits: 64 KB for an indicator and for a document, 1 MB for a revocation list, of each certificate the first two lists,
which are kept for an hour, 8 MB of them;
three redirects, all of them https; the client's timeout for each fetch.
Security: see `mailcommon.fetch`. Revocation lists may come by plain http, as they mostly do: they are signed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Protocol

import cachetools
from cryptography import x509

from authmilter.bimi.assets import Asset, Fault, Kind
from authmilter.bimi.evidence import crl
from authmilter.bimi.evidence.crl import Ruling, Standing
from authmilter.bimi.evidence.mark import Check, Mark, examine
from authmilter.bimi.indicator import read_indicator
from authmilter.bimi.settings import MarkSettings
from authmilter.bimi.uri import Uri
from mailcommon.fetch import fetched, location
from mailcommon.fetch.fetched import Document, Fetched
from mailcommon.fetch.location import Location

MAX_OCTETS = 65_536
MAX_LIST = 1_048_576
_MAX_LISTS = 2  # places of one list that are tried
_REDIRECTS = 3
_KEPT_LISTS = 8 * MAX_LIST  # octets
_LIST_SECONDS = 3_600.0

INDICATOR = Document("indicator", (), MAX_OCTETS, _REDIRECTS, packed=True)
EVIDENCE = Document("evidence document", (), MAX_OCTETS, _REDIRECTS)
REVOCATIONS = Document("revocation list", (), MAX_LIST, _REDIRECTS)

# these may be gone when the host is asked again
_PASSING = (
    fetched.Fault.BUSY,
    fetched.Fault.DNS,
    fetched.Fault.CONNECT,
    fetched.Fault.TIME,
    fetched.Fault.HTTP,
)
_SERVER_ERROR = 500


class Fetching(Protocol):
    """`mailcommon.fetch.client.Client`."""

    async def fetch(self, location: Location, document: Document) -> Fetched:
        """See Client."""
        ...

    async def close(self) -> None:
        """See Client."""
        ...


class Loader:
    """Fetches and judges."""

    def __init__(self, client: Fetching, marks: MarkSettings, now: Callable[[], float], port: int = 443) -> None:
        """`now` gives unix seconds. `port`: the one beside the usual ones that URLs of revocation lists may name."""
        self._client = client
        self._marks = marks
        self._now = now
        self._port = port
        self._lists: cachetools.TTLCache[str, bytes] = cachetools.TTLCache(_KEPT_LISTS, _LIST_SECONDS, getsizeof=len)

    async def load(self, kind: Kind, uri: Uri) -> Asset:
        """What is behind `uri`."""
        document = INDICATOR if kind is Kind.INDICATOR else EVIDENCE
        got = await self._client.fetch(Location(uri.host, uri.target), document)
        if got.body is None:
            return as_fault(got)
        if kind is Kind.EVIDENCE:
            return await self.evidence(got.body)
        indicator = read_indicator(got.body)
        return Fault(indicator) if isinstance(indicator, str) else indicator

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def evidence(self, pem: bytes) -> Mark | Fault:
        """The mark in a document, its revocation included."""
        found = examine(pem, self._marks, self._now())
        if found.mark is None:
            return Fault(found.fault)
        for check in await self.revocation(found.mark.chain):
            if check.fault:
                return Fault(check.fault, check.temporary)
        return found.mark

    async def revocation(self, chain: tuple[x509.Certificate, ...]) -> list[Check]:
        """What the lists say about each certificate but the root (BIMI evidence §5.1 step 3)."""
        if self._marks.revocation == "off":
            return []
        # that the mark certificate names a list was looked at before; its issuer's may be left out
        pairs = [pair for pair in itertools.pairwise(chain) if crl.locations(pair[0])]
        rulings = await asyncio.gather(*(self._ruling(certificate, issuer) for certificate, issuer in pairs))
        return [
            self._check(ruling, "it" if certificate is chain[0] else "its issuer")
            for ruling, (certificate, _) in zip(rulings, pairs, strict=True)
        ]

    def _check(self, ruling: Ruling, whose: str) -> Check:
        unknown = ruling.standing is Standing.UNKNOWN
        bad = ruling.standing is Standing.REVOKED or (unknown and self._marks.revocation == "hard")
        words = ruling.reason.replace("it was", f"{whose} was", 1)
        return Check("revocation", words if bad else "", words or f"{whose} is not revoked", unknown)

    async def _ruling(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Ruling:
        reason = ""
        for url in crl.locations(certificate)[:_MAX_LISTS]:
            octets = self._lists.get(url)
            if octets is None:
                place = location.parse(url, self._port, plain=True)
                if isinstance(place, str):
                    reason = reason or f"the URL of its revocation list {place}"
                    continue
                got = await self._client.fetch(place, REVOCATIONS)
                if got.body is None:
                    reason = reason or f"its revocation list cannot be had: {got.reason}"
                    continue
                octets = got.body
            ruling = crl.judge(octets, certificate, issuer, self._now())
            if ruling.standing is not Standing.UNKNOWN:
                self._lists[url] = octets  # one list is of all marks of an issuer
                return ruling
            self._lists.pop(url, None)
            reason = reason or f"its revocation list cannot be used: {ruling.reason}"
        return Ruling(Standing.UNKNOWN, reason)


def as_fault(got: Fetched) -> Fault:
    """A fetch that failed."""
    passing = got.fault in _PASSING or got.status >= _SERVER_ERROR
    return Fault(got.reason, passing)
