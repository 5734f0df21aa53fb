"""What a fetch comes to: the octets, or one word and one sentence for why there are none. Which answers count.

Limits: a body is read up to the octets that its `Document` may have; of a longer one nothing counts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import aiohttp


class Fault(enum.Enum):
    """Why there is no document. DNS, BUSY, CONNECT, TIME and a STATUS of 500 or more may pass by themselves."""

    LOCATION = "location"  # not an https URL of a host name
    BUSY = "busy"  # no place among the fetches under way
    DNS = "dns"  # the addresses cannot be looked up
    ADDRESS = "address"  # there is none, or none that may be used
    CONNECT = "connect"  # TCP, or the proxy
    TLS = "tls"
    CERTIFICATE = "certificate"  # not accepted
    TIME = "time"
    HTTP = "http"  # another protocol, or broken off
    STATUS = "status"  # not 200
    KIND = "kind"  # another media type, or packed
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Upload:
    """What is sent."""

    kind: str  # media type
    octets: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """What may come, whoever sends it."""

    name: str  # for people: "policy"
    kinds: tuple[str, ...]  # media types that count, lower case; none: any, or none at all
    octets: int  # of the body
    redirects: int = 0  # how many are followed
    packed: bool = False  # Content-Encoding may be gzip; the octets are given as they come, packed
    upload: Upload | None = None  # what is sent to get it; then its status counts alone


@dataclass(frozen=True, slots=True)
class Fetched:
    """One fetch. Either `body` or `fault` is there."""

    body: bytes | None
    fault: Fault | None = None
    reason: str = ""  # of the fault, for people
    status: int = 0  # of HTTP, with STATUS and after a post


def failed(fault: Fault, reason: str, status: int = 0) -> Fetched:
    return Fetched(None, fault, reason, status)


def not_connected(host: str, fault: aiohttp.ClientConnectorError) -> Fetched:
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        cause = fault.certificate_error
        words = getattr(cause, "verify_message", "") or cause
        return failed(Fault.CERTIFICATE, f"the certificate of {host} is not accepted: {words}")
    if isinstance(fault, aiohttp.ClientConnectorSSLError):
        error = fault.os_error
        return failed(Fault.TLS, f"no TLS with {host}: {getattr(error, 'reason', None) or error}")
    what = fault.os_error.strerror or str(fault.os_error) or "closed by the other side"
    return failed(Fault.CONNECT, f"no connection to {host}: {what}")


def received(host: str, response: aiohttp.ClientResponse) -> Fetched:
    """The answer to something that was sent: what counts is its status, and that is 2xx."""
    if 200 <= response.status < 300:
        return Fetched(b"", status=response.status)
    return failed(Fault.STATUS, f"{host}: HTTP status {response.status}", response.status)


def unacceptable(host: str, response: aiohttp.ClientResponse, document: Document) -> Fetched | None:
    """What is wrong with an answer before its body; None if nothing is."""
    if response.status != 200:
        where = response.headers.get("Location", "")[:200] if 300 <= response.status < 400 else ""
        to = f", a redirect to {where}" if where else ""
        return failed(Fault.STATUS, f"{host}: HTTP status {response.status}{to}", response.status)
    kind = response.headers.get("Content-Type", "")
    if document.kinds and kind.partition(";")[0].strip(" \t").lower() not in document.kinds:  # parameters are ignored
        wanted = " or ".join(document.kinds)
        what = f"the media type is {kind[:100]}, not {wanted}" if kind else "there is no media type"
        return failed(Fault.KIND, f"{host}: {what}")
    coding = response.headers.get("Content-Encoding", "identity").strip(" \t").lower()
    if coding not in ("", "identity", *(("gzip", "x-gzip") if document.packed else ())):
        return failed(Fault.KIND, f"{host}: the body is packed ({coding[:40]})")
    return None


async def read_body(response: aiohttp.ClientResponse, document: Document) -> Fetched:
    """The body, without the rest of one that is longer than it may be."""
    body = bytearray()
    longer = (response.content_length or 0) > document.octets
    while not longer and (chunk := await response.content.readany()):
        body += chunk
        longer = len(body) > document.octets
    if longer:
        return failed(Fault.SIZE, f"the {document.name} has more than {document.octets} octets")
    return Fetched(bytes(body))
