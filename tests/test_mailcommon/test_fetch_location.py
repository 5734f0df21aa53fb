"""Which URLs name a document that may be fetched, and where redirects lead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailcommon.fetch.location import Location, follow, parse
from mailcommon.names import is_hostname


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("https://a.example/logo.svg", "a.example", "/logo.svg"),
        ("HTTPS://A.Example/Logo.SVG", "a.example", "/Logo.SVG"),
        ("https://a.example", "a.example", "/"),
        ("https://a.example:443/x", "a.example", "/x"),
        ("https://a.example:8443/x", "a.example", "/x"),
        ("https://a.example?q=1", "a.example", "/?q=1"),
        ("https://a.example/x?q=%20&r=https://b.example/#part", "a.example", "/x?q=%20&r=https://b.example/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
    ],
)
def test_urls(url: str, host: str, target: str) -> None:
    assert parse(url, 8443) == Location(host, target)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "URL"),
        ("/logo.svg", "https"),
        ("http://a.example/logo.svg", "https"),
        ("file:///etc/passwd", "https"),
        ("ftp://a.example/", "https"),
        ("https:///x", "host name"),
        ("https://127.0.0.1/", "host name"),
        ("https://2130706433/", "host name"),
        ("https://[::1]/", "host name"),
        ("https://[::1/", "URL"),
        ("https://localhost:25/", "port 25"),
        ("https://a.example:99999/", "URL"),
        ("https://a.example:x/", "URL"),
        ("https://user:word@a.example/", "user name"),
        ("https://a.example@b.example/", "user name"),
        ("https://a_b.example/", "host name"),
        ("https://a.example/\r\nHost: b.example", "URL"),
        ("https://a.example/a b", "URL"),
        ("https://bücher.example/", "URL"),
        ("https://a.example/" + "x" * 2048, "URL"),
    ],
)
def test_urls_that_are_refused(url: str, word: str) -> None:
    refused = parse(url, 8443)
    assert isinstance(refused, str)
    assert word in refused


@given(st.text(max_size=80) | st.text(max_size=60).map("https://".__add__))
def test_any_text_gives_a_host_name_or_a_reason(text: str) -> None:
    location = parse(text)
    if isinstance(location, Location):
        assert is_hostname(location.host)
        assert location.target.startswith("/")
        assert all("!" <= letter <= "~" for letter in location.target)
    else:
        assert location


@pytest.mark.parametrize(
    ("reference", "host", "target"),
    [
        ("/b", "a.example", "/b"),
        ("b?x", "a.example", "/dir/b?x"),
        ("//b.example/c", "b.example", "/c"),
        ("https://b.example/c", "b.example", "/c"),
    ],
)
def test_redirects(reference: str, host: str, target: str) -> None:
    assert follow(Location("a.example", "/dir/a"), reference) == Location(host, target)


@pytest.mark.parametrize("reference", ["", "http://b.example/", "//127.0.0.1/", "/a b", "//[", "javascript:1"])
def test_redirects_that_lead_nowhere(reference: str) -> None:
    assert isinstance(follow(Location("a.example", "/"), reference), str)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://a.example/list.crl", Location("a.example", "/list.crl", 80)),
        ("http://a.example:80/", Location("a.example", "/", 80)),
        ("http://a.example:8443/", Location("a.example", "/", 8443)),
        ("https://a.example/", Location("a.example", "/")),
        ("http://a.example:25/", "names the port 25"),
        ("http://127.0.0.1/", "has no host name"),
        ("ldap://a.example/", "is not an https URL"),
    ],
)
def test_plain_http_where_it_will_do(url: str, found: Location | str) -> None:
    assert parse(url, 8443, plain=True) == found
    if isinstance(found, Location):
        assert str(found).startswith("http://" if found.plain_port else "https://")


def test_no_redirect_leads_from_https_to_http() -> None:
    assert follow(Location("a.example", "/"), "http://b.example/") == "is not an https URL"
    assert follow(Location("a.example", "/", 80), "http://b.example/") == Location("b.example", "/", 80)
    assert follow(Location("a.example", "/", 80), "https://b.example/") == Location("b.example", "/")
