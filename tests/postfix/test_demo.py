"""The demonstration as a user runs it, with and without the servers that a machine may lack."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from demo import outbound_cases
from demo.cases import FORGED, Case, Result, cases, checks
from demo.outbound_cases import RECIPIENTS, Delivery
from tests.support import outbound, postfix, unbound
from tests.support.mx_host import Mail
from tests.support.requirements import require
from tests.support.sending_postfix import Fate
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "demo"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def started_by(mark: str) -> list[str]:
    """Command lines of processes that have `mark` in their environment, the demonstration itself left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1"))
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    return [line for line in found if line and "-m demo" not in line]


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A word that everything started from here on carries in its environment."""
    word = f"mark-{uuid.uuid4()}"
    monkeypatch.setenv("GATEPOST_DEMO_MARK", word)
    return word


@pytest.mark.postfix
@pytest.mark.unbound
def test_whole_demonstration(mark: str) -> None:
    require(postfix.missing() or unbound.missing() or outbound.missing())
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in ("genuine (delivered)", "p=reject (refused)", "p=quarantine (held)", "550 5.7.26", "queued as"):
        assert words in done.stdout
    for recipient in RECIPIENTS:
        assert f"sent to {recipient.domain}: {recipient.story}" in done.stdout
    assert "mail waits where TLS cannot be trusted" in done.stdout
    assert "BIMI-Indicator is the logo in the certificate" in done.stdout
    assert "WRONG" not in done.stdout
    assert FORGED not in done.stdout
    assert started_by(mark) == []


@pytest.mark.parametrize("options", [["--no-postfix"], ["--no-unbound", "--no-postfix"]])
def test_says_what_it_cannot_do_and_does_the_rest(options: list[str]) -> None:
    if "--no-unbound" not in options:
        require(unbound.missing())
    done = run(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No real Postfix" in done.stdout
    assert ("No real resolver" in done.stdout) == ("--no-unbound" in options)
    assert "p=quarantine (held)" in done.stdout
    assert "Left out: it takes a real Postfix and a real resolver" in done.stdout


def test_stops_everything_when_told_to(mark: str) -> None:
    with subprocess.Popen([*COMMAND, "--no-postfix", "--no-unbound"], cwd=ROOT, stdout=subprocess.PIPE) as running:
        wait_until(lambda: started_by(mark), "the milter's start")
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 143
    assert started_by(mark) == []


_OURS = ("Authentication-Results", " mx.home.example; spf=pass; dkim=pass; dmarc=none")
_FORGED = ("Authentication-Results", f" MX.home.example; {FORGED}")
_THEIRS = ("Authentication-Results", " relay.elsewhere.example; spf=pass")
_GOOD = Result("250 2.0.0 Ok", "delivered", "", [_OURS, ("Received", " x"), _THEIRS])


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (replace(_GOOD, fate="held"), "delivered"),
        (replace(_GOOD, reply="451 4.7.1 Later"), "reply 250 2.0.0"),
        (replace(_GOOD, fields=[("Received", " x"), _OURS, _THEIRS]), "one field in our name, on top"),
        (replace(_GOOD, fields=[_OURS, _FORGED, _THEIRS]), "the forged results are gone"),
        (replace(_GOOD, fields=[_OURS]), "what relay.elsewhere.example wrote is kept"),
        (replace(_GOOD, fields=[(_OURS[0], " mx.home.example; spf=fail; dmarc=none"), _THEIRS]), "it says spf=pass"),
    ],
)
def test_notices_what_is_wrong(wrong: Result, complaint: str) -> None:
    case = forged_case()
    assert all(holds for _, holds in checks(case, _GOOD))
    assert complaint in [text for text, holds in checks(case, wrong) if not holds]


def forged_case() -> Case:
    (case,) = [case for case in cases() if case.gone]
    return case


_FATE = Fate(
    "ABC", "sent", "2.0.0", "250 taken", "mx.good.example", "Verified TLS connection established to mx.good.example["
)
_MAIL = Mail("mx.good.example", "a@b.example", ("you@good.example",), b"", "TLSv1.3", "mx.good.example")
_DELIVERY = Delivery("OK secure match=mx.good.example servername=hostname", _FATE, [_MAIL])


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (replace(_DELIVERY, line="NOTFOUND "), "Postfix was told OK secure"),
        (replace(_DELIVERY, fate=replace(_FATE, status="deferred")), "sent"),
        (replace(_DELIVERY, fate=replace(_FATE, log=_FATE.log.replace("Verified", "Untrusted"))), "TLS: Verified"),
        (replace(_DELIVERY, mails=[replace(_MAIL, host="mx.mallory.example")]), "arrived at mx.good.example alone"),
        (replace(_DELIVERY, mails=[]), "arrived at mx.good.example alone"),
    ],
)
def test_notices_what_is_wrong_outbound(wrong: Delivery, complaint: str) -> None:
    good = RECIPIENTS[0]
    assert all(holds for _, holds in outbound_cases.checks(good, _DELIVERY))
    assert complaint in [text for text, holds in outbound_cases.checks(good, wrong) if not holds]


def test_notices_what_arrives_though_it_should_not() -> None:
    (refused,) = [recipient for recipient in RECIPIENTS if recipient.domain == "stripped.example"]
    delivery = replace(_DELIVERY, fate=replace(_FATE, status="deferred"))
    assert ("nothing arrived anywhere", False) in outbound_cases.checks(refused, delivery)
