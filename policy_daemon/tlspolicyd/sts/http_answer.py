"""The answer of a policy host -> `FetchResult`: which answers count (RFC 8461 §3.2, §3.3), what the others are called.

Limits: a body is read up to 64 KB; of a longer one nothing counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from tlspolicyd.facts import Failure, Policy
from tlspolicyd.sts import policy


@dataclass(frozen=True, slots=True)
class FetchResult:
    """One fetch. Either `policy` or `failure` is there."""

    policy: Policy | None
    failure: Failure | None = None
    reason: str = ""  # of the failure, for people
    certificate: str = ""  # the policy host's, if it was asked for; for people
    notes: tuple[str, ...] = ()  # what was passed over in the policy's text, for people


def failed(reason: str, failure: Failure = Failure.FETCH) -> FetchResult:
    return FetchResult(None, failure, reason)


def not_connected(host: str, fault: aiohttp.ClientConnectorError) -> FetchResult:
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        cause = fault.certificate_error
        # RFC 8460 §4.3.2.2: "could not be authenticated using PKIX validation"
        return failed(
            f"the certificate of {host} is not accepted: {getattr(cause, 'verify_message', '') or cause}",
            Failure.WEBPKI,
        )
    if isinstance(fault, aiohttp.ClientConnectorSSLError):
        cause = fault.os_error
        return failed(f"no TLS with {host}: {getattr(cause, 'reason', None) or cause}")
    what = fault.os_error.strerror or str(fault.os_error) or "closed by the other side"
    return failed(f"no connection to {host}: {what}")


def unacceptable(response: aiohttp.ClientResponse) -> str:
    """What is wrong with an answer before its body; "" if nothing is."""
    if response.status != 200:  # RFC 8461 §3.3: "only valid if the HTTP response code is 200 (OK)"
        where = response.headers.get("Location", "")[:200] if 300 <= response.status < 400 else ""
        return f"HTTP status {response.status}" + (f", a redirect to {where}" if where else "")
    kind = response.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip(" \t").lower() != "text/plain":  # RFC 8461 §3.2; parameters are ignored
        return f"the media type is {kind[:100]}, not text/plain" if kind else "there is no media type"
    coding = response.headers.get("Content-Encoding", "identity").strip(" \t").lower()
    if coding not in ("", "identity"):
        return f"the body is packed ({coding[:40]})"
    return ""


async def body_of(response: aiohttp.ClientResponse) -> bytes | None:
    """The body; None if it is longer than it may be, without the rest of it."""
    if (response.content_length or 0) > policy.MAX_OCTETS:
        return None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > policy.MAX_OCTETS:
            return None
    return bytes(body)


def read(body: bytes | None) -> FetchResult:
    if body is None:
        return failed(f"the policy has more than {policy.MAX_OCTETS} octets")  # RFC 8461 §3.3
    reading = policy.parse(body)
    if reading.policy is None:
        return FetchResult(None, Failure.INVALID, reading.reason, notes=reading.notes)
    return FetchResult(reading.policy, notes=reading.notes)
