"""Reads the host for `tlspolicyd doctor`. All I/O of it is here and in mailcommon.doctor; nothing is changed.

Limits: DNS questions of `[dns] timeout` each, three seconds each for daemon and metrics page, five for the store.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from mailcommon.doctor.daemon import Contact, DaemonFacts, Word
from mailcommon.doctor.daemon_facts import read_daemon, speak
from mailcommon.doctor.paths import identity, look
from mailcommon.doctor.postfix import Place, Postfix, place_of_server
from mailcommon.doctor.reporting import read_sending
from mailcommon.doctor.store_facts import file_facts, tables_facts
from mailcommon.doctor.stores import StoreFacts
from tlspolicyd.cache.store import StoreFault, open_store
from tlspolicyd.doctor.ask import ask
from tlspolicyd.doctor.facts import CaFile, Outgoing, PageFacts, ReportFacts
from tlspolicyd.settings import Settings

_STORE_SECONDS = 5.0
_CACHE = "[cache] store"


def outgoing_facts(settings: Settings, postfix: Postfix) -> Outgoing:
    """Postfix beside the settings."""
    file = postfix.get("smtp_tls_CAfile")
    return Outgoing(
        postfix=postfix,
        ours=place_of_server(settings.socket),
        site_level=settings.site_level,
        dane=settings.dane.enabled,
        postfix_ca=ca_file(file) if file else None,
        postfix_user=identity(postfix.get("mail_owner") or "postfix"),
    )


def ca_file(path: str) -> CaFile:
    """What is in a file of authorities."""
    # OpenSSL counts, whose verdict is also Postfix's
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        return CaFile(path, 0)
    except OSError as fault:
        return CaFile(path, 0, fault.strerror or str(fault))
    return CaFile(path, context.cert_store_stats()["x509_ca"])


def daemon_facts(settings: Settings, file: Path | None) -> DaemonFacts:
    """The daemon itself."""
    return read_daemon("tlspolicyd", settings, file, ask)


def store_facts(settings: Settings, daemon: DaemonFacts) -> StoreFacts:
    """Where policies are kept."""
    url = settings.cache.store
    if url.startswith("sqlite:"):
        return file_facts(_CACHE, url, daemon.runs_as)
    return StoreFacts(_CACHE, _without_password(url), "" if url == "memory:" else _read_store(url))


def report_facts(settings: Settings, daemon: DaemonFacts) -> ReportFacts:
    """TLS reports."""
    tlsrpt = settings.tlsrpt
    if not tlsrpt.socket and not tlsrpt.log:
        return ReportFacts("", "", "")
    return ReportFacts(
        socket=tlsrpt.socket,
        log=tlsrpt.log,
        contact=tlsrpt.contact,
        runs_as=daemon.runs_as,
        log_route=look(Path(tlsrpt.log)) if tlsrpt.log.startswith("/") else None,
        queue_length=_queue_length(),
        store=tables_facts("[tlsrpt] store", tlsrpt.store, daemon.runs_as),
        sending=read_sending(tlsrpt.smtp, "tlspolicyd-report.timer") if tlsrpt.contact else None,
    )


def _queue_length() -> int | None:
    try:
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    except (OSError, ValueError):
        return None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _read_store(url: str) -> str:
    """Why it cannot be read, "" if it can."""

    async def read() -> str:
        store = open_store(url, time.time, mend=False)
        try:
            await asyncio.wait_for(store.read("doctor.invalid"), _STORE_SECONDS)
        except StoreFault as fault:
            return str(fault)
        except TimeoutError:
            return f"no answer in {_STORE_SECONDS:g} seconds"
        finally:
            await store.close()
        return ""

    return asyncio.run(read())


def page_facts(settings: Settings, daemon: DaemonFacts) -> PageFacts:
    """The metrics page, if there is to be one."""
    listen = settings.metrics.listen
    runs = daemon.contact.word is Word.ANSWERS
    if not listen or not runs:
        return PageFacts(listen, runs=runs)
    host, _, port = listen.rpartition(":")
    contact: Contact = speak(Place(host=host, port=port), _get)
    return PageFacts(listen, "" if contact.word is Word.ANSWERS else contact.detail or contact.word.value)


def _get(connection: socket.socket) -> str:
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head = connection.recv(15)
    return "" if head.startswith(b"HTTP/1.") and b" 200" in head else "something else answers"
