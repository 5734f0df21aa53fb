"""The examples of the standards: RFC 8463 appendix A, RFC 6376 §3.4.5 and appendix A."""

from __future__ import annotations

from pathlib import Path

import pytest

from authmilter.dkim.body_hash import BodyHash
from authmilter.dkim.check import DkimCheck
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimResult, HeaderField
from tests.support.dkim_signer import split_message
from tests.support.dkim_zone import TxtTable

DATA = Path(__file__).parent / "data"
NOW = 1_528_637_909.0  # t= of RFC 8463 appendix A.3

# RFC 8463 appendix A.2
RFC_8463_KEYS = {
    "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": "v=DKIM1; k=rsa; "
    "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/"
    "byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l"
    "/K4w3QIDAQAB",
}


def message(name: str) -> tuple[list[HeaderField], bytes]:
    return split_message((DATA / name).read_bytes().replace(b"\n", b"\r\n"))


def test_rfc_8463_appendix_a() -> None:
    fields, body = message("dkim_rfc8463.eml")
    check = DkimCheck(fields, DkimSettings(), NOW)
    assert set(check.key_names) == set(RFC_8463_KEYS)
    check.body(body)
    ed25519, rsa = check.finish(TxtTable(RFC_8463_KEYS))
    assert (ed25519.result, ed25519.algorithm, ed25519.selector) == (DkimResult.PASS, "ed25519-sha256", "brisbane")
    assert (rsa.result, rsa.algorithm, rsa.selector, rsa.key_bits) == (DkimResult.PASS, "rsa-sha256", "test", 1024)
    assert ed25519.domain == rsa.domain == "football.example.com"
    assert ed25519.identity == rsa.identity == "@football.example.com"


@pytest.mark.parametrize("extra", [b"From: another@football.example.com", b"Subject: other"])
def test_rfc_8463_signatures_list_from_and_subject_twice(extra: bytes) -> None:
    fields, body = message("dkim_rfc8463.eml")
    check = DkimCheck([*fields, HeaderField(*extra.split(b":", 1))], DkimSettings(), NOW)
    check.body(body)
    assert [fact.result for fact in check.finish(TxtTable(RFC_8463_KEYS))] == [DkimResult.FAIL] * 2


def test_rfc_6376_canonical_forms() -> None:
    # RFC 6376 §3.4.5, examples 1 to 3
    text = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"
    fields, body = split_message(b"DKIM-Signature: b=\r\n" + text)
    header = Header(fields)
    assert [header.canonical(place, relaxed=True) for place in header.select([b"a", b"b"], 0)] == [b"a:X", b"b:Y Z"]
    assert header.canonical(1, relaxed=False) + b"\r\n" == text[:6]
    assert header.canonical(2, relaxed=False) + b"\r\n" == text[6:20]
    for relaxed, canonical in ((True, b" C\r\nD E\r\n"), (False, b" C \r\nD \t E\r\n")):
        hashed, plain = BodyHash(relaxed, {None}), BodyHash(False, {None})
        hashed.update(body)
        plain.update(canonical)
        assert hashed.close() == plain.close() == len(canonical)
        assert hashed.digest(None) == plain.digest(None)


# RFC 6376 appendix C
RFC_6376_KEY = (
    "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ"
    "KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt"
    "IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v"
    "/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi"
    "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
)


def test_rfc_6376_appendix_a() -> None:
    fields, body = message("dkim_rfc6376_a2.eml")
    check = DkimCheck(fields, DkimSettings(), NOW)
    assert check.key_names == ("brisbane._domainkey.example.com",)
    check.body(body)
    (fact,) = check.finish(TxtTable({"brisbane._domainkey.example.com": RFC_6376_KEY}))
    assert (fact.result, fact.identity, fact.key_bits) == (DkimResult.PASS, "joe@football.example.com", 1024)
    assert fact.signed == ("received", "from", "to", "subject", "date", "message-id")
