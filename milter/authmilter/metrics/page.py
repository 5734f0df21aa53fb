"""The page process: `python -P -m authmilter.metrics.page DIRECTORY LISTENING CONTROL LEVEL SHAPE`.

A program of its own rather than a fork, so that it has no private key in its memory and no socket of the milter open.
It adds up the files of the other processes for each reading, and ends when the parent's end of the pipe is closed.

LISTENING and CONTROL are descriptors that the parent hands over; a line of CONTROL is the `[reports]
store` in force. LEVEL and SHAPE are settings of the log.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from authmilter.metrics.report_queue import ReportQueue
from mailcommon import log as logging_setup
from mailcommon.metrics.page import MetricsPage

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Further(Collector):
    """What no worker counts."""

    def __init__(self, queue: ReportQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        yield from self._queue.collect()
        family = GaugeMetricFamily("authmilter_build_info", "The version that runs.", labels=["version"])
        family.add_metric([importlib.metadata.version("gatepost")], 1.0)
        yield family


def render(directory: Path, queue: ReportQueue) -> bytes:
    """All figures in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    registry.register(_Further(queue))
    return generate_latest(registry)


async def _serve(directory: Path, listening: socket.socket, control: int, log: logging.Logger) -> None:
    queue = ReportQueue()

    async def page() -> bytes:
        await queue.refresh()
        try:
            return render(directory, queue)
        except (struct.error, RuntimeError):  # a file was being written at that moment
            return render(directory, queue)

    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    lines = bytearray()

    def follow() -> None:
        octets = os.read(control, 65536)
        if not octets:
            over.set()
        lines.extend(octets)
        *whole, rest = bytes(lines).split(b"\n")
        lines[:] = rest
        if whole:
            queue.use(json.loads(whole[-1]))

    loop.add_reader(control, follow)
    server = MetricsPage(page, log)
    await server.start(listening)
    await over.wait()
    loop.remove_reader(control)
    await server.stop()


def main() -> None:
    """See the head of this file."""
    directory, listening, control, level, shape = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # the parent says when it is over
    log = logging_setup.set_up("authmilter", level, shape)
    asyncio.run(_serve(Path(directory), socket.socket(fileno=int(listening)), int(control), log))


if __name__ == "__main__":
    main()
