"""Postfix's own commands, turned to one instance: its queues and sendmail(1).

Diagnostics: a command that fails raises `RuntimeError` with what it said; a wait that ends in vain, `TimedOut` with the
end of the instance's log.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.postfix_installation import HOST, Installation
from tests.support.waiting import DEADLINE, LogFile, wait_until


def _run(command: Sequence[str], stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} -> {done.returncode}: {done.stderr.decode('utf-8', 'replace')}")
    return done.stdout


class PostfixTools:
    """The commands for the instance whose main.cf is in `config_directory`."""

    def __init__(self, config_directory: Path, log: LogFile, installation: Installation = HOST) -> None:
        """log: what the instance writes, for error texts. installation: whose programs they are."""
        self.config_directory = config_directory
        self.log = log
        self.installation = installation

    def sendmail(self, message: bytes, *, mail_from: str, rcpts: Sequence[str]) -> None:
        """Hand a message with LF line ends to sendmail(1); raises `RuntimeError`."""
        program = self.installation.compiled_default("sendmail_path")
        options = ["-C", str(self.config_directory), "-i", "-f", mail_from, "--", *rcpts]
        _run(self.installation.command(program, *options), stdin=message)

    def _queue_tool(self, program: str, *arguments: str) -> bytes:
        return _run(self.installation.command(program, "-c", str(self.config_directory), *arguments))

    def queue(self) -> list[dict[str, Any]]:
        """What `postqueue -j` lists: one dictionary per message (queue_name, queue_id, sender, recipients...)."""
        return [json.loads(line) for line in self._queue_tool("postqueue", "-j").splitlines()]

    def queue_of(self, queue_id: str) -> str:
        """Name of the queue in which a message is ("hold", "deferred", "active", "incoming"), "" if in none."""
        return next((str(item["queue_name"]) for item in self.queue() if item["queue_id"] == queue_id), "")

    def held(self) -> list[str]:
        """Queue ids in the hold queue."""
        return [str(item["queue_id"]) for item in self.queue() if item["queue_name"] == "hold"]

    def content(self, queue_id: str) -> bytes:
        """Header and body, with LF line ends, of a message that is in a queue."""
        return self._queue_tool("postcat", "-b", "-h", "-q", queue_id)

    def wait_queued(self, queue_id: str, queue_name: str) -> None:
        """Wait until a message is in the queue `queue_name`; "" = has left the queues."""
        wait_until(
            lambda: self.queue_of(queue_id) == queue_name,
            f"{queue_id} in queue {queue_name!r}",
            interval=0.05,
            context=lambda: self.log.text()[-4000:],
        )

    def release(self, queue_id: str) -> None:
        """Let a held message go and start its delivery."""
        self._queue_tool("postsuper", "-H", queue_id)
        self.flush()

    def delete(self, queue_id: str = "ALL") -> None:
        """Delete a message from the queues."""
        self._queue_tool("postsuper", "-d", queue_id)

    def flush(self) -> None:
        """Try all deferred mail now."""
        self._queue_tool("postqueue", "-f")
