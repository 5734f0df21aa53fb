"""Real MX hosts: aiosmtpd at port 25 of loopback addresses, with or without STARTTLS, good or broken.

    with MxHosts() as hosts:
        mx = hosts.add("mx.a.example", "127.77.3.1", certificate=pem)
        ...
        mail, = mx.mails    # what came, over which TLS, for which server name
        mx.certificate = other   # for the next connection

Diagnostics: `OSError` if the address and port cannot be had.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from aiosmtpd.smtp import SMTP, Envelope, Session


class StartTls(enum.Enum):
    """What a host makes of STARTTLS."""

    GOOD = "offered and works"
    NONE = "not offered"
    REFUSED = "offered, answered with 454"
    BROKEN = "offered, the handshake fails"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it came to a host."""

    host: str  # the MX host's name
    mail_from: str
    rcpts: tuple[str, ...]
    message: bytes  # CRLF line ends
    tls: str  # "TLSv1.3", "" = in clear
    server_name: str  # SNI, "" = none


@dataclass(slots=True)
class MxHost:
    """One host. What is set here counts for the next connection."""

    name: str
    address: str
    certificate: Path | None  # PEM: key and chain
    starttls: StartTls = StartTls.GOOD
    newest: ssl.TLSVersion | None = None  # 1.2 at most: nothing newer, with an RSA certificate only
    connections: int = 0
    mails: list[Mail] = field(default_factory=list)

    def for_rcpt(self, rcpt: str) -> list[Mail]:
        """The messages that came for a recipient."""
        return [mail for mail in self.mails if rcpt in mail.rcpts]


_server_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # TLS object -> name asked for


def _note_name(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
    _server_names[connection] = name or ""


class _Handler:
    """aiosmtpd's callbacks: keep the message, say yes."""

    def __init__(self, host: MxHost) -> None:
        self._host = host

    async def handle_DATA(  # noqa: N802 aiosmtpd's name
        self,
        server: SMTP,  # noqa: ARG002 aiosmtpd gives it
        session: Session,
        envelope: Envelope,
    ) -> str:
        """A whole message is there."""
        tls = (session.ssl or {}).get("ssl_object")
        assert isinstance(envelope.content, bytes)
        self._host.mails.append(
            Mail(
                self._host.name,
                envelope.mail_from or "",
                tuple(envelope.rcpt_tos),
                envelope.content,
                tls.version() if tls else "",
                _server_names.get(tls, "") if tls else "",
            )
        )
        return "250 2.0.0 taken"


class _Refusing(SMTP):
    """STARTTLS is offered and never given."""

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802, ARG002 aiosmtpd's way
        await self.push("454 4.7.0 TLS is not available now")


def _protocol(host: MxHost, loop: asyncio.AbstractEventLoop) -> SMTP:
    host.connections += 1
    context = None
    if host.starttls is not StartTls.NONE:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = _note_name
        if host.newest is not None:
            # OpenSSL 3 signs nothing in TLS 1.1 that a client on level 1 takes: a key exchange without signature
            context.set_ciphers("AES128-SHA:@SECLEVEL=0")
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, host.newest
        # Without a certificate no handshake succeeds.
        if host.starttls is not StartTls.BROKEN and host.certificate is not None:
            context.load_cert_chain(host.certificate)
    kind = _Refusing if host.starttls is StartTls.REFUSED else SMTP
    return kind(_Handler(host), hostname=host.name, tls_context=context, enable_SMTPUTF8=True, loop=loop)


class MxHosts:
    """All hosts of a test, served by one thread. `start()` and `stop()`, or use it as a context manager."""

    def __init__(self, port: int = 25) -> None:
        """port: at which all of them listen."""
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mx hosts", daemon=True)
        self._servers: list[asyncio.Server] = []
        self.hosts: dict[str, MxHost] = {}

    def start(self) -> None:
        """Start the thread."""
        # A failed handshake is no news here.
        self._loop.set_exception_handler(lambda *_: None)
        self._thread.start()

    def add(
        self, name: str, address: str, *, certificate: Path | None = None, starttls: StartTls = StartTls.GOOD
    ) -> MxHost:
        """One more host, listening when this returns."""
        host = MxHost(name, address, certificate, starttls)

        async def listen() -> asyncio.Server:
            return await self._loop.create_server(lambda: _protocol(host, self._loop), address, self._port)

        self._servers.append(asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10))
        self.hosts[name] = host
        return host

    def find(self, rcpt: str) -> list[Mail]:
        """What came for a recipient, to whichever host."""
        return [mail for host in self.hosts.values() for mail in host.for_rcpt(rcpt)]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # one round for the transports that were closed

    def stop(self) -> None:
        """Stop all. May be called twice."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
