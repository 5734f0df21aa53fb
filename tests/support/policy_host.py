"""A real HTTPS server for MTA-STS policies on loopback addresses: any number of host names, good or broken.

    with PolicyHost(ca) as server:
        host = server.add("a.example", "version: STSv1\\nmode: none\\nmax_age: 60\\n")   # https://mta-sts.a.example:PORT
        host.fault = "redirect"                                                         # for the next connection
        ...
        assert host.requests == 1

A connection is sorted by the server name of its ClientHello before TLS begins, so that each host has its own TLS rules
and faults. One thread runs all addresses on one port.

Diagnostics: `OSError` if the port cannot be had on every address.
Limits: a request has to come within 64 KB; what else a client does wrong closes its connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from tests.support.certificates import Credentials, PrivateCa
from tests.support.policy_answers import BEFORE_TLS, FAULTS, Host, answer, before_tls


class PolicyHost:
    """The server; `add` works before and while it runs."""

    def __init__(self, ca: PrivateCa, addresses: Sequence[str] = ("127.0.0.1",), port: int = 0) -> None:
        self._ca = ca
        self._addresses = tuple(addresses)
        self._wanted = port
        self._hosts: dict[str, Host] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listeners: list[socket.socket] = []
        self._shared: Credentials | None = None
        self.port = 0
        self.connections = 0

    def __enter__(self) -> Self:
        self._listeners = _listen(self._addresses, self._wanted)
        self.port = int(self._listeners[0].getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="policy-host", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for listener in self._listeners:
            listener.close()

    def add(self, domain: str, policy: str | bytes, *, credentials: Credentials | None = None, fault: str = "") -> Host:
        """Serve `policy` as that of `domain`; without `credentials` with a good certificate of the authority."""
        name = f"mta-sts.{domain}"
        host = Host(name, policy, credentials or self._ca.issue(name), fault)
        if fault and fault not in FAULTS:
            raise ValueError(f"no such fault: {fault}")
        self._hosts[name] = host
        return host

    def add_files(self, name: str, files: dict[str, bytes], fault: str = "") -> Host:
        """Serve files, by their path, as the host `name`; more may be put into `Host.files` later."""
        host = Host(name, "", self._ca.issue(name), fault, content_type="", files=dict(files))
        self._hosts[name] = host
        return host

    def host(self, domain: str) -> Host:
        """The host of `domain`."""
        return self._hosts[f"mta-sts.{domain}"]

    def named(self, name: str) -> Host:
        """The host of that name."""
        return self._hosts[name]

    @property
    def requests(self) -> int:
        """Requests to all hosts."""
        return sum(host.requests for host in self._hosts.values())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        # Whatever a client breaks off is nothing to tell
        self._loop.set_exception_handler(lambda _loop, _context: None)
        for listener in self._listeners:
            self._begin(self._accept(listener))
        self._loop.run_forever()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # transports that were aborted close now
        self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(listener)
            self._begin(self._sort(connection))

    async def _sort(self, connection: socket.socket) -> None:
        """Find the host that a new connection is for, and serve it."""
        self.connections += 1
        # asyncio sets it for sockets that were made with the protocol number of TCP, and accepted ones have 0
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            hello = await _peek(self._loop, connection)
            host = self._hosts.get(server_name(hello))
            if host is None:
                await before_tls(connection, "no-name")
                return
            host.connections += 1
            fault = host.fault
            if host.fault_addresses and connection.getsockname()[0] not in host.fault_addresses:
                fault = ""
            if fault in BEFORE_TLS:
                await before_tls(connection, fault)
                return
        except BaseException:
            connection.close()
            raise
        await self._serve(connection, host, fault)

    async def _serve(self, connection: socket.socket, host: Host, fault: str) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=_context(host, fault), ssl_handshake_timeout=10
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        try:
            host.handshakes += 1
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            host.requests += 1
            host.heads.append(head)
            await asyncio.sleep(host.delay)
            await answer(writer, host, fault, head.split(" ", 2)[1])
        finally:
            transport.abort()


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except (OSError, EOFError, asyncio.LimitOverrunError):
        return  # the client went away, or does not like the certificate


def _listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listeners.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(1000)
        except OSError:
            for each in listeners:
                each.close()
            raise
        listener.setblocking(False)
        port = int(listener.getsockname()[1])
    return listeners


def _context(host: Host, fault: str) -> ssl.SSLContext:
    key = (host.credentials, fault == "old-tls")
    context = host.contexts.get(key)
    if context is None:
        context = host.contexts[key] = host.credentials.server_context()
        if fault == "old-tls":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    event = asyncio.Event()
    loop.add_reader(connection, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(connection)


async def _peek(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """The ClientHello, left in the socket; b"" if the client closes or talks something else."""
    connection.setblocking(False)
    while True:
        try:
            data = connection.recv(65_536, socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(loop, connection)
            continue
        if not data or data[0] != 22 or (len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big")):
            return data
        await asyncio.sleep(0.002)  # a part of it is there: always readable


def server_name(hello: bytes) -> str:
    """The host name of the SNI extension in a TLS record with a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), or ""."""
    try:
        place = 5 + 4 + 2 + 32  # record, handshake header, version, random
        place += 1 + hello[place]  # session id
        place += 2 + int.from_bytes(hello[place : place + 2], "big")  # cipher suites
        place += 1 + hello[place]  # compression
        end = place + 2 + int.from_bytes(hello[place : place + 2], "big")
        place += 2
        while place < end:
            kind, size = struct.unpack_from("!HH", hello, place)
            if kind == 0:
                return hello[place + 9 : place + 4 + size].decode("ascii").lower()
            place += 4 + size
    except (IndexError, struct.error, UnicodeDecodeError):
        return ""
    return ""
