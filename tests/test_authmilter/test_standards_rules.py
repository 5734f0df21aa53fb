"""Rules of the standards that several parts have to keep together, from the message to the header field."""

from __future__ import annotations

import re

import pytest

from authmilter.headers.claims import claims
from tests.support.inbound import AUTHSERV_ID, run_message, words
from tests.support.zone_resolver import ZoneResolver

SPF = "".join(
    f'{name} 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"\n'
    for name in ("co.uk", "a.co.uk", "b.co.uk", "xn--bcher-kva.example")
)


def field_of(zone: str, message: bytes, mail_from: str) -> tuple[dict[str, str], str]:
    outcome = run_message(message, ZoneResolver(SPF + zone), mail_from=mail_from)
    return words(outcome), dict(outcome.actions.headers_add)["Authentication-Results"].replace("\n\t", " ")


@pytest.mark.parametrize(
    ("zone", "author", "mail_from", "dmarc"),
    [
        # DMARC-45: co.uk stands on the Public Suffix List; the walk alone decides
        ('_dmarc.co.uk 9 IN TXT "v=DMARC1; p=reject"', "u@a.co.uk", "u@b.co.uk", "pass"),
        ('_dmarc.co.uk 9 IN TXT "v=DMARC1; p=reject"', "u@a.co.uk", "u@co.uk", "pass"),
        ('_dmarc.co.uk 9 IN TXT "v=DMARC1; p=reject; psd=y"', "u@a.co.uk", "u@b.co.uk", "fail"),
        ('_dmarc.uk 9 IN TXT "v=DMARC1; p=reject; psd=u"', "u@a.co.uk", "u@b.co.uk", "pass"),
        ("", "u@a.co.uk", "u@b.co.uk", "none"),
    ],
)
def test_the_tree_walk_knows_no_list_of_suffixes(zone: str, author: str, mail_from: str, dmarc: str) -> None:
    found, _ = field_of(zone, f"From: {author}\r\n\r\n".encode(), mail_from)
    assert found["dmarc"] == dmarc


@pytest.mark.parametrize(
    ("record", "author", "policy"),
    [
        # DMARC-54: after sp, np and t; p, sp and the rest stand in a comment only
        ("v=DMARC1; p=reject", "u@a.example", "reject"),
        ("v=DMARC1; p=reject; t=y", "u@a.example", "quarantine"),
        ("v=DMARC1; p=quarantine; t=y", "u@a.example", "none"),
        ("v=DMARC1; p=none; sp=reject", "u@sub.a.example", "reject"),
        ("v=DMARC1; p=reject; sp=quarantine; t=y", "u@sub.a.example", "none"),
        ("v=DMARC1; p=none; np=reject", "u@nowhere.a.example", "reject"),
        ("v=DMARC1; p=reject; sp=none; np=quarantine", "u@nowhere.a.example", "quarantine"),
        ("v=DMARC1; pct=0; p=reject", "u@a.example", "reject"),  # DMARC-12
    ],
)
def test_the_policy_in_the_field_is_the_one_that_applies(record: str, author: str, policy: str) -> None:
    zone = f'_dmarc.a.example 9 IN TXT "{record}"\nsub.a.example 9 IN A 10.0.0.1\n'
    _, value = field_of(zone, f"From: {author}\r\n\r\n".encode(), "u@b.example")
    assert f"policy.dmarc={policy}" in value
    outside = re.sub(r"\([^()]*\)", "", value)
    properties = set(re.findall(r"(?<= )(\w+\.[\w-]+)=", outside[outside.index("dmarc=") :]))
    assert properties == {"header.from", "policy.dmarc"}


@pytest.mark.parametrize(
    "sender",
    ["u@bücher.example", "u@BÜCHER.example", "u@xn--bcher-kva.example", "u@XN--BCHER-KVA.EXAMPLE", "u@bücher.example."],
)
def test_an_author_in_letters_of_its_script(sender: str) -> None:
    """DMARC-6: one Author Domain however it is written, in A-labels everywhere."""
    zone = '_dmarc.xn--bcher-kva.example 9 IN TXT "v=DMARC1; p=reject; aspf=s"'
    found, value = field_of(zone, f"From: {sender}\r\n\r\n".encode(), "u@bücher.example")
    assert found["dmarc"] == "pass"
    assert "header.from=xn--bcher-kva.example" in value


@pytest.mark.parametrize(
    ("header", "zone"),
    [
        ("From: u@a.example\r\n", ""),
        ("From: u@a.example\r\n", "a.example TXT servfail\n_dmarc.a.example TXT timeout"),
        ("From: u@a.example\r\nFrom: v@b.example\r\n", ""),
        ("", ""),
        ("From: " + ", ".join(f"u@d{n}.example" for n in range(40)) + "\r\n", ""),
        ('From: "a;b" <u@a.example>\r\nDKIM-Signature: v=1; d=a(b; s=";\r\n', ""),
        ("DKIM-Signature: a\r\n" * 12 + "From: u@a.example\r\n", ""),
    ],
)
def test_the_field_is_well_formed(header: str, zone: str) -> None:
    """AR-2, AR-3, AR-7: our id first, no semicolon at the end, and we would know it for ours."""
    _, value = field_of(zone, f"{header}\r\n".encode(), 'u;x="(@a.example')
    assert value.startswith(f"{AUTHSERV_ID}; ")
    assert not value.rstrip().endswith(";")
    assert claims(f" {value}".encode(), [AUTHSERV_ID])
    assert value.isprintable()
    assert value.isascii()
    # without comments and quoted strings every entry is a method and its result
    plain = re.sub(r'"(?:[^"\\]|\\.)*"|\([^()]*\)', "", value)
    assert all(re.match(r" *(?:iprev|spf|dkim|arc|dmarc)=[a-z]+ *", entry) for entry in plain.split(";")[1:]), plain
