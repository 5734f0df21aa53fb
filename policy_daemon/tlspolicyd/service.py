"""`tlspolicyd serve`: sockets, signals, readiness, reload and the end. One process, one event loop (uvloop).

SIGTERM and SIGINT: no new connections, the answers under way are finished, then all is closed. SIGHUP: the settings are
read again; if they are good and what they name can be used, they count from then on, otherwise the old ones do.

Diagnostics: `StartError` before anything runs; afterwards only log lines.
Limits: draining takes at most ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import uvloop

from mailcommon import log as logging_setup
from mailcommon.dns.async_resolver import AsyncResolver
from mailcommon.log import safe_value
from mailcommon.metrics.page import MetricsPage
from mailcommon.metrics.page import listen as listen_for_page
from mailcommon.notify import notify, notify_reloading, watchdog_interval
from mailcommon.privileges import StartError, become
from mailcommon.settings import SettingsError
from tlspolicyd import answering, self_check, validation
from tlspolicyd.answering import Answers
from tlspolicyd.listening import BACKLOG, Listening, listen
from tlspolicyd.metrics import Metrics
from tlspolicyd.ready import ReadyReplies
from tlspolicyd.server import Clients, Limits
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt.watching import Watching

_DRAIN_SECONDS = 10.0
_READY_REPLIES = 50_000
_AGAIN = 0.1  # seconds between two tries until the sockets answer
_ASK_AGAIN = {  # seconds until the resolver is asked again whether it validates
    validation.Word.YES: 86_400.0,
    validation.Word.NO: 3600.0,
    validation.Word.UNKNOWN: 60.0,
}
# what is settled when the daemon starts
_FIXED = ("socket", "socket_mode", "socket_group", "user")
_FIXED_BELOW = (
    ("sts", "timeout"),  # claims in a shared store are made for it
    ("sts", "max_concurrent_fetches"),
    ("cache", "store"),
    ("cache", "entries"),
    ("tlsrpt", "socket"),
    ("tlsrpt", "log"),
    ("tlsrpt", "store"),
    ("metrics", "listen"),
)

log = logging.getLogger("tlspolicyd")


class Gate(answering.Gate, Protocol):
    """What `assemble` makes of settings."""

    @property
    def resolver(self) -> AsyncResolver:
        """The one that all look-ups use."""
        ...

    def use_dane(self, why_not: str) -> None:
        """Look at DANE ("") or leave it alone, for the reason given."""
        ...

    async def close(self, *, last: bool) -> None:
        """End what runs in the background; `last`: no other gate follows that shares the store."""
        ...


G = TypeVar("G", bound=Gate)
# (settings, metrics, the gate that this one follows, what to call with a domain whose policy has changed)
Assemble = Callable[[Settings, Metrics, G | None, Callable[[str], None]], Awaitable[G]]


class Service(Generic[G]):
    """The daemon."""

    def __init__(self, settings: Settings, reload: Callable[[], Settings], assemble: Assemble[G]) -> None:
        """`reload` reads the settings again (SettingsError); `assemble` makes the gate (StartError)."""
        self._settings = settings
        self._reload = reload
        self._assemble = assemble
        self._metrics = Metrics()
        self._ready = ReadyReplies(_READY_REPLIES, time.monotonic)
        self._background: set[asyncio.Task[None]] = set()
        self._watching: Watching | None = None

    def run(self) -> None:
        """Serve until told to stop; raises StartError before anything runs."""
        listening = listen(self._settings)
        try:
            if self._settings.tlsrpt.socket or self._settings.tlsrpt.log:
                self._watching = Watching(self._settings)
            _raise_file_limit()
            become(self._settings.user)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main(listening))
        finally:
            if listening.path is not None:
                with contextlib.suppress(OSError):
                    listening.path.unlink()

    async def _main(self, listening: Listening) -> None:
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._new_gate = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._run, self._take_new_settings)
        async with self._reloading:  # SIGHUP while a large cache is loaded has to wait
            page = await self._page()
            self._gate = await self._assemble(self._settings, self._metrics, None, self._ready.forget)
            self._answers = Answers(self._gate, self._ready, self._metrics)
            self._clients = Clients(self._answers.answer, self._ready, _limits(self._settings))
            self._metrics.watch_connections(self._clients.__len__)
            servers = [await _serve(loop, self._clients, opened) for opened in listening.sockets]
            self._run(self._clients.watch)
            self._run(self._watch_resolver)
            watching = self._watching
            if watching is not None:
                self._metrics.watch_sessions(watching)
                self._run(lambda: watching.run(lambda: self._gate))
            addresses = [(opened.family, opened.getsockname()) for opened in listening.sockets]
            if await self._until_answered(addresses):
                log.info("listening on %s", listening.where)
                notify("READY=1")
                self._run(lambda: self._keep_watchdog(addresses))
        await self._stop.wait()
        notify("STOPPING=1")
        for server in servers:
            server.close()
        await self._clients.drain(_DRAIN_SECONDS)
        await self._end_background()
        if watching is not None:
            await watching.close()
        await self._answers.close()
        await self._gate.close(last=True)
        if page is not None:
            await page.stop()
        log.info("stopped")

    async def _until_answered(self, addresses: Sequence[self_check.Place]) -> bool:
        """Wait until all sockets have answered; False if the daemon is to stop before."""
        said = ""
        while not self._stop.is_set():
            why = await self._why_silent(addresses)
            if not why:
                return True
            if why != said:
                log.warning("no answer on the own socket: %s", why)
                said = why
            await asyncio.sleep(_AGAIN)
        return False

    async def _keep_watchdog(self, addresses: Sequence[self_check.Place]) -> None:
        """Tell the manager that we live, as long as our own sockets answer."""
        while interval := watchdog_interval():
            why = await self._why_silent(addresses)
            if why:
                log.error("no answer on the own socket: %s", why)
            else:
                notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    async def _why_silent(self, addresses: Sequence[self_check.Place]) -> str:
        for place in addresses:
            why = await self_check.why_silent(place)
            # who is turned away because the house is full has been heard all the same
            if why and not (why == self_check.CLOSED and len(self._clients) >= self._clients.limits.connections):
                return why
        return ""

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def guarded() -> None:
            try:
                await work()
            except Exception:
                log.exception("fault in the background")
                self._metrics.fault()

        task = asyncio.get_running_loop().create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _end_background(self) -> None:
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _page(self) -> MetricsPage | None:
        listen_on = self._settings.metrics.listen
        if not listen_on:
            return None
        try:
            listening = listen_for_page(listen_on)
        except OSError as fault:
            raise StartError(f"[metrics] listen: {listen_on}: {fault.strerror or fault}") from fault

        async def render() -> bytes:
            return self._metrics.page()

        page = MetricsPage(render, log)
        await page.start(listening)
        return page

    async def _watch_resolver(self) -> None:
        """Find out whether the resolver validates, tell the gate, and log what is new."""
        said = ""
        while True:
            self._new_gate.clear()
            gate, again = self._gate, None
            level, line, why_not = logging.INFO, "DANE is off by setting", "off by setting"
            if self._settings.dane.enabled:
                found = await validation.find_out(gate.resolver)
                # no answer proves nothing: each answer that is used has to be validated anyhow
                off = found.word is validation.Word.NO
                line = f"DANE is {'off' if off else 'on'}: the resolver {found.word}: {found.detail}"
                why_not = f"the resolver {found.word}" if off else ""
                level = logging.INFO if found.word is validation.Word.YES else logging.WARNING
                again = _ASK_AGAIN[found.word]
            gate.use_dane(why_not)
            self._metrics.dane(not why_not if self._settings.dane.enabled else None)
            if line != said:
                self._ready.clear()
                log.log(level, "%s", line)
                said = line
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._new_gate.wait(), again)

    async def _take_new_settings(self) -> None:
        async with self._reloading:
            notify_reloading()
            notify("READY=1", f"STATUS={await self._try_new_settings()}")

    async def _try_new_settings(self) -> str:
        try:
            new = self._reload()
            taken = self._keep_fixed(new)
            gate = await self._assemble(taken, self._metrics, self._gate, self._ready.forget)
        except (SettingsError, StartError) as fault:
            log.error("settings not taken, the old ones stay: %s", fault)
            return f"Settings not taken, the old ones stay: {safe_value(fault)}"
        former, self._gate = self._gate, gate
        self._settings = taken
        self._answers.gate = gate
        self._ready.clear()
        self._clients.limits = _limits(taken)
        logging_setup.set_up("tlspolicyd", taken.log_level, taken.log_format)
        self._new_gate.set()
        log.info("new settings taken")
        self._run(lambda: self._retire(former))
        return "New settings taken"

    async def _retire(self, former: Gate) -> None:
        try:
            await self._answers.settled()
        finally:
            await former.close(last=False)

    def _keep_fixed(self, new: Settings) -> Settings:
        """`new` with the values of before where a change needs a restart; these are named in the log."""
        old = self._settings
        changed = [key for key in _FIXED if getattr(new, key) != getattr(old, key)]
        kept: dict[str, Any] = {key: getattr(old, key) for key in changed}
        for table, key in _FIXED_BELOW:
            before, after = getattr(old, table), kept.get(table, getattr(new, table))
            if getattr(before, key) != getattr(after, key):
                changed.append(f"[{table}] {key}")
                kept[table] = after.model_copy(update={key: getattr(before, key)})
        if changed:
            log.warning("a restart is needed before these take effect: %s", ", ".join(changed))
        return new.model_copy(update=kept)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.max_connections, settings.idle_timeout, settings.read_timeout)


async def _serve(loop: asyncio.AbstractEventLoop, clients: Clients, opened: socket.socket) -> asyncio.Server:
    if opened.family == socket.AF_UNIX:
        # from Python 3.13 on the loop removes the file at the end, also if the socket is systemd's
        keep: dict[str, Any] = {"cleanup_socket": False}
        with contextlib.suppress(TypeError):  # an older uvloop, which removes nothing
            return await loop.create_unix_server(clients, sock=opened, backlog=BACKLOG, **keep)
        return await loop.create_unix_server(clients, sock=opened, backlog=BACKLOG)
    return await loop.create_server(clients, sock=opened, backlog=BACKLOG)


def _raise_file_limit() -> None:
    """Each connection and each fetch is a descriptor: take all that this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
