"""Mail that two real Postfix forward, each sealing it, to a third one that validates what came of it.

bank.example -> home.example (an alias) -> next.example (an alias) -> last.example
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dkim
import pytest

from tests.support.arc_sealer import seal
from tests.support.gate import gate_settings
from tests.support.mailbox import Delivered
from tests.support.milter_daemon import MilterDaemon
from tests.support.passage import RESULTS, read_results
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.senders import BANK, KEY, LISTS, SELECTOR, ZONE, mail
from tests.support.signing import Keys
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

HOPS = ("home.example", "next.example", "last.example")


@dataclass
class Chain:
    """The three hosts; `milters` from the first to the last."""

    postfixes: list[PrivatePostfix]
    milters: list[MilterDaemon]
    keys: Keys

    def send(self, message: bytes, user: str = "forwarded", **options: Any) -> Delivered:
        """A message to an alias at the first host, as it arrives at the last one."""
        before = len(self.postfixes[-1].mailbox.messages(f"{user}@last.example"))
        exchange = self.postfixes[0].send(
            message, rcpts=[f"{user}@home.example"], raw=True, **{"mail_from": BANK.address, **BANK.client(), **options}
        )
        assert exchange.accepted, exchange
        return self.postfixes[-1].wait_delivered(f"{user}@last.example", before + 1)[-1]

    def peer(self, delivered: Delivered) -> str:
        """What dkimpy says of the chain."""

        def record(name: bytes, timeout: int = 5) -> bytes | None:
            return self.keys.records.get(name.decode().removesuffix("."), "").encode() or None

        status, _, reason = dkim.arc_verify(delivered.message.replace(b"\n", b"\r\n"), dnsfunc=record)
        return status.decode() if status else str(reason)


def entry(delivered: Delivered) -> tuple[str, dict[str, str]]:
    """arc= of the field on top."""
    name, value = delivered.fields[0]
    assert name == RESULTS
    return next((result, found) for method, result, found in read_results(value) if method == "arc")


def sets(delivered: Delivered) -> list[tuple[int, str]]:
    """(instance, cv=) of each seal, from the top."""
    found = [re.match(r" i=(\d+);.*?\bcv=(\w+);", value, re.DOTALL) for value in delivered.all("ARC-Seal")]
    return [(int(match[1]), match[2]) for match in found if match]


@pytest.fixture(scope="module")
def chain(
    postfix_factory: Callable[..., PrivatePostfix],
    milter_process: Callable[..., MilterDaemon],
    unbound_factory: Callable[..., PrivateUnbound],
    tmp_path_factory: pytest.TempPathFactory,
) -> Chain:
    folder: Path = tmp_path_factory.mktemp("keys")
    keys = Keys(folder)
    tables = [keys.tables({"fwd": (name, "arc", "rsa")}, {}) for name in HOPS]
    dns = unbound_factory(ZONE + "".join(f'{name}. 300 IN TXT "{text}"\n' for name, text in keys.records.items()))
    postfixes: list[PrivatePostfix] = []
    milters: list[MilterDaemon] = []
    for place in (2, 1, 0):  # each has to know the port of the next one
        settings = {"smtp_tls_security_level": "none"}
        if postfixes:
            users = ("forwarded", "other")
            pairs = " ".join(f"{{{user}@{HOPS[place]}={user}@{HOPS[place + 1]}}}" for user in users)
            settings["default_transport"] = f"smtp:[127.0.0.1]:{postfixes[0].ports['smtp']}"
            settings["virtual_alias_maps"] = f"inline:{{{pairs}}}"
        postfixes.insert(
            0,
            postfix_factory(
                milter=MILTER_SPEC, domains=[HOPS[place]], services=["smtp unix - - n - - smtp"], settings=settings
            ),
        )
        sealing = (
            {"seal": "fwd", "seal_for": [f"forwarded@{HOPS[place]}"] if place == 0 else ["*"]} if place < 2 else {}
        )
        wanted = {
            "authserv_id": f"mx.{HOPS[place]}",
            "workers": 1,
            "trust": {"networks": []},
            "dmarc": {"on_reject": "accept"},
            "arc": sealing,
            **tables[place],
        }
        milters.insert(
            0, milter_process(gate_settings(dns.address, wanted), socket=f"unix:{postfixes[0].milter_socket}")
        )
    keys.records.update({f"{SELECTOR}._domainkey.{LISTS.domain}": _record(ZONE, LISTS.domain)})
    return Chain(postfixes, milters, keys)


def _record(zone: str, domain: str) -> str:
    found = re.search(rf'^{SELECTOR}\._domainkey\.{re.escape(domain)}\. .* "(.*)"$', zone, re.MULTILINE)
    assert found
    return found[1]


def test_two_hops_on(chain: Chain) -> None:
    marks = [milter.log.mark() for milter in chain.milters]
    delivered = chain.send(BANK.sign(mail(BANK.address)))
    assert sets(delivered) == [(2, "pass"), (1, "none")]
    assert entry(delivered) == ("pass", {"smtp.remote-ip": "127.0.0.1", "header.oldest-pass": "0"})
    assert chain.peer(delivered) == "pass"
    text = delivered.fields[0][1].replace("\n\t", " ")
    assert "(i=2 next.example, i=1 home.example)" in text
    # what the first host found out is still known, word for word
    first = delivered.all("ARC-Authentication-Results")[1].replace("\n\t", " ")
    assert first.startswith(" i=1; mx.home.example; iprev=pass ")
    assert "dmarc=pass (p=reject) header.from=bank.example policy.dmarc=reject" in first
    assert "arc=none smtp.remote-ip=192.0.2.10" in first
    assert chain.milters[0].log.text(marks[0]).count(" sealed=1:none ") == 1
    assert chain.milters[1].log.text(marks[1]).count(" sealed=2:pass ") == 1
    assert " sealed=" not in chain.milters[2].log.text(marks[2])


def test_order_of_the_fields(chain: Chain) -> None:
    """The set is above our own results, which are above Postfix's Received; no A-R field is signed (ARC-23)."""
    delivered = chain.send(BANK.sign(mail(BANK.address)))
    names = [name for name, _ in delivered.fields]
    own = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", RESULTS, "Received"]
    assert names[:13] == [RESULTS, "Received", *own, *own, "DKIM-Signature"]
    for value in delivered.all("ARC-Message-Signature"):
        found = re.search(r"\bh=([^;]*);", value)
        assert found
        signed = re.sub(r"\s", "", found[1]).lower().split(":")
        assert "dkim-signature" in signed
        assert "from" in signed
        assert not {"authentication-results", "received"} & set(signed)
        assert not any(name.startswith("arc-") for name in signed)


def test_only_for_the_recipients_that_are_named(chain: Chain) -> None:
    delivered = chain.send(BANK.sign(mail(BANK.address)), "other")
    assert sets(delivered) == [(1, "none")]  # of the second host, which seals all
    assert entry(delivered)[0] == "pass"


@pytest.mark.parametrize(
    "body",
    ["\n\n\n", ".\n..\n.x\n", " \t a  b\t\n \n", "\xe4\xff\n", "x" * 990 + "\n", "0123456789\n" * 30_000, ""],
    ids=["empty", "dots", "blanks", "8 bit", "long line", "chunks", "nothing"],
)
def test_nasty_messages_pass_two_hops_on(chain: Chain, body: str) -> None:
    head = "From: someone@bank.example\r\nSubject:  folded\r\n\t and =?utf-8?q?=C3=A4?= \r\nTo: a@x.example\r\n"
    head += "Subject: twice\r\nX-Odd:no blank \r\n"
    message = (head + "\r\n" + body.replace("\n", "\r\n")).encode("latin-1")
    delivered = chain.send(message, mail_params=["BODY=8BITMIME"])
    assert (sets(delivered), entry(delivered)[0]) == ([(2, "pass"), (1, "none")], "pass")
    assert chain.peer(delivered) == "pass"


def test_a_chain_of_others_goes_on(chain: Chain) -> None:
    message = seal(BANK.sign(mail(BANK.address)), LISTS.domain, SELECTOR, KEY)
    delivered = chain.send(message, mail_from=LISTS.address, **LISTS.client())
    assert sets(delivered) == [(3, "pass"), (2, "pass"), (1, "none")]
    assert entry(delivered)[0] == chain.peer(delivered) == "pass"


def test_a_broken_chain_is_marked_once(chain: Chain) -> None:
    """ARC-19, ARC-21: cv=fail over its own set alone, and nobody seals on top of that."""
    mark = chain.milters[1].log.mark()
    sealed = seal(BANK.sign(mail(BANK.address)), LISTS.domain, SELECTOR, KEY)
    delivered = chain.send(sealed.replace(b"bye", b"buy"), mail_from=LISTS.address, **LISTS.client())
    assert sets(delivered) == [(2, "fail"), (1, "none")]
    assert entry(delivered)[0] == "fail"
    assert 'unsealed="the chain was broken before"' in chain.milters[1].log.text(mark)
    assert "terminated" in chain.peer(delivered)  # and the seal itself is sound
