"""Recipients over the milter protocol: asked for only where it depends on them what is sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.milter_client import MilterClient, Outcome
from tests.support.milter_protocol import Step
from tests.support.signing import Keys
from tests.support.stranger import Strangers

PLAIN = b"From: u@a.example\n\nhello\n"


def tables(folder: Path, *patterns: str) -> dict[str, Any]:
    keys = Keys(folder)
    return {
        **keys.tables({"fwd": ("fwd.example", "s", "rsa")}, {}),
        "arc": {"seal": "fwd", "seal_for": list(patterns)},
        "workers": 1,
    }


def sealed(outcome: Outcome) -> bool:
    return bool(outcome.all("ARC-Seal"))


def send(milter: MilterClient, *rcpts: str | bytes) -> bool:
    return sealed(milter.send(PLAIN, mail_from="u@a.example", rcpts=rcpts))


def test_all_mail(tmp_path: Path) -> None:
    with Strangers(tables=tables(tmp_path, "*")) as gate, gate.client() as milter:
        assert Step.NO_RCPT in milter.steps
        assert send(milter, "me@home.example")


def test_mail_for_some(tmp_path: Path) -> None:
    with Strangers(tables=tables(tmp_path, "fwd@home.example", "lists.example")) as gate:
        with gate.client() as milter:
            assert Step.NO_RCPT not in milter.steps
            assert Step.NR_RCPT in milter.steps  # nothing waits for an answer
            assert not send(milter, "me@home.example")
            assert send(milter, "me@home.example", "FWD@home.example", "other@home.example")
            # what one message was for does not stick to the next
            assert not send(milter, "me@home.example")
            assert send(milter, "any@lists.example")
            assert not send(milter, b"\xff@home.example", '"a b"@home.example', "postmaster", "x" * 2000)
        # from whom it is counts first
        with gate.client(ip="192.0.2.1") as milter:
            outcome = milter.send(PLAIN, mail_from="u@a.example", rcpts=["fwd@home.example"], login="alice")
            assert not sealed(outcome)
        assert "internal fault" not in gate.daemon.log.text()
