"""The files through which the processes of the daemon count together (prometheus_client's multiprocess mode).

Each process writes files of its own, mapped into memory, and the page adds them up. A file belongs to a place, "parent"
or the number of a worker, and not to a process id: a worker that replaces one that died goes on with its numbers, so
that no counter goes back and no file is left over.

Diagnostics: OSError from `make_shared`. Later nothing waits for a disk: the files are allocated before the fork, since
a write to a page that the file system cannot give would end the process by SIGBUS.
Limits: 64 KB for each kind of figure and place; a test sees that all series together stay below.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import values

PARENT = "parent"
KINDS = ("counter", "histogram", "gauge_max")  # as prometheus_client begins the names of its files
FILE_BYTES = 1 << 16  # what prometheus_client makes files of
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class Shared:
    """The directory, and who this process is in it. To be made before any figure, and once in a process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._place = PARENT
        os.environ[_VARIABLE] = str(directory)  # the only way to tell prometheus_client
        make: Callable[..., Any] = values.MultiProcessValue
        values.ValueClass = make(process_identifier=lambda: self._place)

    def be_worker(self, place: int) -> None:
        """This process is the worker with this number, and goes on where the one before it ended."""
        self._place = str(place)

    def remove(self) -> None:
        """At the end of the daemon."""
        shutil.rmtree(self.directory, ignore_errors=True)


def make_shared(workers: int) -> Shared:
    """An empty directory with room for the parent and so many workers; raises OSError.

    It is below systemd's RuntimeDirectory if there is one, where a former one is emptied, else below that for
    temporary files.
    """
    directory = _empty_directory()
    for place in (PARENT, *map(str, range(workers))):
        for kind in KINDS:
            with (directory / f"{kind}_{place}.db").open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
    return Shared(directory)


def _empty_directory() -> Path:
    if runtime := os.environ.get("RUNTIME_DIRECTORY"):  # several are separated by colons
        directory = Path(runtime.partition(":")[0]) / "metrics"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        return directory
    return Path(tempfile.mkdtemp(prefix="authmilter-metrics-"))
