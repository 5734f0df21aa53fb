"""The daemon's part in TLS reports: what tells of sessions, the counts, and what writes them. See service.

Either datagrams (`[tlsrpt] socket`, Postfix 3.10 and newer) or a log (`[tlsrpt] log`) tell; never both, since the same
session would be counted twice.

Diagnostics: `StartError` when it is made. Afterwards nothing here raises; a fault inside is logged and counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mailcommon.log import pairs
from mailcommon.store import StoreFault, open_store
from tlspolicyd.facts import Facts, SiteLevel, StsFact
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import log_journal, log_stamp, tables
from tlspolicyd.tlsrpt.attribution import attribute
from tlspolicyd.tlsrpt.collector import Collector
from tlspolicyd.tlsrpt.counts import Counts, day_of
from tlspolicyd.tlsrpt.datagram import Malformed, parse
from tlspolicyd.tlsrpt.log_file import LogFile
from tlspolicyd.tlsrpt.log_lines import LogReader
from tlspolicyd.tlsrpt.log_policy import session_of
from tlspolicyd.tlsrpt.sessions import Session
from tlspolicyd.tlsrpt.writing import Writer

_LOOK = 1.0  # seconds between two looks at the socket's file, or at a log that has nothing new
_SMTP = 25
_OLDEST, _NEWEST = 31 * 86_400.0, 86_400.0  # seconds before and after now that a line in a log may be of
_MOST_AHEAD = 50_000  # domains whose counts may wait while a log is read
JOURNAL = "journal:"

log = logging.getLogger("tlspolicyd")


class Knowledge(Protocol):
    """What the daemon knows of domains (answering.Gate)."""

    site_level: SiteLevel

    async def facts(self, domain: str, port: int, /) -> Facts:
        """The facts, looked up where needed."""
        ...

    def peek(self, domain: str, /) -> StsFact | None:
        """What MTA-STS says, if it is at hand."""
        ...


class Watching:
    """For one event loop. Made before the process gives up its rights; `run` in the loop."""

    def __init__(self, settings: Settings) -> None:
        self.counts = Counts()
        self.malformed: Counter[str] = Counter()  # datagrams and log lines that were not understood, by reason
        self.sessions: Counter[str] = Counter()  # by "success" and "failure"
        self._collector: Collector | None = None
        self._source = settings.tlsrpt.log
        self._tls_wanted = settings.site_level != "none"
        self._host = socket.gethostname()
        self._positions: tuple[tuple[str, str, str], ...] = ()
        self._store = open_store(settings.tlsrpt.store, [tables.SCHEMA])
        self.writer = Writer(self._store, self.counts, lambda: self._positions)
        if settings.tlsrpt.socket:
            path = Path(settings.tlsrpt.socket.removeprefix("unix:"))
            self._collector = Collector(path, int(settings.socket_mode, 8), settings.socket_group)
            self._collector.open()

    async def run(self, knowledge: Callable[[], Knowledge]) -> None:
        """Count until cancelled. `knowledge` gives what is known at the moment; it may change with the settings."""
        tasks = [asyncio.ensure_future(self.writer.run())]
        try:
            if self._collector is not None:
                self._collector.start(lambda octets: self.take(octets, knowledge()))
                tasks.append(asyncio.ensure_future(self._check(self._collector)))
            if self._source:
                tasks.append(asyncio.ensure_future(self._read_log(knowledge)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Read what is still there, and write all."""
        if self._collector is not None:
            self._collector.close()
        await self.writer.write()
        self._store.close()

    def take(self, octets: bytes, knowledge: Knowledge) -> None:
        """One datagram."""
        sessions = parse(octets)
        if isinstance(sessions, Malformed):
            self._complain(str(sessions), octets)
            return
        now = time.time()
        for session in sessions:
            self._count(attribute(session, knowledge.peek(session.domain)), now)

    def _complain(self, reason: str, octets: bytes) -> None:
        if not self.malformed[reason]:
            # once for each reason: whoever sends one sends many
            begin = octets[:200].decode("utf-8", "replace")
            log.warning("tlsrpt: %s", pairs(event="datagram not understood", reason=reason, begin=begin))
        self.malformed[reason] += 1

    def _count(self, session: Session, at: float) -> None:
        self.sessions["failure" if session.failed else "success"] += 1
        self.counts.add(session, day_of(at))

    async def _check(self, collector: Collector) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            collector.check()

    async def _read_log(self, knowledge: Callable[[], Knowledge]) -> None:
        position = await self._remembered()
        read = self._read_journal if self._source.startswith(JOURNAL) else self._read_file
        await read(position, knowledge)

    async def _remembered(self) -> str:
        """How far the log was read; waits for the store, since without that it would be read twice or not at all."""
        said = False
        while True:
            try:
                return await asyncio.to_thread(tables.position, self._store, self._host, self._source)
            except StoreFault as fault:
                if not said:
                    said = True
                    log.error("tlsrpt: %s", pairs(event="waiting for the store to read the log", error=fault))
                await asyncio.sleep(_LOOK)

    async def _read_file(self, position: str, knowledge: Callable[[], Knowledge]) -> None:
        file, reader, said = LogFile(Path(self._source), position), LogReader(tls_wanted=self._tls_wanted), ""
        while True:
            lines = await asyncio.to_thread(file.read)
            if file.fault != said:
                said = file.fault
                if said:
                    log.error("tlsrpt: %s", pairs(event="the log cannot be read", log=self._source, error=said))
                else:
                    log.warning("tlsrpt: %s", pairs(event="the log is read again", log=self._source))
            now = time.time()
            told: list[tuple[Session, float]] = []
            for line in lines:
                if stamped := log_stamp.split(line, now):
                    told += await _sessions(reader, *stamped, knowledge())
            self._count_all(told, file.position)
            if not lines:
                await asyncio.sleep(_LOOK)
            while len(self.counts) > _MOST_AHEAD and not await self.writer.write():
                await asyncio.sleep(_LOOK)  # the log keeps what we do not read

    async def _read_journal(self, position: str, knowledge: Callable[[], Knowledge]) -> None:
        reader = LogReader(tls_wanted=self._tls_wanted)
        async for entry in log_journal.follow(self._source.removeprefix(JOURNAL), position):
            self._count_all(await _sessions(reader, entry.at, entry.text, knowledge()), entry.cursor)

    def _count_all(self, told: list[tuple[Session, float]], position: str) -> None:
        """Sessions, and how far the log was read for them: the writer takes both or neither."""
        now = time.time()
        for session, at in told:
            if now - _OLDEST <= at <= now + _NEWEST:
                self._count(session, at)
            else:
                self.malformed["time"] += 1
        self._positions = ((self._host, self._source, position),)


async def _sessions(reader: LogReader, at: float, text: str, knowledge: Knowledge) -> list[tuple[Session, float]]:
    found = []
    for told in reader.feed(text):
        facts = None
        try:
            facts = await knowledge.facts(told.domain, _SMTP)
        except Exception:
            log.exception("tlsrpt: %s", pairs(event="nothing is known", domain=told.domain))
        found.append((session_of(told, facts, knowledge.site_level), at))
    return found
