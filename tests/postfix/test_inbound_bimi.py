"""Brand indicators through a real Postfix: what is delivered, what is removed, and that no host can hold mail up."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.bimi_world import BimiWorld
from tests.support.gate import Gate
from tests.support.marks import LOGO
from tests.support.passage import Passage, pass_through
from tests.support.senders import BANK, MALLORY, NEWS, SHOP, ZONE, mail
from tests.support.unbound import PrivateUnbound
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

L = "https://web.example/logo.svg"
A = "https://brand.example/mark.pem"
RECORDS = f"""
default._bimi.bank.example. 300 IN TXT "v=BIMI1; l={L}; a={A}; avp=brand"
big._bimi.bank.example. 300 IN TXT "v=BIMI1; l={L}; a=https://brand.example/big.pem"
slow._bimi.bank.example. 300 IN TXT "v=BIMI1; l={L}; a=https://slow.example/mark.pem"
default._bimi.shop.example. 300 IN TXT "v=BIMI1; l={L}"
default._bimi.news.example. 300 IN TXT "v=BIMI1; l={L}"
default._bimi.mallory.example. 300 IN TXT "v=BIMI1; l=https://inside.example/x.svg"
inside.example. 300 IN A 127.0.0.1
"""
FORGED = (
    "BIMI-Location: v=BIMI1; l=https://evil.example/forged=yes\nBIMI-Indicator: Zm9yZ2VkPXllcw==\n"
    "bimi-logo-preference : avp=personal;\n"
)
BIG = LOGO.replace(b"</svg>", b"".join(b'  <circle cx="%d" cy="9" r="1"/>\n' % n for n in range(950)) + b"</svg>")
BUDGET = 1.0


@pytest.fixture(scope="module")
def world() -> Iterator[BimiWorld]:
    with BimiWorld(dns=False) as made:
        made.web("web.example")
        files = {"/mark.pem": made.marks.issue("bank.example"), "/big.pem": made.marks.issue("bank.example", svg=BIG)}
        made.web("brand.example", files)
        made.web("slow.example", {"/mark.pem": made.marks.issue("bank.example")}, fault="hang")
        yield made


@pytest.fixture(scope="module")
def dns(world: BimiWorld, unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE + RECORDS + world.hosts_zone("slow.example"))


def settings(world: BimiWorld, **bimi: Any) -> dict[str, Any]:
    return {"workers": 1, "bimi": world.settings(**{"budget": BUDGET, **bimi})}


@pytest.fixture(scope="module")
def gate(world: BimiWorld, dns: PrivateUnbound, gate_factory: Callable[..., Gate]) -> Gate:
    return gate_factory(settings=settings(world), dns=dns)


def send(gate: Gate, sender: Any = BANK, extra: str = "", **signing: Any) -> Passage:
    message = sender.sign(mail(sender.address, extra=extra), **signing)
    passage = pass_through(gate, message, mail_from=sender.address, **sender.client())
    assert passage.fate == "delivered"
    return passage


def bimi_names(passage: Passage) -> list[str]:
    return [name for name, _ in passage.fields if name.lower().startswith("bimi-")]


def result(passage: Passage) -> str:
    found = re.search(r"bimi=(\w+)", passage.top)
    return found[1] if found else ""


def known(gate: Gate, **how: Any) -> Passage:
    """A message after whose host has been fetched from."""

    def passed() -> Passage | None:
        passage = send(gate, **how)
        return None if result(passage) == "temperror" else passage

    return wait_until(passed, "a message whose indicator is known")


def test_the_fields_as_delivered(gate: Gate) -> None:
    passage = known(gate, extra=FORGED)
    assert bimi_names(passage) == ["BIMI-Location", "BIMI-Indicator", "BIMI-Logo-Preference"]
    assert [name for name, _ in passage.fields[:5]] == [
        "Authentication-Results",
        "BIMI-Location",
        "BIMI-Indicator",
        "BIMI-Logo-Preference",
        "Received",
    ]
    assert passage.all("BIMI-Location") == [f" v=BIMI1; a={A};"]
    assert passage.all("BIMI-Logo-Preference") == [" avp=brand;"]
    (indicator,) = passage.all("BIMI-Indicator")
    assert base64.b64decode("".join(indicator.split()), validate=True) == LOGO
    assert b"forged=yes" not in passage.content
    assert b"Zm9yZ2VkPXllcw" not in passage.content
    found = passage.properties("bimi")
    assert (found["header.d"], found["header.selector"], found["policy.authority"]) == (
        "bank.example",
        "default",
        "pass",
    )
    assert f'policy.authority-uri="{A}"' in passage.top
    assert "bimi=pass" in passage.line


@pytest.mark.parametrize(
    ("sender", "expected"),
    [(SHOP, "skipped"), (NEWS, "skipped"), (MALLORY, "skipped")],  # no evidence; p=none; no evidence
)
def test_no_fields_without_a_pass_and_forged_ones_go(gate: Gate, sender: Any, expected: str) -> None:
    passage = send(gate, sender, FORGED)
    assert result(passage) == expected
    assert bimi_names(passage) == []


def test_an_indicator_of_the_largest_size(gate: Gate) -> None:
    """44 KB of header, in lines that SMTP takes, below header_size_limit."""
    assert 32_000 < len(BIG) <= 32_768
    extra = "BIMI-Selector: v=BIMI1; s=big\n"
    signed = {"signed": "From:Subject:BIMI-Selector"}
    passage = known(gate, extra=extra, **signed)
    (indicator,) = passage.all("BIMI-Indicator")
    assert base64.b64decode("".join(indicator.split()), validate=True) == BIG
    assert max(map(len, indicator.split("\n"))) <= 78
    assert passage.properties("bimi")["header.selector"] == "big"


def test_a_host_that_hangs_holds_mail_up_for_the_budget_and_once(gate: Gate) -> None:
    extra = "BIMI-Selector: v=BIMI1; s=slow\n"
    signed = {"signed": "From:Subject:BIMI-Selector"}
    known(gate)  # everything else is known by now
    waits = []
    for _ in range(3):
        began = time.monotonic()
        passage = send(gate, extra=extra, **signed)
        waits.append(time.monotonic() - began)
        assert result(passage) == "temperror"
        assert bimi_names(passage) == ["BIMI-Selector"]
    assert BUDGET - 0.1 < waits[0] < BUDGET + 2.0
    assert max(waits[1:]) < BUDGET


def test_other_mail_does_not_wait_for_it(
    world: BimiWorld, dns: PrivateUnbound, gate_factory: Callable[..., Gate]
) -> None:
    gate = gate_factory(settings=settings(world, budget=5.0), dns=dns)
    host = world.hosts.named("slow.example")
    before = host.requests
    signed = {"signed": "From:Subject:BIMI-Selector"}
    found: list[Passage] = []
    waiting = threading.Thread(
        target=lambda: found.append(send(gate, extra="BIMI-Selector: v=BIMI1; s=slow\n", **signed))
    )
    waiting.start()
    wait_until(lambda: host.requests > before, "the fetch")
    began = time.monotonic()
    send(gate, NEWS)
    assert time.monotonic() - began < 3.0
    assert not found
    waiting.join(15.0)
    assert [result(passage) for passage in found] == ["temperror"]


def test_hosts_inside_are_not_asked(world: BimiWorld, dns: PrivateUnbound, gate_factory: Callable[..., Gate]) -> None:
    """The name leads to 127.0.0.1: nothing of this host can be reached by sending mail to it."""
    tables = settings(world, evidence="optional", allow_private_addresses=False)
    gate = gate_factory(settings=tables, dns=dns)
    before = world.hosts.connections
    passage = send(gate, MALLORY)
    assert result(passage) == "fail"
    assert "inside.example has no address that may be used" in passage.top.replace("\n\t", " ")
    assert world.hosts.connections == before


def test_settings_are_taken_anew(world: BimiWorld, dns: PrivateUnbound, gate_factory: Callable[..., Gate]) -> None:
    gate = gate_factory(settings={"workers": 1}, dns=dns)
    assert result(send(gate)) == ""
    mark = gate.milter.log.mark()
    gate.milter.reload(settings(world, evidence="off"))
    gate.milter.log.wait("new settings taken", after=mark)
    wait_until(lambda: result(send(gate)), "the new settings")
    passage = send(gate)
    assert result(passage) == "pass"
    assert passage.all("BIMI-Location") == [f" v=BIMI1; l={L};"]
    assert passage.all("BIMI-Indicator") == []
    mark = gate.milter.log.mark()
    gate.milter.reload({"bimi": {"enabled": True, "ca_file": "/nowhere"}})
    gate.milter.log.wait("settings not taken, the old ones stay: .*ca_file /nowhere", after=mark)
    assert result(send(gate)) == "pass"
    gate.milter.reload(settings(world))
    wait_until(lambda: send(gate).all("BIMI-Indicator"), "the indicator")
