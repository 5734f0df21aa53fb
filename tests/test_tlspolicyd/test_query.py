"""Keys as Postfix sends them, and those that nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailcommon.names import is_hostname
from tlspolicyd.query import read_query


@pytest.mark.parametrize(
    ("key", "domain", "port"),
    [
        ("example.com", "example.com", 25),
        ("EXAMPLE.Com", "example.com", 25),
        ("example.com.", "example.com", 25),
        ("example.com:25", "example.com", 25),
        ("example.com.:587", "example.com", 587),
        ("example.com:smtp", "example.com", 25),
        ("example.com:Submission", "example.com", 587),
        ("example.com:no-such-service", "example.com", 25),
        ("bücher.example", "xn--bcher-kva.example", 25),
        ("BÜCHER。example", "xn--bcher-kva.example", 25),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 25),
        ("ai", "ai", 25),
        ("1.2.3.example", "1.2.3.example", 25),
        ("a" * 63 + ".example", "a" * 63 + ".example", 25),
    ],
)
def test_domains(key: str, domain: str, port: int) -> None:
    query = read_query("policy", key)
    assert (query.domain, query.port) == (domain, port)


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        ".example.com",  # PFX-33: Postfix asks for the parents too; RFC 8461 §3.4: nothing is inherited
        ".com",
        "[mx.example.com]",
        "[mx.example.com]:25",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "[2001:db8::1]:25",
        "192.0.2.1",
        "192.0.2.1:25",
        "2001:db8::1",
        "example.com..",
        "a..example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:²5",
        "example.com:25:25",
        "example.com:a service",
        "example.com:" + "x" * 16,
        "user@example.com",
        "example.com example.org",
        "example.com\n",
        "example.com\0",
        "_mta-sts.example.com",
        "-a.example",
        "exa\\xffmple.com",
        "a" * 64 + ".example",
        "a." * 127 + "example",
        "x" * 99_000,
        "*.example.com",
    ],
)
def test_keys_without_a_policy(key: str) -> None:
    assert read_query("policy", key).domain is None


def test_maps() -> None:
    assert read_query("policy", "a.example").known_map
    assert not read_query("policy", "a.example").tlsrpt
    assert read_query("policy-tlsrpt", "a.example").known_map
    assert read_query("policy-tlsrpt", "a.example").tlsrpt
    for name in ("", "Policy", "policy ", "postfix", "policy-tlsrpt2"):
        assert not read_query(name, "a.example").known_map


@given(st.text())
def test_any_text(key: str) -> None:
    domain = read_query("policy", key).domain
    assert domain is None or (is_hostname(domain) and domain == domain.lower())
