"""Each row of docs/inbound-decisions.md through a real Postfix: what becomes of the message, and who names the rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.gate import Gates
from tests.support.indirect import arc_sealed, results_of, through_list, with_footer
from tests.support.passage import pass_through
from tests.support.postfix_config import HOSTNAME
from tests.support.senders import ALUMNI, BANK, BROKEN, LISTS, MALLORY, NEWS, PLAIN, SHOP, Sender, mail

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]


class Row(NamedTuple):
    rule: str
    what: str
    fate: str
    message: Callable[[], bytes]
    by: Sender = MALLORY
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed
    override: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


TEMPFAIL = {"dmarc": {"on_temperror": "tempfail"}}


def forged() -> bytes:
    return mail(BANK.address, extra=f"Authentication-Results: {HOSTNAME}; none\n" * 201)


def listed() -> bytes:
    return through_list(BANK.sign(mail(BANK.address)), LISTS)


def sealed() -> bytes:
    return arc_sealed(with_footer(BANK.sign(mail(BANK.address))), ALUMNI, results_of(BANK.domain, "pass"))


def many_authors() -> bytes:
    return mail(", ".join(f"a@d{number}.example" for number in range(5)))


def from_of(sender: Sender) -> Callable[[], bytes]:
    return lambda: mail(sender.address)


ROWS = [
    Row("own", "our own network", "delivered", from_of(BANK), settings={"trust": {"networks": [f"{MALLORY.ip}/32"]}}),
    Row("header-size", "30,000 fields", "refused", lambda: mail(PLAIN.address, extra="X: y\n" * 30_000)),
    Row("forged-fields", "201 fields that are ours", "refused", forged),
    Row("forwarder", "fail", "delivered", from_of(BANK), ALUMNI, {"trust": {"forwarders": [f"{ALUMNI.ip}/32"]}},
        "trusted_forwarder"),
    Row("forwarder", "fail, none", "delivered", from_of(NEWS), ALUMNI, {"trust": {"forwarders": [f"{ALUMNI.ip}/32"]}}),
    Row("author-domains", "five of them", "refused", many_authors),
    Row("bad-from", "two fields", "refused", lambda: mail(BANK.address, extra=f"From: {PLAIN.address}\n")),
    Row("bad-from", "two fields, held", "held", lambda: mail(BANK.address, extra=f"From: {PLAIN.address}\n"),
        settings={"dmarc": {"on_bad_from": "quarantine", "on_reject": "accept"}}),
    Row("arc", "fail, reject", "delivered", sealed, ALUMNI, {"trust": {"arc_sealers": [ALUMNI.domain]}},
        "local_policy"),
    Row("mailing-list", "fail, reject", "held", listed, LISTS, override="mailing_list"),
    Row("mailing-list", "accepted", "delivered", listed, LISTS, {"dmarc": {"on_mailing_list": "accept"}},
        "mailing_list"),
    Row("unknown", "a forwarder", "held", from_of(BANK), MALLORY, {"trust": {"forwarders": [f"helo:{BROKEN.domain}"]}},
        "local_policy", {"helo": BROKEN.host}),
    Row("unknown", "deferred", "deferred", from_of(BANK), MALLORY,
        {"trust": {"forwarders": [f"helo:{BROKEN.domain}"]}, **TEMPFAIL}, "local_policy", {"helo": BROKEN.host}),
    Row("policy", "fail, reject", "refused", from_of(BANK)),
    Row("policy", "held", "held", from_of(BANK), settings={"dmarc": {"on_reject": "quarantine"}},
        override="local_policy"),
    Row("policy", "fail, quarantine", "held", from_of(SHOP)),
    Row("policy", "delivered", "delivered", from_of(SHOP), settings={"dmarc": {"on_quarantine": "accept"}},
        override="local_policy"),
    Row("temperror", "accepted", "delivered", from_of(BROKEN)),
    Row("temperror", "deferred", "deferred", from_of(BROKEN), settings=TEMPFAIL),
    Row("policy-none", "fail", "delivered", from_of(NEWS)),
    Row("no-policy", "none", "delivered", from_of(PLAIN)),
    Row("pass", "pass", "delivered", lambda: BANK.sign(mail(BANK.address)), BANK),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.what}")
def test_row(gates: Gates, row: Row) -> None:
    options = {"mail_from": row.by.address, **row.by.client(), **row.options}
    passage = pass_through(gates(**row.settings), row.message(), **options)
    assert passage.fate == row.fate
    assert re.search(rf" rule={row.rule} ", passage.line)
    found = re.search(r" override=(\S+)", passage.line)
    assert (found[1] if found else "") == row.override
    if row.fate in ("delivered", "held") and row.rule not in ("own", "pass", "no-policy"):
        word = {"delivered": "accept", "held": "quarantine"}[row.fate]
        assert f"{word} by {row.rule})" in passage.top.replace("\n\t", " ")


def test_there_is_a_row_for_every_rule() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "inbound-decisions.md").read_text()
    rules = re.findall(r"^\| `([a-z-]+)` \|", docs.partition("## The table")[2].partition("\n## ")[0], re.MULTILINE)
    assert rules.pop(0) == "no-key"  # a key that is gone stops the start: tests/test_authmilter/test_sign_rules.py
    assert list(dict.fromkeys(row.rule for row in ROWS)) == list(dict.fromkeys(rules))
