"""The source for a running daemon: fetches in a thread of its own, and what came of them kept.

A message waits for a fetch at most as long as its budget, and never for one that has been under way longer than that:
a host that hangs costs one message its budget, not each. What is known is given at once; after an hour it is fetched
again beside that, and the old counts until the new is there.

Limits: 16 MB of what is kept, 100 fetches under way. A failure is kept for ten minutes, one that may pass for one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from typing import Any

import cachetools

from authmilter.bimi.assets import Asset, Fault, Kind
from authmilter.bimi.evidence.mark import Mark
from authmilter.bimi.indicator import Indicator
from authmilter.bimi.load import Loader
from authmilter.bimi.uri import Uri
from mailcommon.log import safe_value
from mailcommon.loop_thread import LoopThread

log = logging.getLogger("authmilter")

MAX_KEPT = 16 * 1024 * 1024  # octets, about
MAX_UNDER_WAY = 100
FRESH = 3_600.0  # seconds
KEPT = 86_400.0  # seconds: what cannot be fetched again counts so long
FAILED = 600.0  # seconds
PASSING = 60.0  # seconds
_ENTRY = 500  # octets that an entry takes beside its text
_CERTIFICATES = 16_384  # octets of a parsed chain, about

_Key = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class _Known:
    asset: Asset
    fresh_until: float
    until: float


@dataclass(frozen=True, slots=True)
class _Flight:
    future: Future[Asset]
    began: float


class FetchedAssets:
    """A `Source` that fetches."""

    def __init__(
        self,
        make_loader: Callable[[], Loader],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make_loader` is called once, in the event loop. `patience`: seconds after which nobody waits for a fetch."""
        self._make_loader = make_loader
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._thread = LoopThread("bimi", self._finish)
        self._loader: Loader | None = None
        self._flights: dict[_Key, _Flight] = {}
        self._known: cachetools.TLRUCache[_Key, _Known] = cachetools.TLRUCache(
            MAX_KEPT, ttu=lambda _key, known, _now: known.until, timer=clock, getsizeof=_size
        )

    def start(self, kind: Kind, uri: Uri) -> None:
        """See Source."""
        self._asset_or_flight(kind, uri)

    def get(self, kind: Kind, uri: Uri, seconds: float) -> Asset:
        """See Source."""
        found = self._asset_or_flight(kind, uri)
        if not isinstance(found, _Flight):
            return found
        wait = min(seconds, found.began + self._patience - self._clock())
        try:
            return found.future.result(timeout=max(wait, 0.0))
        except TimeoutError:
            return Fault(f"{uri.host} has not answered yet", temporary=True)
        except CancelledError:
            return Fault("the fetch was given up", temporary=True)

    def close(self) -> None:
        """See Source."""
        self._thread.close()

    async def _finish(self) -> None:
        if self._loader is not None:
            await self._loader.close()

    def _asset_or_flight(self, kind: Kind, uri: Uri) -> Asset | _Flight:
        key = (kind, uri.text)
        with self._lock:
            known = self._known.get(key)
            if known is not None and self._clock() < known.fresh_until:
                return known.asset
            flight = self._flights.get(key)
            if flight is None:
                if len(self._flights) >= MAX_UNDER_WAY:
                    return known.asset if known else Fault(f"{MAX_UNDER_WAY} fetches are under way", temporary=True)
                flight = _Flight(self._thread.submit(self._fly(key, uri)), self._clock())
                self._flights[key] = flight
            return known.asset if known is not None else flight

    async def _fly(self, key: _Key, uri: Uri) -> Asset:
        asset: Asset = Fault("the fetch was given up", temporary=True)
        try:
            if self._loader is None:
                self._loader = self._make_loader()
            asset = await self._loader.load(key[0], uri)
        except Exception:
            log.exception("internal fault while %s was fetched", safe_value(uri.text))
            asset = Fault("internal fault", temporary=True)
        finally:
            self._land(key, asset)
        return asset

    def _land(self, key: _Key, asset: Asset) -> None:
        now = self._clock()
        with self._lock:
            self._flights.pop(key, None)
            old = self._known.get(key)
            if isinstance(asset, Fault) and asset.temporary and old is not None:
                self._known[key] = replace(old, fresh_until=now + PASSING)
                return
            fresh, until = FRESH, KEPT
            if isinstance(asset, Fault):
                fresh = until = PASSING if asset.temporary else FAILED
            self._known[key] = _Known(asset, now + fresh, now + until)


def _size(known: _Known) -> int:
    asset: Any = known.asset
    if isinstance(asset, Indicator):
        return _ENTRY + len(asset.svg)
    if isinstance(asset, Mark):
        return _ENTRY + _CERTIFICATES + len(asset.indicator.svg)
    return _ENTRY + len(asset.reason)
