"""The load generator from here: load.c gives its figures as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.compiling import compile_c


class LoadFailed(RuntimeError):
    """The load generator gave up on a filter; the text says why."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds per message."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Result:
    messages: int
    seconds: float
    cpu: float  # seconds of the load generator itself
    faults: int  # connections that broke
    from_mail: Times  # from MAIL to the final answer
    from_connect: Times  # from connecting; says something only with one message per connection
    results: int  # Authentication-Results fields added
    answers: dict[str, int]  # by the letter of the protocol
    words: dict[str, int]  # how many of those fields had each word

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True)
class Load:
    """One way to send messages."""

    program: Path
    clients: int
    per_connection: int = 1

    def run(
        self,
        socket: Path,
        packets: Path,
        *,
        seconds: float = 0,
        messages: int = 0,
        words: Sequence[str] = (),
        field: str = "Authentication-Results",
    ) -> Result:
        """Send for so many seconds, or so many messages; raises LoadFailed. `words` are counted in fields `field`."""
        limit = ["-n", str(messages)] if messages else ["-t", str(seconds)]
        command = [str(self.program), "-s", str(socket), "-c", str(self.clients), "-k", str(self.per_connection)]
        command += ["-f", field]
        for word in words:
            command += ["-w", word]
        done = subprocess.run([*command, *limit, str(packets)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadFailed(done.stderr.strip() or f"exit status {done.returncode}")
        data = json.loads(done.stdout)
        return Result(
            messages=data["messages"],
            seconds=data["seconds"],
            cpu=data["cpu"],
            faults=data["faults"],
            from_mail=Times(**data["from_mail"]),
            from_connect=Times(**data["from_connect"]),
            results=data["results"],
            answers=data["answers"],
            words=data["words"],
        )


def compile_load(directory: Path) -> Path:
    """Compile the load generator into `directory`; raises Unavailable without a compiler."""
    return compile_c("load.c", directory)
