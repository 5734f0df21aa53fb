"""One worker process: libmilter's main loop, and a thread that takes new settings from the parent."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from authmilter import session
from authmilter.account import Account
from authmilter.pulse import answer
from authmilter.reports import failure_ledger, ledger
from authmilter.reports.collector import Collector
from authmilter.reports.door import Door
from authmilter.reports.settings import Reports
from authmilter.settings import Settings
from authmilter.setup import Setup, make_setup
from authmilter.sign.keyring import Keyring, read_keys
from mailcommon import log as logging_setup
from mailcommon.log import QueueId, one_line, safe_value
from mailcommon.outbox import SCHEMA as OUTBOX
from mailcommon.outbox import Doorkeeper
from mailcommon.store import open_store

if TYPE_CHECKING:
    from authmilter.metrics.figures import Figures

DRAIN_SECONDS = 10.0  # for messages under way when the daemon is to stop
FLUSH_SECONDS = 1.0  # between two writings of the metrics
_PAUSE = 0.2  # seconds between two looks whether they are over

log = logging.getLogger("authmilter")


class Current:
    """The setup in force in this process."""

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._settings: Settings | None = None
        self._keys: Keyring | None = None
        self.figures: Figures | None = None  # None: nothing is counted

    def take(self, settings: Settings, keys: Keyring | None = None) -> None:
        """From now on messages are handled with these settings; what DNS has answered is kept if it may be.

        `keys`: the private keys, which are read from their files if None; one that cannot be read stays as it was.
        """
        old, before = self._setup, self._settings
        keep = old.resolver if old and before and before.dns == settings.dns else None
        self._keys = keys or read_keys(settings.signing(), former=self._keys)
        for fault in self._keys.faults.values():
            log.warning("[sign] %s", safe_value(fault))
        new = make_setup(settings, keep, self._keys, counts=self.figures.dns if self.figures else None)
        new = replace(new, account=Account(self.figures, addresses=settings.log_addresses))
        for fault in new.dkim.compromised.faults if new.dkim.compromised else ():
            log.warning("[dkim] %s", safe_value(fault))
        setup = replace(new, deferrals=old.deferrals if old else new.deferrals)
        if old and before and before.reports == settings.reports:
            self._setup = replace(setup, collector=old.collector, door=old.door)
        else:
            self._setup = with_reports(setup, settings.reports)
            if old:
                _close(old)
        self._settings = settings
        if old and old.bimi:
            old.bimi.source.close()

    def __call__(self) -> Setup:
        assert self._setup is not None, "a worker takes settings before it serves"
        return self._setup


def with_reports(setup: Setup, reports: Reports) -> Setup:
    """The setup with what this process needs for reports: who counts messages, and who knows reports being sent."""
    doorkeepers = [Doorkeeper(open_store(each, [OUTBOX], create=False), time.time) for each in reports.outboxes]
    collector = None
    if reports.store:
        schemas = [ledger.SCHEMA, failure_ledger.SCHEMA, OUTBOX]
        collector = Collector(
            open_store(reports.store, schemas),
            time.time,
            time.monotonic,
            max_bytes=reports.max_bytes,
            exclude=reports.exclude_domains,
            failures=reports.failure_reports,
        )
        # a connection of its own: the collector may be waiting on the other one
        doorkeepers.insert(0, Doorkeeper(open_store(reports.store, schemas), time.time))
    return replace(setup, collector=collector, door=Door(doorkeepers) if doorkeepers else None)


def _close(setup: Setup) -> None:
    if setup.collector:
        setup.collector.close()
    if setup.door:
        setup.door.close()


def run(current: Current, settings: Settings, keys: Keyring, control: int, pulse: socket.socket) -> None:
    """Serve until SIGTERM, or until the parent is gone.

    `control` is the reading end of the parent's pipe; on `pulse` it asks whether this process lives.
    """
    sys.excepthook = _log_unreadable
    # before anything that may wait for a file or a database
    threading.Thread(target=answer, args=(pulse,), name="pulse", daemon=True).start()
    current.take(settings, keys)
    threading.Thread(target=_follow, args=(current, control), name="control", daemon=True).start()
    if current.figures:
        threading.Thread(target=current.figures.flush_each, args=(FLUSH_SECONDS,), name="figures", daemon=True).start()
    session.serve_connections()
    if current.figures:
        current.figures.flush()
    _close(current())


def _follow(current: Current, control: int) -> None:
    with os.fdopen(control, "rb") as lines:
        for line in lines:
            _take(current, line)
    # The parent stops, or it is gone and nobody would restart or stop this process. Messages under way come first:
    # libmilter drops its sessions as soon as it is told to stop.
    end = time.monotonic() + DRAIN_SECONDS
    time.sleep(_PAUSE)  # a message whose beginning has been sent and not yet read counts too
    while session.messages_under_way() and time.monotonic() < end:
        time.sleep(_PAUSE)
    os.kill(os.getpid(), signal.SIGTERM)


def _take(current: Current, line: bytes) -> None:
    """New settings from the parent, which has found them good; this thread has to outlive whatever is wrong here."""
    try:
        new = Settings.model_validate_json(line)
        current.take(new)
    except Exception as fault:  # noqa: BLE001 - a file that could be read a moment ago, no sockets, no store
        log.error("new settings not taken, the old ones stay: %s", one_line(f"{type(fault).__name__}: {fault}"))
        return
    logging_setup.set_up("authmilter", new.log_level, new.log_format)


def _log_unreadable(kind: type[BaseException], fault: BaseException, _trace: TracebackType | None) -> None:
    """pymilter reports here what it could not hand to a callback, such as a HELO that is not UTF-8."""
    text = ascii(str(fault))[:200]
    log.info("%s: an event of the session was skipped: %s: %s", QueueId(""), kind.__name__, text)
