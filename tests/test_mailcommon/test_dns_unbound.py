"""The same zone behind a real unbound and behind the tests' own server gives the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns
from tests.support.unbound import PrivateUnbound, missing
from tests.test_mailcommon.dns_asking import WAYS, Ask

pytestmark = [pytest.mark.unbound, pytest.mark.skipif(bool(missing()), reason=missing())]

ZONE = "\n".join(
    [
        'a.example. 300 IN TXT "v=spf1 " "-all"',
        "a.example. 300 IN A 192.0.2.1",
        "a.example. 300 IN MX 10 mx1.example.",
        "a.example. 300 IN MX 5 mx2.example.",
        "www.example. 300 IN CNAME www2.example.",
        "www2.example. 300 IN CNAME a.example.",
        "dangling.example. 300 IN CNAME nowhere.example.",
        "loop1.example. 300 IN CNAME loop2.example.",
        "loop2.example. 300 IN CNAME loop1.example.",
        "deep.empty.example. 300 IN A 192.0.2.2",
        *(f'big.example. 300 IN TXT "{number:03d} {"x" * 100}"' for number in range(300)),
    ]
)
QUESTIONS = [
    ("TXT", "a.example"),
    ("TXT", "A.EXAMPLE."),
    ("A", "a.example"),
    ("AAAA", "a.example"),
    ("MX", "a.example"),
    ("A", "www.example"),
    ("AAAA", "www.example"),
    ("A", "dangling.example"),
    ("A", "loop1.example"),
    ("A", "empty.example"),
    ("A", "nowhere.example"),
    ("A", "x.nowhere.example"),
    ("TXT", "big.example"),
]


@pytest.fixture(scope="module")
def unbound() -> Iterator[str]:
    with PrivateUnbound(ZONE) as server:
        yield server.address


@pytest.fixture(scope="module")
def fake() -> Iterator[str]:
    with FakeDns(ZONE) as server:
        yield server.address


def plain(answer: Answer[object]) -> tuple[Status, list[str], bool, bool]:
    return answer.status, sorted(map(repr, answer.records)), answer.alias, answer.secure


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize(("rdtype", "name"), QUESTIONS)
def test_same_answers(unbound: str, fake: str, ask: Ask, rdtype: str, name: str) -> None:
    real = ask(DnsSettings((unbound,)), rdtype, name)
    assert plain(real) == plain(ask(DnsSettings((fake,)), rdtype, name))
    assert not real.secure  # nothing here is signed
    if name == "big.example":
        assert len(real.records) == 300
