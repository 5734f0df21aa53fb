"""A log as the daemon reads it: whatever stands in it, the rest is counted."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.test_tlspolicyd.test_tlsrpt_collector import run, settings, stored
from tlspolicyd.tlsrpt.watching import Watching


def delivery(stamp: str, domain: str) -> str:
    """Two lines about one session."""
    front = f"{stamp} host postfix/smtp[1]:"
    return (
        f"{front} Trusted TLS connection established to mx.{domain}[192.0.2.1]:25: TLSv1.3\n"
        f"{front} 4ABCDEF123: to=<u@{domain}>, relay=mx.{domain}[192.0.2.1]:25, delay=1, delays=1/0/0/0, dsn=2.0.0,"
        " status=sent (250 ok)\n"
    )


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00+23:59", "1999-12-31T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_line_of_a_time_that_cannot_be(tmp_path: Path, stamp: str) -> None:
    path = tmp_path / "mail.log"
    path.touch()
    watching = Watching(settings(tmp_path, socket="", log=str(path)))
    now = datetime.datetime.now(datetime.UTC).isoformat()

    def work() -> None:
        def written() -> bool:
            with path.open("a") as log:
                log.write(delivery(stamp, "old.example") + delivery(now, "new.example"))
            return "new.example" in stored(tmp_path)

        wait_until(written, "the session of today")

    run(watching, work)
    assert set(stored(tmp_path)) == {"new.example"}
    assert watching.malformed["time"] > 0


def test_a_log_that_cannot_be_read_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mail.log"
    watching = Watching(settings(tmp_path, socket="", log=str(path)))

    def work() -> None:
        wait_until(lambda: caplog.messages, "the complaint")
        path.touch()
        wait_until(lambda: len(caplog.messages) == 2, "the end of it")

    run(watching, work)
    first, second = caplog.messages
    assert "the log cannot be read" in first
    assert str(path) in first
    assert "the log is read again" in second
