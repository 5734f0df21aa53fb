"""The test suite for RFC 7208 that the SPF community keeps, through the same way as a message takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from authmilter.check_message import authenticate
from authmilter.facts import Client, SpfFact
from authmilter.settings import Settings
from mailcommon.dns.answer import Answer, Mx, Status
from tests.support.sdist import sdist_file

MESSAGE = b"From: a@b.example\r\n\r\n"
# Explanations of which the suite's own text allows another outcome than ours
SETTINGS = Settings(authserv_id="receiver.example", trust={"networks": []})  # type: ignore[arg-type]  # pydantic reads it


class SuiteResolver:
    """The suite's zone data: per name a list of {TYPE: value}, "TIMEOUT" for the name or as a value."""

    def __init__(self, zone: dict[str, list[Any]]) -> None:
        self._zone = {name.lower().rstrip("."): entries for name, entries in zone.items()}

    def start(self, rdtype: str, name: str) -> None:
        pass

    def query(self, rdtype: str, name: str, hops: int = 0) -> Answer[Any]:
        entries = self._zone.get(name.lower().rstrip("."))
        if entries is None or hops > 10:
            return Answer(Status.NXDOMAIN)
        found: list[Any] = []
        timeout = False
        for kind, value in self._pairs(entries):
            if kind == "CNAME" and rdtype != "CNAME":
                return self.query(rdtype, value, hops + 1)
            if kind == rdtype and value == "TIMEOUT":
                return Answer(Status.TIMEOUT)
            if kind == rdtype:
                found.append(self._record(rdtype, value))
            timeout |= kind == "TIMEOUT"
        if found:
            return Answer(Status.OK, tuple(found))
        return Answer(Status.TIMEOUT if timeout else Status.NODATA)

    @staticmethod
    def _pairs(entries: list[Any]) -> Iterator[tuple[str, Any]]:
        # the suite gives many records under the withdrawn type SPF: they stand for TXT unless TXT is there too
        has_txt = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        for entry in entries:
            if entry == "TIMEOUT":
                yield "TIMEOUT", None
                continue
            for kind, value in entry.items():
                if value == "NONE":
                    continue
                if kind == "SPF" and has_txt:
                    continue
                yield ("TXT" if kind == "SPF" else kind), value

    @staticmethod
    def _record(rdtype: str, value: Any) -> Any:
        if rdtype == "TXT":
            strings = [value] if isinstance(value, str) else value
            return b"".join(text.encode() for text in strings)
        if rdtype == "MX":
            return Mx(value[0], value[1].rstrip(".").lower())
        return value

    def txt(self, name: str) -> Answer[bytes]:
        return self.query("TXT", name)

    def a(self, name: str) -> Answer[str]:
        return self.query("A", name)

    def aaaa(self, name: str) -> Answer[str]:
        return self.query("AAAA", name)

    def mx(self, name: str) -> Answer[Mx]:
        return self.query("MX", name)

    def ptr(self, name: str) -> Answer[str]:
        return self.query("PTR", name)

    def tlsa(self, name: str) -> Answer[Any]:
        return self.query("TLSA", name)


@dataclass(frozen=True)
class Case:
    name: str
    zone: dict[str, list[Any]]
    test: dict[str, Any]


def load() -> list[Case]:
    text = sdist_file("pyspf", "test/rfc7208-tests.yml")
    return [
        Case(f"{scenario['description']}: {name}", scenario["zonedata"], test)
        for scenario in yaml.safe_load_all(text)
        for name, test in scenario["tests"].items()
    ]


def evaluate(case: Case) -> SpfFact:
    client = Client(case.test["host"], helo=str(case.test["helo"]))
    mail_from = str(case.test["mailfrom"])
    facts = authenticate(SETTINGS, client, mail_from, MESSAGE, SuiteResolver(case.zone), 0).facts
    return next(fact for fact in facts.spf if fact.scope == "mfrom")


def test_every_case_of_the_suite() -> None:
    cases = load()
    assert len(cases) == 203
    wrong = []
    for case in cases:
        fact = evaluate(case)
        allowed = case.test["result"]
        if fact.result not in (allowed if isinstance(allowed, list) else [allowed]):
            wrong.append(f"{case.name}: {fact.result} ({fact.reason}), not {allowed}")
        explanation = case.test.get("explanation")
        # the suite writes DEFAULT where the domain gives none that counts
        if explanation is not None and (fact.explanation or "DEFAULT") != explanation:
            wrong.append(f"{case.name}: explanation {fact.explanation!r}, not {explanation!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["Initial processing: toolonglabel"])
def test_the_suite_is_read_as_meant(name: str) -> None:
    """A result that the suite does not allow is noticed."""
    case = next(case for case in load() if case.name == name)
    assert evaluate(case).result == case.test["result"] == "none"
