"""Result fields in our name go, those of others stay, wherever they stand and however they are written."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.support.gate import Gate
from tests.support.passage import RESULTS, Passage, pass_through, settle
from tests.support.senders import BANK, MALLORY, ZONE, mail
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

MARK = "forged=yes"
FORGED = f"{RESULTS}: mx.home.example; dmarc=pass (by {MARK}) header.from=bank.example"


@pytest.fixture(scope="module")
def gate(gate_factory: Callable[..., Gate], unbound_factory: Callable[..., PrivateUnbound]) -> Gate:
    return gate_factory(settings={"workers": 1, "own_ids": ["old.home.example"]}, dns=unbound_factory(ZONE))


def kept(number: int) -> str:
    """A result field of another host."""
    return f"{RESULTS}: mx{number}.elsewhere.example; spf=pass smtp.mailfrom=n{number}.example"


def stranger(gate: Gate, fields: list[str]) -> Passage:
    message = mail(MALLORY.address, extra="".join(f"{field}\n" for field in fields))
    return pass_through(gate, message, mail_from=MALLORY.address, **MALLORY.client())


def submitted(gate: Gate, fields: list[str]) -> Passage:
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    message = mail(BANK.address, extra="".join(f"{field}\n" for field in fields))
    exchange = gate.postfix.submit(message, mail_from=BANK.address, rcpts=[rcpt])
    return settle(gate, exchange, rcpt, mark)


WAYS = {"stranger": stranger, "submission": submitted}


def local(gate: Gate, fields: list[str]) -> list[str]:
    """The values of the result fields of a message that sendmail(1) took in."""
    rcpt = gate.postfix.new_rcpt()
    message = mail(BANK.address, extra="".join(f"{field}\n" for field in fields)).replace(b"\r\n", b"\n")
    gate.postfix.sendmail(message, mail_from=BANK.address, rcpts=[rcpt])
    (delivered,) = gate.postfix.wait_delivered(rcpt)
    assert MARK not in delivered.header.decode()
    return delivered.all(RESULTS)


def values(fields: list[str]) -> list[str]:
    return [field.partition(":")[2] for field in fields]


def check(gate: Gate, fields: list[str], stay: list[str], ways: tuple[str, ...] = tuple(WAYS)) -> None:
    """`fields` sent in each way leave `stay`, with ours above them if there is one."""
    for way in ways:
        passage = WAYS[way](gate, fields)
        assert passage.fate == "delivered"
        found = passage.all(RESULTS)
        if way == "stranger":
            assert found.pop(0) == passage.top
        assert found == values(stay), way
        assert MARK.encode() not in passage.content


@pytest.mark.parametrize("count", [1, 2, 3])
def test_forged_in_every_position_among_two_kept(gate: Gate, count: int) -> None:
    """CVE-2022-48521: who deletes from the first on deletes the wrong ones."""
    stay = [kept(1), kept(2)]
    for places in itertools.combinations(range(count + 2), count):
        others = iter(stay)
        fields = [FORGED if place in places else next(others) for place in range(count + 2)]
        check(gate, fields, stay, ("stranger",))
    check(gate, fields, stay)
    assert local(gate, fields) == values(stay)


@pytest.mark.parametrize("pattern", ["fk", "kf", "ffk", "kkff", "f"])
def test_forty_forged_among_kept_ones(gate: Gate, pattern: str) -> None:
    order = list(itertools.islice(itertools.cycle(pattern), 40 * len(pattern) // pattern.count("f")))
    assert order.count("f") == 40
    fields = [FORGED if letter == "f" else kept(number) for number, letter in enumerate(order)]
    stay = [kept(number) for number, letter in enumerate(order) if letter == "k"]
    check(gate, fields, stay)
    assert local(gate, fields) == values(stay)


SPELLINGS = {
    "id in capitals": f"{RESULTS}: MX.Home.EXAMPLE; {MARK}",
    "name in capitals": f"AUTHENTICATION-RESULTS: mx.home.example; {MARK}",
    "name in small letters": f"authentication-results: mx.home.example; {MARK}",
    "blank before the colon": f"{RESULTS} : mx.home.example; {MARK}",
    "tab before the colon": f"{RESULTS}\t: mx.home.example; {MARK}",
    "no blank": f"{RESULTS}:mx.home.example;{MARK}",
    "comment": f"{RESULTS}: (a (nested\\) one)) mx.home.example (another); {MARK}",
    "quoted": f'{RESULTS}: "mx.home.example"; {MARK}',
    "quoted pairs": f'{RESULTS}: "mx.ho\\me.example"; {MARK}',
    "folded": f"{RESULTS}:\n mx.home.example\n\t; {MARK}",
    "folded by blanks": f"{RESULTS}: \n \n\tmx.home.example; {MARK}",
    "version": f"{RESULTS}: mx.home.example 1; {MARK}",
    "other version": f"{RESULTS}: mx.home.example 99; {MARK}",
    "dot at the end": f"{RESULTS}: mx.home.example.; {MARK}",
    "nothing behind the id": f"{RESULTS}: mx.home.example {MARK}",
    "all of it in a comment that is not closed": f"{RESULTS}: (mx.home.example; {MARK}",
    "quotes that are not closed": f'{RESULTS}: "mx.home.example; {MARK}',
    "empty": f"{RESULTS}: (\n {MARK})",
    "encoded word": f"{RESULTS}: =?utf-8?q?mx=2Ehome=2Eexample?=; {MARK}",
    "another id of ours": f"{RESULTS}: OLD.home.example; {MARK}",
    "NUL": f"{RESULTS}: mx.home.example\0; {MARK}",
    "NUL before the id": f"{RESULTS}: \0mx.home.example; {MARK}",
    "CR": f"{RESULTS}: mx.home\r.example; {MARK}",
    "full-width": f"{RESULTS}: ｍｘ．ｈｏｍｅ．ｅｘａｍｐｌｅ; {MARK}",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spelling(gate: Gate, name: str) -> None:
    fields = [kept(1), SPELLINGS[name], kept(2), FORGED, kept(3)]
    check(gate, fields, [kept(1), kept(2), kept(3)])


def test_all_spellings_in_one_message(gate: Gate) -> None:
    fields = [field for number, spelling in enumerate(SPELLINGS.values()) for field in (spelling, kept(number))]
    stay = [kept(number) for number in range(len(SPELLINGS))]
    check(gate, fields, stay)
    check(gate, fields[::-1], stay[::-1])


def test_others_stay(gate: Gate) -> None:
    """RFC 8601 §5: what does not claim to be ours is left alone, also what looks like it."""
    stay = [
        f"{RESULTS}: mx.home.example.org; spf=pass",
        f"{RESULTS}: notmx.home.example; spf=pass",
        f"{RESULTS}: sub.mx.home.example; spf=pass",
        f"{RESULTS}: home.example; spf=pass",
        f"{RESULTS}: mx.microsoft.com 1; spf=pass",
        f"{RESULTS}: other.example; spf=pass (not mx.home.example)",
        f"{RESULTS}: i=1; mx.elsewhere.example; none",
    ]
    others = ["X-Authentication-Results: mx.home.example; spf=pass", "Received-SPF: pass (mx.home.example)"]
    passage = stranger(gate, stay + others)
    assert passage.all(RESULTS)[1:] == values(stay)
    assert passage.all("X-Authentication-Results") + passage.all("Received-SPF") == values(others)


@pytest.mark.parametrize("way", WAYS)
def test_bimi_fields_go(gate: Gate, way: str) -> None:
    fields = ["BIMI-Location: v=BIMI1; l=https://a.example/", "BIMI-Indicator: PHN2", kept(1), FORGED]
    fields += ["bimi-location : x", "BIMI-Logo-Preference: brand", "BIMI-Selector: v=BIMI1; s=x", "Bimi-Indicator: y"]
    passage = WAYS[way](gate, fields)
    names = [name.lower() for name, _ in passage.fields if name.lower().startswith("bimi")]
    assert names == ["bimi-selector"]
    assert passage.all(RESULTS)[-1:] == values([kept(1)])
    rcpt = gate.postfix.new_rcpt()
    gate.postfix.sendmail(
        mail(BANK.address, extra="BIMI-Location: x\n").replace(b"\r\n", b"\n"), mail_from=BANK.address, rcpts=[rcpt]
    )
    assert gate.postfix.wait_delivered(rcpt)[0].all("BIMI-Location") == []


def test_forged_in_held_mail_too(gate: Gate) -> None:
    message = mail("someone@bank.example", extra=f"{kept(1)}\n{FORGED}\n")
    gate.milter.log.mark()
    passage = pass_through(gate, message, mail_from=MALLORY.address, **MALLORY.client())
    assert passage.fate == "refused"
    shop = mail("someone@shop.example", extra=f"{FORGED}\n{kept(1)}\n{FORGED}\n")
    held = pass_through(gate, shop, mail_from=MALLORY.address, **MALLORY.client())
    assert held.fate == "held"
    assert held.all(RESULTS) == [held.top, *values([kept(1)])]


def test_below_the_header_nothing_is_touched(gate: Gate) -> None:
    inner = f"{FORGED}\nFrom: a@b.example\n\nmime part\n"
    head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n"
    body = f"--x\nContent-Type: message/rfc822\n\n{inner}--x--\n"
    message = mail(MALLORY.address, extra=f"{head}{FORGED}\n", body=body)
    passage = pass_through(gate, message, mail_from=MALLORY.address, **MALLORY.client())
    assert passage.content.endswith(body.encode())
    assert passage.all(RESULTS) == [passage.top]
