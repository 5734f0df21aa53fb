"""The socketmap load generator from here: socketmap_load.c gives its figures as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.compiling import compile_c
from bench.load import LoadFailed


@dataclass(frozen=True, slots=True)
class Result:
    requests: int
    seconds: float
    cpu: float  # seconds of the load generator itself
    ok: int  # replies that begin with OK
    own: int  # of these, the ones that name the domain that was asked for
    notfound: int
    temp: int
    other: int
    p50: float  # seconds from a request to its whole reply
    p99: float
    max: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def describe(self) -> str:
        """What was answered, in words."""
        counts = {"OK": self.ok, "NOTFOUND": self.notfound, "TEMP": self.temp, "something else": self.other}
        return ", ".join(f"{word} {count}" for word, count in counts.items() if count)


class Asking:
    """The load generator while it runs."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def result(self) -> Result:
        """Wait for its end; raises LoadFailed."""
        output, fault = self._process.communicate()
        if self._process.returncode:
            raise LoadFailed(fault.strip() or f"exit status {self._process.returncode}")
        return Result(**json.loads(output))

    def stop(self) -> None:
        """End it if it still runs."""
        if self.running:
            self._process.kill()
            self._process.communicate()


@dataclass(frozen=True, slots=True)
class Load:
    """A way to ask."""

    program: Path

    def begin(
        self,
        port: int,
        keys: Path,
        connections: int,
        *,
        seconds: float = 0.0,
        requests: int = 0,
        map_name: str = "policy",
    ) -> Asking:
        """Ask for so many seconds, or so many times; the caller goes on meanwhile."""
        limit = ["-n", str(requests)] if requests else ["-t", str(seconds)]
        return Asking([self.program, "-p", str(port), "-c", str(connections), "-m", map_name, *limit, keys])

    def run(self, port: int, keys: Path, connections: int, *, seconds: float = 0.0, requests: int = 0) -> Result:
        """As `begin`, to the end; raises LoadFailed."""
        return self.begin(port, keys, connections, seconds=seconds, requests=requests).result()


def compile_load(directory: Path) -> Load:
    """Compile the load generator into `directory`; raises Unavailable without a compiler."""
    return Load(compile_c("socketmap_load.c", directory))
