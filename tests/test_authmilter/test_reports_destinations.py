"""Where reports may go (RFC 9990 §4), over zone text."""

from __future__ import annotations

import pytest

from authmilter.dmarc.uris import parse_uris
from authmilter.reports.destinations import start, verify
from tests.support.zone_resolver import ZoneResolver

ZONE = """
_dmarc.blue.example 60 IN TXT "v=DMARC1; p=none"
_dmarc.sub.blue.example 60 IN TXT "v=DMARC1; p=none"
_dmarc.red.example 60 IN TXT "v=DMARC1; p=none"
blue.example._report._dmarc.red.example 60 IN TXT "v=DMARC1"
blue.example._report._dmarc.mail.red.example 60 IN TXT "v=DMARC1;"
blue.example._report._dmarc.wordy.example 60 IN TXT "v=spf1 -all"
blue.example._report._dmarc.wordy.example 60 IN TXT "v=DMARC1; x=y"
blue.example._report._dmarc.wordy.example 60 IN TXT "v=DMARC1; p=none"
blue.example._report._dmarc.spf.example 60 IN TXT "v=spf1 -all"
blue.example._report._dmarc.other.example 60 IN TXT "v=DMARC1; rua=mailto:new@other.example; ruf=mailto:f@other.example"
blue.example._report._dmarc.away.example 60 IN TXT "v=DMARC1; rua=mailto:new@victim.example"
blue.example._report._dmarc.down.example TXT servfail
_dmarc.lost.example TXT timeout
"""


@pytest.mark.parametrize(
    ("uri", "sent_to"),
    [
        ("mailto:a@blue.example", "mailto:a@blue.example"),
        ("mailto:a@deep.down.blue.example", "mailto:a@deep.down.blue.example"),  # the same organization
        ("mailto:a@red.example", "mailto:a@red.example"),
        ("mailto:a@mail.red.example", "mailto:a@mail.red.example"),  # a trailing ";" is optional
        ("mailto:a@wordy.example", "mailto:a@wordy.example"),  # one of several is enough
        ("mailto:a@other.example", "mailto:new@other.example"),  # replaced by the one who receives
    ],
)
def test_allowed(uri: str, sent_to: str) -> None:
    found = verify(ZoneResolver(ZONE), "blue.example", [uri], 10)
    assert found.uris == (sent_to,)
    assert found.refused == found.unknown == ()


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("mailto:a@green.example", "does not agree to it"),
        ("mailto:a@spf.example", "does not agree to it"),
        ("mailto:a@away.example", "sends reports on to another host"),
        ("mailto:a@localhost", "mail cannot be sent there"),
        ("mailto:" + "a" * 65 + "@blue.example", "mail cannot be sent there"),
        ("mailto:a@" + ".".join(["b" * 60] * 4), "too long"),
    ],
)
def test_not_allowed(uri: str, why: str) -> None:
    found = verify(ZoneResolver(ZONE), "blue.example", [uri], 10)
    assert found.uris == ()
    assert why in found.refused[0]


@pytest.mark.parametrize("uri", ["mailto:a@down.example", "mailto:a@lost.example"])
def test_dns_fails_for_the_moment(uri: str) -> None:
    found = verify(ZoneResolver(ZONE), "blue.example", [uri], 10)
    assert found.uris == found.refused == ()
    assert "could not be looked up" in found.unknown[0]


def test_the_record_that_was_found_counts() -> None:
    """RFC 9990 §4 step 3: not the Author Domain, and not the organization."""
    assert verify(ZoneResolver(ZONE), "sub.blue.example", ["mailto:a@red.example"], 10).uris == ()


def test_failure_reports_go_by_ruf() -> None:
    found = verify(ZoneResolver(ZONE), "blue.example", ["mailto:a@other.example"], 10, "ruf")
    assert found.uris == ("mailto:f@other.example",)


def test_a_wildcard_is_for_everybody() -> None:
    class Wild(ZoneResolver):
        def txt(self, name: str):  # type: ignore[no-untyped-def]
            return super().txt("any.wild.example" if name.endswith("._report._dmarc.wild.example") else name)

    assert verify(Wild('any.wild.example 60 IN TXT "v=DMARC1"'), "blue.example", ["mailto:a@wild.example"], 10).uris


def test_no_more_than_the_limit_and_each_once() -> None:
    uris = [f"mailto:a{number % 4}@blue.example" for number in range(20)]
    found = verify(ZoneResolver(ZONE), "blue.example", uris, 3)
    assert found.uris == tuple(f"mailto:a{number}@blue.example" for number in range(3))


HOSTILE = {
    "500 URIs": ",".join(f"mailto:a{number}@blue.example" for number in range(500)),
    "10 MB": "mailto:" + "a" * 10_000_000 + "@blue.example",
    "10 MB of commas": "," * 10_000_000,
    "header injection": "mailto:a%0d%0aBcc:%20x@blue.example,mailto:a%0aX:y@blue.example",
    "parameters": "mailto:a@blue.example?subject=x&cc=victim@victim.example&body=%0d%0a.%0d%0a",
    "IDN": "mailto:a@b%C3%BCcher.blue.example",
    "schemes": "https://blue.example/x,ftp://blue.example,javascript:alert(1),file:///etc/passwd,tel:1",
    "addresses": "mailto:a@[192.0.2.1],mailto:a@192.0.2.1,mailto:root@localhost,mailto:%22a%20b%22@blue.example",
    "quoting": "mailto:%3Ca%3E@blue.example,mailto:a%00@blue.example,mailto:a,b@blue.example",
    "sizes": "mailto:a@blue.example!10m,mailto:b@blue.example!0",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_rua(case: str) -> None:
    uris = parse_uris(HOSTILE[case]).usable
    resolver = ZoneResolver(ZONE)
    start(resolver, "blue.example", uris, 10)
    found = verify(resolver, "blue.example", uris, 10)
    assert len(found.uris) <= 10
    assert len(resolver.queries) + len(resolver.started) < 1000
    for uri in found.uris:
        address = uri.removeprefix("mailto:")
        assert address.isascii()
        assert address.isprintable()
        assert not set(address) & set(' <>"?,;:\\')
        assert address.endswith("blue.example")
    wanted = {"parameters": 1, "IDN": 1, "schemes": 0, "addresses": 0, "sizes": 2, "header injection": 0}
    assert case not in wanted or len(found.uris) == wanted[case]
