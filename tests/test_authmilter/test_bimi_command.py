"""`authmilter bimi` as a user runs it, and BIMI in `authmilter check` and the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authmilter.setup import read_files
from mailcommon.settings import SettingsError
from tests.support.bimi_world import BimiWorld
from tests.support.command import Ran, authmilter, write_settings
from tests.support.inbound import AUTHSERV_ID, settings_of
from tests.support.marks import LOGO, OTHER_LOGO

ZONE = """
a.example. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.a.example. 300 IN TXT "v=DMARC1; p=reject"
default._bimi.a.example. 300 IN TXT "v=BIMI1; l=https://web.example/logo.svg; a=https://brand.example/mark.pem"
_dmarc.lax.example. 300 IN TXT "v=DMARC1; p=none"
default._bimi.lax.example. 300 IN TXT "v=BIMI1; l=https://web.example/logo.svg"
_dmarc.new.example. 300 IN TXT "v=DMARC1; p=quarantine"
"""


@pytest.fixture(scope="module")
def world() -> Iterator[BimiWorld]:
    with BimiWorld(ZONE) as made:
        made.web("web.example")
        made.web("brand.example", {"/mark.pem": made.marks.issue("a.example", mark_type="Prior Use Mark")})
        yield made


@pytest.fixture
def config(world: BimiWorld, tmp_path: Path) -> Path:
    return write_settings(tmp_path, {"authserv_id": AUTHSERV_ID, **world.tables()})


def as_json(run: Ran) -> dict[str, Any]:
    assert (run.status, run.err) == (0, ""), run
    found: dict[str, Any] = json.loads(run.out)
    return found


def steps(found: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    return {step["step"]: (step["passed"], step["text"]) for step in found["steps"]}


def test_a_domain_that_does_all_right(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    found = as_json(authmilter("bimi", "--config", config, "--json", "--svg-out", out, "a.example"))
    assert (found["result"], found["authority"], found["mark_type"]) == ("pass", "pass", "Prior Use Mark")
    assert all(step["passed"] for step in found["steps"])
    names = [step["step"] for step in found["steps"]]
    assert names == [
        "DMARC", "DNS", "record", "evidence: fetch", "evidence: document", "evidence: usage", "evidence: validity",
        "evidence: mark type", "evidence: revocation list", "evidence: issuer", "evidence: transparency",
        "evidence: names", "evidence: logotype", "evidence: indicator", "evidence: revocation", "evidence: domain",
        "indicator: fetch", "indicator: SVG Tiny PS", "indicator: equal",
    ]  # fmt: skip
    assert out.read_bytes() == LOGO
    assert [name for name, _ in found["headers"]] == ["BIMI-Location", "BIMI-Indicator"]
    assert found["results_entry"].startswith("bimi=pass (Prior Use Mark) header.d=a.example header.selector=default")


def test_for_people(config: Path) -> None:
    run = authmilter("bimi", "--config", config, "a.example")
    assert run.status == 0
    assert run.out.startswith("ok    DMARC")
    assert "FAIL" not in run.out
    assert "BIMI-Location: v=BIMI1; a=https://brand.example/mark.pem;" in run.out


@pytest.mark.parametrize(
    ("domain", "more", "result", "step", "text"),
    [
        ("lax.example", (), "skipped", "DMARC", "the DMARC policy of lax.example is none (lax.example: p=none)"),
        (
            "none.example",
            (),
            "skipped",
            "DMARC",
            "no usable DMARC record for none.example: no DMARC record for none.example",
        ),
        ("new.example", (), "none", "record", "there is no record at default._bimi.new.example"),
        ("a.example", ("--selector", "x"), "none", "record", "there is no record at x._bimi.a.example"),
        ("a.example", ("--record", "v=BIMI1; a="), "fail", "record", "it has no l="),
        ("a.example", ("--record", "v=BIMI2"), "none", "record", "it does not begin with v=BIMI1"),
        ("a.example", ("--record", "v=BIMI1; l=; a=;"), "declined", "record", "it declines to publish"),
        (
            "a.example",
            ("--record", "v=BIMI1; l=https://web.example/x.svg; a=https://brand.example/mark.pem"),
            "pass",
            "indicator: fetch",
            "web.example: HTTP status 404",
        ),
        (
            "new.example",
            ("--record", "v=BIMI1; l=https://web.example/logo.svg; a=https://brand.example/mark.pem"),
            "fail",
            "evidence: domain",
            "it is for a.example, not for new.example with selector default",
        ),
    ],
)
def test_what_is_wrong(config: Path, domain: str, more: tuple[str, ...], result: str, step: str, text: str) -> None:
    found = as_json(authmilter("bimi", "--config", config, "--json", *more, domain))
    assert found["result"] == result
    assert steps(found)[step] == (False, text)


def test_before_anything_is_published(config: Path, world: BimiWorld, tmp_path: Path) -> None:
    """--record, --svg and --evidence: nothing of it has to be on a host."""
    pem, svg = tmp_path / "mark.pem", tmp_path / "logo.svg"
    pem.write_bytes(world.marks.issue("new.example"))
    svg.write_bytes(LOGO)
    record = "v=BIMI1; l=https://new.example/logo.svg; a=https://new.example/mark.pem"
    files = ("--record", record, "--svg", svg, "--evidence", pem)
    found = as_json(authmilter("bimi", "--config", config, "--json", *files, "new.example"))
    assert (found["result"], found["authority"]) == ("pass", "pass")
    svg.write_bytes(OTHER_LOGO)
    found = as_json(authmilter("bimi", "--config", config, "--json", *files, "new.example"))
    assert steps(found)["indicator: equal"] == (False, "another one than in the certificate, which is what counts")
    svg.write_bytes(LOGO.replace(b"<rect", b"<script/><rect"))
    found = as_json(authmilter("bimi", "--config", config, "--json", *files, "new.example"))
    assert steps(found)["indicator: SVG Tiny PS"] == (False, "line 4: <script>: scripts are not allowed")
    pem.write_bytes(world.marks.issue("new.example", flaw="expired"))
    found = as_json(authmilter("bimi", "--config", config, "--json", *files, "new.example"))
    assert found["result"] == "fail"
    assert steps(found)["evidence: validity"][0] is False
    assert steps(found)["evidence: logotype"][0] is True  # it goes on where a message would stop


def test_a_file_alone(config: Path, tmp_path: Path) -> None:
    svg = tmp_path / "logo.svg"
    svg.write_bytes(LOGO)
    found = as_json(authmilter("bimi", "--config", config, "--json", "--svg", svg, "nowhere.example"))
    assert steps(found)["indicator: SVG Tiny PS"][0] is True


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("localhost",), "'localhost' is not a domain"),
        (("--selector", "a_b", "a.example"), "--selector: 'a_b' is not a selector"),
        (("--svg", "/nowhere", "a.example"), "/nowhere: No such file or directory"),
        (("--svg-out", "/nowhere/x", "a.example"), "--svg-out: /nowhere/x: No such file or directory"),
    ],
)
def test_bad_requests(config: Path, arguments: tuple[str, ...], text: str) -> None:
    run = authmilter("bimi", "--config", config, *arguments)
    assert (run.status, run.out, run.err.strip()) == (2, "", f"authmilter: {text}")


# authmilter check


def test_check(config: Path, tmp_path: Path) -> None:
    message = tmp_path / "m.eml"
    message.write_bytes(b"From: u@a.example\nBIMI-Location: v=BIMI1; l=https://evil.example/x.svg\n\nx\n")
    who = ("--client-ip", "192.0.2.1", "--helo", "mx.a.example", "--mail-from", "u@a.example")
    recording = tmp_path / "dns"
    found = as_json(authmilter("check", "--config", config, *who, "--json", "--record-dns", recording, message))
    assert found["results"]["bimi"]["result"] == "pass"
    assert found["results"]["bimi"]["authority"] == "pass"
    assert [name for name, _ in found["headers_add"]] == ["Authentication-Results", "BIMI-Location", "BIMI-Indicator"]
    assert ["BIMI-Location", 1] in found["headers_remove"]
    again = as_json(authmilter("check", "--config", config, *who, "--json", "--dns", recording, message))
    assert again["results"]["bimi"]["result"] == "temperror"  # a recording has no files
    assert again["results"]["bimi"]["reason"] == "the evidence: nothing is fetched here"


# Settings


@pytest.mark.parametrize(
    ("bimi", "text"),
    [
        ({"enabled": True}, 'ca_file is missing: evidence = "require" needs the roots of mark certificates'),
        ({"enabled": True, "ca_file": "/nowhere"}, "ca_file /nowhere: No such file or directory"),
        ({"enabled": True, "evidence": "optional", "ct_log_list": "/nowhere"}, "ct_log_list /nowhere: No such file"),
        (
            {"enabled": True, "evidence": "optional", "https_ca_file": "/nowhere"},
            "https_ca_file /nowhere: No such file",
        ),
        ({"evidence": "maybe"}, "evidence: should be 'require', 'optional' or 'off'"),
        ({"budget": 20.0}, "budget: should be less than or equal to 10"),
    ],
)
def test_bad_settings(tmp_path: Path, bimi: dict[str, Any], text: str) -> None:
    run = authmilter("config", "--config", write_settings(tmp_path, {"bimi": bimi}))
    assert run.status == 2
    assert text in run.err


@pytest.mark.parametrize("content", ["x", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", ""])
def test_a_file_without_roots(tmp_path: Path, content: str) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text(content)
    run = authmilter("config", "--config", write_settings(tmp_path, {"bimi": {"enabled": True, "ca_file": str(roots)}}))
    assert run.status == 2
    assert f"ca_file {roots}: has something that is no certificate in PEM" in run.err


def test_roots_are_authorities(world: BimiWorld, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(world.marks.issue("a.example"))
    run = authmilter("config", "--config", write_settings(tmp_path, {"bimi": {"enabled": True, "ca_file": str(roots)}}))
    assert run.status == 2
    assert "is no authority's certificate" in run.err


def test_a_file_that_the_daemons_user_cannot_read_stops_the_start(world: BimiWorld, tmp_path: Path) -> None:
    """`read_files` is called once more when root's rights are gone; here the file is gone."""
    roots = world.marks.write_roots(tmp_path / "roots.pem")
    settings = settings_of({"bimi": {"enabled": True, "ca_file": str(roots)}})
    read_files(settings)
    roots.unlink()
    with pytest.raises(SettingsError, match=f"\\[bimi\\] ca_file {roots}: No such file"):
        read_files(settings)
