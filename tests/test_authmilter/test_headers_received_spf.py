"""Received-SPF: RFC 7208 §9.1."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.facts import Client, SpfFact, SpfResult
from authmilter.headers.received_spf import render_received_spf

CLIENT = Client("192.0.2.25", "mail.example.net", "mail.example.net")


def test_pass() -> None:
    fact = SpfFact("mfrom", SpfResult.PASS, "example.net", "alice@example.net", "ip4:192.0.2.0/24")
    assert render_received_spf(fact, CLIENT, "mx.example.org") == (
        "pass\n"
        "\t(mx.example.org: example.net designates 192.0.2.25 as permitted sender)\n"
        "\tidentity=mailfrom; client-ip=192.0.2.25; helo=mail.example.net;\n"
        '\tenvelope-from="alice@example.net"; receiver=mx.example.org;\n'
        '\tmechanism="ip4:192.0.2.0/24"'
    )


def test_helo_names_no_envelope_sender() -> None:
    fact = SpfFact("helo", SpfResult.NONE, "mail.example.net", "mail.example.net", reason="no record")
    value = render_received_spf(fact, CLIENT, "mx.example.org")
    assert "identity=helo;" in value
    assert "envelope-from" not in value
    assert value.endswith('problem="no record"')


@pytest.mark.parametrize("result", list(SpfResult))
def test_every_result_has_its_words(result: SpfResult) -> None:
    value = render_received_spf(SpfFact("mfrom", result, "", ""), Client("2001:db8::1"), "mx.example.org")
    assert value.startswith((f"{result.value} (", f"{result.value}\n\t("))
    assert 'client-ip="2001:db8::1"' in value


def test_verp_sender_is_quoted() -> None:
    fact = SpfFact("mfrom", SpfResult.PASS, "example.net", "list+bob=example.com@example.net")
    assert 'envelope-from="list+bob=example.com@example.net"' in render_received_spf(fact, CLIENT, "mx.example.org")


_TEXT = st.text(st.one_of(st.sampled_from(list('()\\";=@\r\n\0 a.{}ü\udcff')), st.characters()), max_size=300)
_VALUE = r"""(?:[A-Za-z0-9!#$%&'*+/^_`{|}~.-]+|"(?:[^"\\]|\\.)*")"""
# RFC 7208 §9.1
_FIELD = re.compile(rf"[a-z]+ (?:\([^()\\]+\) )?[a-z-]+={_VALUE}(?:; [a-z-]+={_VALUE})*")


@given(st.sampled_from(SpfResult), st.sampled_from(["mfrom", "helo"]), _TEXT, _TEXT, _TEXT, _TEXT, _TEXT, st.booleans())
def test_hostile_text_stays_in_its_place(
    result: SpfResult, scope: str, domain: str, identity: str, mechanism: str, reason: str, helo: str, utf8: bool
) -> None:
    fact = SpfFact(scope, result, domain, identity, mechanism, reason)
    value = render_received_spf(fact, Client("192.0.2.25", helo=helo), "mx.example.org", utf8)
    lines = value.split("\n")
    assert all(len(line.encode()) <= 998 and line.isprintable() for line in (lines[0], *(x[1:] for x in lines[1:])))
    assert utf8 or value.isascii()
    assert _FIELD.fullmatch(value.replace("\n\t", " ").replace("\n", ""))
