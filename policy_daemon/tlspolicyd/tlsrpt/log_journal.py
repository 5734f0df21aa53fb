"""The systemd journal's lines of the mail system, from a remembered cursor, through journalctl(1).

Diagnostics: journalctl that cannot be started or ends is started again after five seconds; the log says why, and says
it again when it has another reason or gave lines in between.
Limits: lines of 64 KB; longer ones are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from mailcommon.log import pairs

_LINE = 65_536
_PAUSE = 5.0  # seconds
_LONGEST_COMPLAINT = 500  # octets
_MAIL = "SYSLOG_FACILITY=2"
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID"

log = logging.getLogger("tlspolicyd")


@dataclass(frozen=True, slots=True)
class Entry:
    at: float  # unix seconds
    text: str  # "postfix/smtp[123]: ..."
    cursor: str


async def follow(directory: str = "", cursor: str = "") -> AsyncIterator[Entry]:
    """Entries for ever. `directory`: of journal files, "" = this host's. `cursor`: begin after it, "" = at the end."""
    said = ""
    while True:
        ended: list[str] = []
        async for entry in _run(directory, cursor, ended):
            cursor, said = entry.cursor, ""
            yield entry
        if ended[0] != said:
            said = ended[0]
            log.error("tlsrpt: %s", pairs(event="the journal cannot be read", error=said))
        await asyncio.sleep(_PAUSE)


async def _run(directory: str, cursor: str, ended: list[str]) -> AsyncIterator[Entry]:
    """Entries until journalctl ends; why it did is then in `ended`."""
    command = ["journalctl", "--follow", "--output=json", f"--output-fields={_FIELDS}", "--quiet"]
    command += [f"--after-cursor={cursor}", "--no-tail"] if cursor else ["--lines=0"]
    command += [f"--directory={directory}"] if directory else []
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            _MAIL,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
    except OSError as fault:
        ended.append(f"journalctl: {fault.strerror or fault}")
        return
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.ensure_future(_last_line(process.stderr))
    try:
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the limit
                continue
            if not line:
                break
            entry = _read(line)
            if entry is not None:
                yield entry
        ended.append(f"journalctl ended with status {await process.wait()}: {await complaints}")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        complaints.cancel()


async def _last_line(stream: asyncio.StreamReader) -> str:
    last = b""
    while chunk := await stream.read(_LINE):
        last = (last + chunk).rstrip(b"\n").rpartition(b"\n")[2][-_LONGEST_COMPLAINT:]
    return last.decode("utf-8", "replace")


def _read(line: bytes) -> Entry | None:
    try:
        told = json.loads(line)
        at = int(told["__REALTIME_TIMESTAMP"]) / 1e6
        cursor = str(told["__CURSOR"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    program, message = _text(told.get("SYSLOG_IDENTIFIER")), _text(told.get("MESSAGE"))
    pid = _text(told.get("SYSLOG_PID")) or _text(told.get("_PID"))
    return Entry(at, f"{program}[{pid}]: {message}", cursor)


def _text(value: Any) -> str:
    """A field of the journal: text, or a list of octets where it is not UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(octet, int) and 0 <= octet < 256 for octet in value):
        return bytes(value).decode("utf-8", "replace")
    return ""
