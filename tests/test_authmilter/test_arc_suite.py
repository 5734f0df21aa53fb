"""The ARC test suite of ValiMail: every case that it has for validators and for sealers.

It is no part of this project: the folder with its two files is named by GATEPOST_ARC_SUITE, and without that these
tests are skipped. What the suite covers is also in test_arc_check.py, test_arc_form.py and test_arc_sealer.py.
"""

from __future__ import annotations

import base64
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from authmilter.arc.check import ArcCheck
from authmilter.arc.seal_hash import seal_digest
from authmilter.arc.settings import ArcSettings
from authmilter.check_message import split_message
from authmilter.dkim import taglist
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header, relaxed_field
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import ArcFact, HeaderField
from authmilter.sign.key import PrivateKey
from tests.support.dkim_signer import split_message as split_lines
from tests.support.dkim_zone import TxtTable

if "GATEPOST_ARC_SUITE" not in os.environ:
    pytest.skip(
        "GATEPOST_ARC_SUITE does not name the folder with ValiMail's arc-draft-validation-tests.yml and"
        " arc-draft-sign-tests.yml",
        allow_module_level=True,
    )
SUITE = Path(os.environ["GATEPOST_ARC_SUITE"])

# case -> (our result, our reason, why the suite's word is not taken)
DIFFERENCES = {
    "ams_fields_c_na": (
        "fail",
        "ARC-Message-Signature 1: the signature does not fit the header",
        "without c= it is simple/simple (RFC 6376 §3.5, to which RFC 8617 §4.1.2 adds nothing); signed as relaxed",
    ),
    "ams_fields_h_empty": (
        "fail",
        "ARC-Message-Signature 1: From is not signed",
        "RFC 6376 §3.5: h= must include From and may not be empty; it would vouch for nothing",
    ),
    "ams_fields_h_mis_hdr": (
        "fail",
        "ARC-Message-Signature 1: h= cannot be read",
        "RFC 6376 §3.5: the names in h= have one character or more",
    ),
}


def load(name: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, case, scenario) of each case of one file."""
    text = (SUITE / f"arc-draft-{name}-tests.yml").read_text()
    scenarios = [found for found in yaml.safe_load_all(text) if found]
    return [(case, found["tests"][case], found) for found in scenarios for case in found["tests"]]


VALIDATION = load("validation")


def validate(message: bytes, records: dict[str, str]) -> ArcFact:
    fields, body = split_message(message)
    bodies = Bodies()
    check = ArcCheck(
        Header([HeaderField(*field) for field in fields]), bodies, ArcSettings(), DkimSettings(), time.time()
    )
    bodies.update(body)
    return check.finish(TxtTable(records))


def test_the_suite_is_whole() -> None:
    assert len(VALIDATION) == 171
    assert len({name for name, *_ in VALIDATION}) == 171
    assert set(DIFFERENCES) <= {name for name, *_ in VALIDATION}


@pytest.mark.parametrize(("name", "case", "scenario"), VALIDATION, ids=[name for name, *_ in VALIDATION])
def test_validation(name: str, case: dict[str, Any], scenario: dict[str, Any]) -> None:
    fact = validate(case["message"].encode(), scenario["txt-records"])
    # the suite gives no word where the newest seal says cv=fail: RFC 8617 §5.2 step 2 says fail
    expected = (case["cv"] or "Fail").lower()
    if name in DIFFERENCES:
        result, reason, _ = DIFFERENCES[name]
        assert (fact.result, fact.reason) == (result, reason)
        assert result != expected
    else:
        assert fact.result == expected, fact.reason
    if fact.result == "pass":
        assert [one.instance for one in fact.sets] == list(range(1, len(fact.sets) + 1))


# The cases for sealers. Their fields cannot come out of ours: the suite fixes order, folds and the list of signed
# fields. What is compared is what is signed: our hashes over their fields, with their key, give their b=.

SIGNING = load("sign")
_B = re.compile(r"\bb=[^;]*")


def _unfolded(match: re.Match[str]) -> str:
    return re.sub(r"\s", "", match[0])


def fields_of(case: dict[str, Any]) -> dict[str, HeaderField]:
    """The set that the suite expects, as fields; there is no white space in b= of what it signs."""
    names = {"AS": b"ARC-Seal", "AMS": b"ARC-Message-Signature", "AAR": b"ARC-Authentication-Results"}
    return {
        short: HeaderField(name, b" " + _B.sub(_unfolded, case[short].strip()).replace("\n", "\r\n ").encode())
        for short, name in names.items()
    }


def octets_of(field: HeaderField) -> bytes:
    found = re.search(rb"\bb=([^;]*)", field.value)
    assert found
    return base64.b64decode(re.sub(rb"\s", b"", found[1]))


@pytest.mark.parametrize(("name", "case", "scenario"), SIGNING, ids=[name for name, *_ in SIGNING])
def test_signing(name: str, case: dict[str, Any], scenario: dict[str, Any]) -> None:
    private = load_pem_private_key(scenario["privatekey"].encode(), None)
    assert isinstance(private, RSAPrivateKey)
    key = PrivateKey("rsa", private.key_size, private)
    records = {domain: text.replace("\n", "") for domain, text in scenario["txt-records"].items()}
    message = case["message"].replace("\n", "\r\n").encode()
    fields, body = split_lines(message)
    bodies = Bodies()
    header = Header(fields)
    check = ArcCheck(header, bodies, ArcSettings(), DkimSettings(), 1e9)
    bodies.want(True, None)
    bodies.update(body)
    fact = check.finish(TxtTable(records))
    if not case["AS"]:
        assert name == "no_additional_sig"
        assert check.chain.ended  # ours says: "the chain was broken before"
        return
    own = fields_of(case)
    tags = taglist.parse(own["AS"].value)
    assert tags
    assert int(tags[b"i"]) == check.chain.highest + 1
    status = tags[b"cv"].decode()
    assert fact.result == status, fact.reason
    names = [part.encode() for part in case["sig-headers"].split(":")]
    assert key.sign(header.digest_of(names, True, own["AMS"])) == octets_of(own["AMS"])
    body_hash = re.search(rb"\bbh=([^;]*)", own["AMS"].value)
    assert body_hash
    assert base64.b64decode(body_hash[1]) == bodies.digest(True, None)[0]
    before = [] if status == "fail" else check.signed_fields()
    before += [relaxed_field(*own["AAR"]), relaxed_field(*own["AMS"])]
    assert key.sign(seal_digest(before, own["AS"])) == octets_of(own["AS"])
