"""The ARC test suite of ValiMail: every message that it has for validators.

data/arc_suite holds it as published, compressed, with its licence.
"""

from __future__ import annotations

import lzma
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from authmilter.arc.check import ArcCheck
from authmilter.arc.settings import ArcSettings
from authmilter.check_message import split_message
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import ArcFact, HeaderField
from tests.support.dkim_zone import TxtTable

SUITE = Path(__file__).parent / "data" / "arc_suite"

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
    with lzma.open(SUITE / f"{name}.yml.xz") as file:
        scenarios = [found for found in yaml.safe_load_all(file) if found]
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
