"""What a policy host of `policy_host` answers: its policy, or one of the faults that a client has to live with."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from dataclasses import dataclass, field

from tests.support.certificates import Credentials

# fault -> what the client meets
FAULTS = {
    "silent": "a TCP connection and no TLS",
    "reset": "a reset before TLS",
    "plain": "HTTP without TLS",
    "old-tls": "TLS 1.0 and 1.1 only",
    "no-name": "a TLS alert for its server name",
    "hang": "TLS, and no answer to the request",
    "hang-body": "the header of an answer, and no body",
    "reset-body": "a reset in the middle of the body",
    "cut-body": "an answer that ends before its Content-Length",
    "drip": "the answer, an octet at a time, `pause` seconds apart",
    "drip-body": "the header at once, the body as with drip",
    "huge": "a body of 1 GB with its Content-Length",
    "huge-chunked": "a body of 1 GB in chunks",
    "endless-header": "a header that does not end",
    "garbage": "octets that are no HTTP",
    "packed": "the policy packed with gzip, and marked so",
    "bomb": "64 MB of policy packed with gzip, and marked so",
    "redirect": "301 to `redirect_to`, or to another path of the same host, where the policy is",
    "cookie": "the policy, and a cookie",
}
BEFORE_TLS = frozenset(("silent", "reset", "plain", "no-name"))
NO_SUCH_NAME = bytes.fromhex("15030300020270")  # RFC 8446 §6: a fatal alert, unrecognized_name
_GIGABYTE = 1 << 30


@dataclass(slots=True)
class Host:
    """One host name. What is set here counts for the next connection."""

    name: str
    policy: str | bytes
    credentials: Credentials
    fault: str = ""
    status: int = 200
    content_type: str = "text/plain"  # "": none
    delay: float = 0.0  # seconds before an answer
    pause: float = 1.0  # seconds between the octets of drip
    redirect_to: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # path -> body, in place of the policy
    fault_addresses: frozenset[str] = frozenset()  # of ours, the ones that have the fault; none: all
    connections: int = 0
    handshakes: int = 0  # that succeeded
    requests: int = 0
    sent: int = 0  # octets of answers that were handed to the kernel, more or less
    heads: list[str] = field(default_factory=list)  # the requests as they came
    contexts: dict[tuple[Credentials, bool], ssl.SSLContext] = field(default_factory=dict)


async def before_tls(connection: socket.socket, fault: str) -> None:
    try:
        if fault == "silent":
            await asyncio.Event().wait()
        elif fault == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "no-name":
            connection.sendall(NO_SUCH_NAME)
        else:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    finally:
        connection.close()


def _header(host: Host, length: int | None, *more: str, status: int = 0) -> bytes:
    lines = [f"HTTP/1.1 {status or host.status} Whatever"]
    if host.content_type:
        lines.append(f"Content-Type: {host.content_type}")
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return "\r\n".join((*lines, *more, "", "")).encode("latin-1")


async def answer(writer: asyncio.StreamWriter, host: Host, fault: str, path: str) -> None:
    body = host.policy.encode() if isinstance(host.policy, str) else host.policy
    if host.files:
        body = host.files.get(path, b"")
    if path not in (host.files or ("/.well-known/mta-sts.txt", "/elsewhere")):
        await _send(writer, host, _header(host, 0, status=404))
    elif fault == "hang":
        await asyncio.Event().wait()
    elif fault == "hang-body":
        await _send(writer, host, _header(host, len(body)))
        await asyncio.Event().wait()
    elif fault == "reset-body":
        await _send(writer, host, _header(host, len(body)) + body[: len(body) // 2])
        _reset(writer)
    elif fault == "cut-body":
        await _send(writer, host, _header(host, len(body) + 100) + body)
        await _finish(writer)
    elif fault in ("drip", "drip-body"):
        header = _header(host, len(body))
        if fault == "drip-body":
            await _send(writer, host, header)
            header = b""
        for octet in header + body:
            await _send(writer, host, bytes((octet,)))
            await asyncio.sleep(host.pause)
        await _finish(writer)
    elif fault in ("huge", "huge-chunked"):
        await _huge(writer, host, chunked=fault == "huge-chunked")
    elif fault == "endless-header":
        await _send(writer, host, b"HTTP/1.1 200 OK\r\n")
        while True:
            await _send(writer, host, b"X-More: and more\r\n" * 100)
    elif fault == "garbage":
        await _send(writer, host, b"\x00\xff220 mx ESMTP\r\n\r\n" * 10)
        await _finish(writer)
    elif fault in ("packed", "bomb"):
        packed = gzip.compress(body + b"#" * (_GIGABYTE // 16 if fault == "bomb" else 0), 1)
        await _send(writer, host, _header(host, len(packed), "Content-Encoding: gzip") + packed)
        await _finish(writer)
    elif fault == "redirect" and path != "/elsewhere":
        await _send(
            writer,
            host,
            _header(host, 0, f"Location: {host.redirect_to or f'https://{host.name}/elsewhere'}", status=301),
        )
        await _finish(writer)
    elif host.status in (204, 304):
        await _send(writer, host, _header(host, 0))
        await _finish(writer)
    else:
        more = ("Set-Cookie: visited=1; Path=/",) if fault == "cookie" else ()
        await _send(writer, host, _header(host, len(body), *more) + body)
        await _finish(writer)


async def _huge(writer: asyncio.StreamWriter, host: Host, *, chunked: bool) -> None:
    block = b"mx: mx.a.example\r\n" * 1024
    await _send(writer, host, _header(host, None if chunked else _GIGABYTE))
    for _ in range(_GIGABYTE // len(block)):
        await _send(writer, host, b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)


async def _send(writer: asyncio.StreamWriter, host: Host, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0)  # drain alone never lets the loop see that the client is gone
    if writer.transport.is_closing():
        raise ConnectionResetError("the client went away")
    host.sent += len(data)


async def _finish(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
