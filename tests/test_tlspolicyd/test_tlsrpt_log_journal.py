"""The systemd journal: real journal files, written by systemd-journal-remote and read through journalctl."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.requirements import require
from tlspolicyd.tlsrpt import log_journal
from tlspolicyd.tlsrpt.log_journal import Entry, _read, follow

WRITER = "/lib/systemd/systemd-journal-remote"


def missing() -> str:
    if not Path(WRITER).exists():
        return "systemd-journal-remote is not installed (Debian: apt-get install systemd-journal-remote)"
    return "" if shutil.which("journalctl") else "journalctl is not there"


class Journal:
    """A folder of journal files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0

    def write(self, *entries: dict[str, str | bytes]) -> None:
        """One more file with these entries, a second apart."""
        text = b""
        for entry in entries:
            self._number += 1
            fields: dict[str, str | bytes] = {
                "__REALTIME_TIMESTAMP": str(1_795_000_000_000_000 + self._number * 1_000_000),
                "__MONOTONIC_TIMESTAMP": str(self._number * 1_000_000),
                "_BOOT_ID": "0123456789abcdef0123456789abcdef",
                "SYSLOG_FACILITY": "2",
                "SYSLOG_IDENTIFIER": "postfix/smtp",
                "SYSLOG_PID": "123",
                **entry,
            }
            for name, value in fields.items():
                if isinstance(value, bytes):
                    text += name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
                else:
                    text += f"{name}={value}\n".encode()
            text += b"\n"
        path = self.folder / f"part{self._number}.journal"
        subprocess.run([WRITER, "-o", str(path), "-"], input=text, check=True, capture_output=True)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    require(missing())
    return Journal(tmp_path)


async def take(number: int, journal: Journal, cursor: str, *later: dict[str, str | bytes]) -> list[Entry]:
    found: list[Entry] = []
    entries = follow(str(journal.folder), cursor)

    async def collect() -> None:
        async for entry in entries:
            found.append(entry)
            if len(found) == number:
                return

    task = asyncio.ensure_future(collect())
    while later and not task.done():  # journalctl does not say when it has come to the end: written until it is seen
        journal.write(*later)
        await asyncio.sleep(0.2)
    try:
        await asyncio.wait_for(task, 15.0)
    finally:
        await entries.aclose()  # type: ignore[attr-defined]
    return found


def test_follows_from_the_end_and_from_a_cursor(journal: Journal) -> None:
    journal.write({"MESSAGE": "old"})
    (first,) = asyncio.run(take(1, journal, "", {"MESSAGE": "new"}))
    assert first.text == "postfix/smtp[123]: new"
    assert first.at > 1_795_000_001.0
    journal.write({"MESSAGE": "while nobody read"}, {"MESSAGE": "other", "SYSLOG_FACILITY": "3"}, {"MESSAGE": "last"})
    (first,) = asyncio.run(take(1, journal, first.cursor))
    while first.text == "postfix/smtp[123]: new":
        (first,) = asyncio.run(take(1, journal, first.cursor))
    found = [first, *asyncio.run(take(1, journal, first.cursor))]
    assert [entry.text for entry in found] == ["postfix/smtp[123]: while nobody read", "postfix/smtp[123]: last"]


def test_a_journal_that_cannot_be_read_is_told_once_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(missing())
    monkeypatch.setattr(log_journal, "_PAUSE", 0.0)

    async def main() -> None:
        async for _ in follow(f"{tmp_path}/none"):
            pass

    async def for_a_while() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(main(), 1.0)

    asyncio.run(for_a_while())
    (told,) = caplog.messages
    assert "No such file or directory" in told


def test_messages_that_are_no_text(journal: Journal) -> None:
    journal.write({"MESSAGE": "old"})
    found = asyncio.run(take(1, journal, "", {"MESSAGE": b"\xff\xfe here"}))
    assert found[0].text == "postfix/smtp[123]: \ufffd\ufffd here"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"__REALTIME_TIMESTAMP": "x", "__CURSOR": "c"}',
        b'{"__REALTIME_TIMESTAMP": "1"}',
        b"[" * 100_000,
    ],
)
def test_lines_that_are_no_entries(line: bytes) -> None:
    assert _read(line) is None


def test_fields_that_are_missing() -> None:
    assert _read(b'{"__REALTIME_TIMESTAMP": "1000000", "__CURSOR": "c", "MESSAGE": null}') == Entry(1.0, "[]: ", "c")
