"""docs/prometheus/gatepost.rules.yml: each alert fires for what it is about, and keeps quiet otherwise (promtool)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import prometheus
from tests.support.requirements import require

RULES = Path(__file__).parents[2] / "docs/prometheus/gatepost.rules.yml"
IN, OUT = 'job="authmilter", instance="mx:1"', 'job="tlspolicyd", instance="mx:2"'


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, one value a minute; `quiet` replaces those of the same name."""

    alert: str
    minutes: int
    series: dict[str, str]
    quiet: dict[str, str]
    labels: dict[str, str] | None = None


def _in(name: str, **labels: str) -> str:
    return _series(name, IN, labels)


def _out(name: str, **labels: str) -> str:
    return _series(name, OUT, labels)


def _series(name: str, where: str, labels: dict[str, str]) -> str:
    words = ", ".join([where, *(f'{key}="{value}"' for key, value in labels.items())])
    return f"{name}{{{words}}}"


ACCEPTED = _in("authmilter_messages_total", decision="accept", rule="pass")
TEMPFAIL = _in("authmilter_messages_total", decision="tempfail", rule="temperror")
REJECTED = _in("authmilter_messages_total", decision="reject", rule="policy")
FAULTS = _in("authmilter_faults_total", message="deferred")
KILLED = _in("authmilter_worker_restarts_total", cause="SIGKILL")
REFUSED = _in("authmilter_reloads_total", outcome="refused")
NO_KEY = _in("authmilter_signing_total", outcome="no-key")
FAST = _in("authmilter_message_seconds_bucket", stage="total", le="3.0")
SLOW = _in("authmilter_message_seconds_bucket", stage="total", le="30.0")
ALL = _in("authmilter_message_seconds_bucket", stage="total", le="+Inf")

LOST = _out("tlspolicyd_tlsrpt_dropped_total")
MALFORMED = _out("tlspolicyd_tlsrpt_malformed_total", reason="json")
OVERDUE = _in("authmilter_report_overdue_seconds")
STORE = _in("authmilter_report_store_up")

CASES = [
    Case("AuthmilterDown", 5, {_in("up"): "0x10"}, {_in("up"): "1x10"}),
    Case("AuthmilterFaults", 10, {FAULTS: "0 0 0 1x20"}, {FAULTS: "5x30"}),
    Case("AuthmilterWorkersDie", 20, {KILLED: "0+1x30"}, {KILLED: "0 0 0 1x30"}),
    Case("AuthmilterSettingsRefused", 5, {REFUSED: "0 0 1x10"}, {REFUSED: "1x10"}, {"outcome": "refused"}),
    Case(
        "AuthmilterDnsFails",
        30,
        {
            _in("authmilter_dns_queries_total", outcome="ok"): "0+60x40",
            _in("authmilter_dns_queries_total", outcome="timeout"): "0+30x40",
        },
        {_in("authmilter_dns_queries_total", outcome="timeout"): "0+6x40"},
    ),
    Case("AuthmilterDefers", 45, {ACCEPTED: "0+60x60", TEMPFAIL: "0+20x60"}, {TEMPFAIL: "0+3x60"}),
    Case("AuthmilterRefusesMost", 100, {ACCEPTED: "0+10x120", REJECTED: "0+20x120"}, {REJECTED: "0+5x120"}),
    Case(
        "AuthmilterSlow",
        30,
        {FAST: "0+10x40", SLOW: "0+60x40", ALL: "0+60x40"},
        {FAST: "0+59x40", SLOW: "0+60x40"},
    ),
    Case("AuthmilterCannotSign", 5, {NO_KEY: "0 0 1x10"}, {NO_KEY: "1x10"}),
    Case("AuthmilterReportsOverdue", 90, {OVERDUE: "50000x100"}, {OVERDUE: "40000x100"}),
    Case("AuthmilterReportStoreAway", 20, {STORE: "0x30"}, {STORE: "1x30"}),
    Case("TlspolicydDown", 5, {_out("up"): "0x10"}, {_out("up"): "1x10"}),
    Case(
        "TlspolicydFaults", 5, {_out("tlspolicyd_faults_total"): "0 0 1x10"}, {_out("tlspolicyd_faults_total"): "0x9"}
    ),
    Case(
        "TlspolicydDnsFails",
        30,
        {
            _out("tlspolicyd_dns_queries_total", outcome="ok"): "0+60x40",
            _out("tlspolicyd_dns_queries_total", outcome="bogus"): "0+30x40",
        },
        {_out("tlspolicyd_dns_queries_total", outcome="bogus"): "0+6x40"},
    ),
    Case(
        "TlspolicydResolverDoesNotValidate",
        20,
        {_out("tlspolicyd_dane_active"): "0x30"},
        {_out("tlspolicyd_dane_active"): "1x30"},
    ),
    Case("TlspolicydSessionsLost", 30, {LOST: "0 0 5x90"}, {LOST: "5x90"}),
    Case("TlspolicydSessionsUnreadable", 30, {MALFORMED: "0+1x90"}, {MALFORMED: "0 0 3x90"}),
    Case("TlspolicydStoreAway", 15, {_out("tlspolicyd_store_up"): "0x20"}, {_out("tlspolicyd_store_up"): "1x20"}),
    Case(
        "TlspolicydFetchesFail",
        60,
        {
            _out("tlspolicyd_fetches_total", outcome="ok"): "0x70",
            _out("tlspolicyd_fetches_total", outcome="sts-policy-fetch-error"): "0+1x70",
        },
        {_out("tlspolicyd_fetches_total", outcome="ok"): "0+3x70"},
    ),
    Case(
        "TlspolicydDefers",
        45,
        {
            _out("tlspolicyd_lookups_total", outcome="notfound", ready="no"): "0+60x60",
            _out("tlspolicyd_lookups_total", outcome="temp", ready="no"): "0+20x60",
        },
        {_out("tlspolicyd_lookups_total", outcome="temp", ready="no"): "0+3x60"},
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _promtool() -> None:
    require(prometheus.missing())


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_the_rules_are_well_formed() -> None:
    said = prometheus.promtool("check", "rules", RULES)
    assert f"{len(rules())} rules found" in said


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(rules())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_it_fires_and_keeps_quiet(case: Case, tmp_path: Path) -> None:
    rule = rules()[case.alert]
    where = {"job": "authmilter", "instance": "mx:1"} if "Authmilter" in case.alert else {"job": "tlspolicyd"}
    where.setdefault("instance", "mx:2")
    annotations = {
        key: text.replace("{{ $labels.instance }}", where["instance"]) for key, text in rule["annotations"].items()
    }
    expected = {"exp_labels": {**where, **(case.labels or {}), **rule["labels"]}, "exp_annotations": annotations}

    def group(series: dict[str, str], alerts: list[Any]) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": alerts}],
        }

    tests = [group(case.series, [expected]), group({**case.series, **case.quiet}, [])]
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    prometheus.promtool("test", "rules", path)
