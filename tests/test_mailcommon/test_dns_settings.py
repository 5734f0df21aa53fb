"""Name servers as an administrator writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings, Nameserver, nameservers_of, parse_nameserver


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", Nameserver("192.0.2.1", 53)),
        ("192.0.2.1:5353", Nameserver("192.0.2.1", 5353)),
        ("2001:DB8::1", Nameserver("2001:db8::1", 53)),
        ("[2001:db8::1]", Nameserver("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", Nameserver("2001:db8::1", 5353)),
    ],
)
def test_good(text: str, expected: Nameserver) -> None:
    assert parse_nameserver(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.example",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:٣",
        "192.0.2.1:-1",
        "192.0.2.256",
        "[2001:db8::1",
        "[2001:db8::1]5353",
        "[2001:db8::1]:",
        "[]:53",
        "2001:db8::1:99999",
    ],
)
def test_bad(text: str) -> None:
    with pytest.raises(ValueError, match="is not a name server") as caught:
        parse_nameserver(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="is not a name server"):
        DnsResolver(DnsSettings((text,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ["192.0.2.1", "2001:db8::1"]),
        ("# nameserver 192.0.2.9\nsearch example.org\nnameserver\t192.0.2.1 # first\n", ["192.0.2.1"]),
        ("nameserver\nnameserver nonsense\n", ["127.0.0.1"]),
        ("", ["127.0.0.1"]),
        ("\udcff\n nameserver 192.0.2.1", ["192.0.2.1"]),
    ],
)
def test_resolv_conf(tmp_path: Path, text: str, expected: list[str]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert nameservers_of(DnsSettings(), file) == tuple(Nameserver(host, 53) for host in expected)


def test_without_resolv_conf(tmp_path: Path) -> None:
    assert nameservers_of(DnsSettings(), tmp_path / "absent") == (Nameserver("127.0.0.1", 53),)


def test_settings_come_before_resolv_conf(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    assert nameservers_of(DnsSettings(("192.0.2.2:54",)), file) == (Nameserver("192.0.2.2", 54),)


def test_servers_are_printed_as_they_are_written() -> None:
    for text in ("192.0.2.1:53", "[2001:db8::1]:53"):
        assert str(parse_nameserver(text)) == text
