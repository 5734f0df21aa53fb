"""A signature field as text: folded, and verified by our verifier and by the plain one of the tests."""

from __future__ import annotations

import base64
import re

import pytest

from authmilter.dkim import signature, taglist
from authmilter.dkim.header_hash import Header
from authmilter.facts import HeaderField
from authmilter.sign.field import as_received, signed_value
from authmilter.sign.key import PrivateKey
from tests.support.dkim_signer import canonical_field, make_key, raw_signature

RSA, ED = make_key(), make_key("ed25519")
KEYS = [PrivateKey("rsa", 2048, RSA), PrivateKey("ed25519", 256, ED)]
FIELDS = [HeaderField(b"From", b" a@example.org"), HeaderField(b"Subject", b" one\r\n two"), HeaderField(b"X", b"")]
LONG = "a." * 100 + "example"


def tags(domain: str = "example.org", names: str = "from:from:subject:x") -> list[tuple[str, str]]:
    return [("v", "1"), ("a", "rsa-sha256"), ("d", domain), ("s", "s1"), ("h", names), ("bh", "A" * 43 + "=")]


@pytest.mark.parametrize("key", KEYS, ids=["rsa", "ed25519"])
@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("names", ["from:from:subject:x", ":".join(["from", "subject", "x-a-longer-name"] * 30)])
def test_it_signs_what_stands_in_the_message(key: PrivateKey, relaxed: bool, names: str) -> None:
    header = Header(FIELDS)
    wanted = [name.encode() for name in names.split(":")]
    value = signed_value(
        b"DKIM-Signature", tags(names=names), key, lambda field: header.digest_of(wanted, relaxed, field)
    )
    field = as_received(b"DKIM-Signature", value)
    read = signature.parse(field.value)
    assert (read.defect, read.domain, read.signed) == (None, "example.org", tuple(wanted))
    again = Header([field, *FIELDS])
    assert again.digest(wanted, relaxed, 0) == header.digest_of(
        wanted, relaxed, HeaderField(field.name, taglist.without_value(field.value, b"b"))
    )
    chosen = [FIELDS[0]] + ([FIELDS[1], FIELDS[2]] if "x" in names.split(":") else [FIELDS[1]])
    data = b"".join(canonical_field(each, relaxed) + b"\r\n" for each in chosen)
    data += canonical_field(HeaderField(field.name, taglist.without_value(field.value, b"b")), relaxed)
    private = RSA if key.kind == "rsa" else ED
    assert read.signature == raw_signature(private, data)  # both algorithms give the same each time


@pytest.mark.parametrize("domain", ["example.org", LONG])
@pytest.mark.parametrize("names", ["from", ":".join(f"name-{number}" for number in range(50))])
def test_folds(domain: str, names: str) -> None:
    value = signed_value(b"DKIM-Signature", tags(domain, names), KEYS[0], lambda _: bytes(32))
    lines = f"DKIM-Signature: {value}".split("\n")
    assert all(len(line) <= 78 or LONG in line for line in lines)
    assert all(line.startswith("\t") and line.strip() for line in lines[1:])
    assert not re.search(r"[ \t](?=\n|\Z)", value)
    read = taglist.parse(as_received(b"DKIM-Signature", value).value)
    assert read is not None
    assert {name.decode(): taglist.unfold(text).decode() for name, text in read.items() if name != b"b"} == dict(
        tags(domain, names)
    )
    assert len(base64.b64decode(taglist.unfold(read[b"b"]))) == 256
