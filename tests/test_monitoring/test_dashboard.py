"""The pages of both daemons, the dashboard and the rules, against a real Prometheus that scrapes real daemons.

Grafana itself is not run: that each panel's expression gives the series it is about is what can be wrong without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import prometheus
from tests.support.metrics_page import Page
from tests.support.policy_daemon import PolicyDaemon
from tests.support.ports import free_port, release_port
from tests.support.prometheus import PrivatePrometheus, promtool
from tests.support.requirements import require
from tests.support.stranger import Strangers
from tests.support.waiting import wait_until

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana/gatepost.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ZONE = """
a.example.         IN TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.a.example.  IN TXT "v=DMARC1; p=reject; rua=mailto:r@a.example"
;FAULT _dmarc.broken.example. TXT servfail
"""
# what no mail of this test makes: families of which a page has no series before the first event
EMPTY = {
    "Reports by state",
    "BIMI",
    "What dry_run let through",
    "TLS sessions for reports",
    "Fetches by outcome",
    "Refreshes that failed",
    "Time of a fetch",
}


@dataclass(frozen=True)
class Watched:
    inbound: Page
    outbound: Page
    prometheus: PrivatePrometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    require(prometheus.missing())
    ports = free_port(), free_port()
    folder = tmp_path_factory.mktemp("reports")
    with ExitStack() as stack:
        for port in ports:
            stack.callback(release_port, port)
        pages = [{"metrics": {"listen": f"127.0.0.1:{port}"}} for port in ports]
        reports = {"store": f"sqlite:{folder}/reports.db", "email": "reports@home.example"}
        gate = stack.enter_context(Strangers(ZONE, {**pages[0], "reports": reports}))
        tlsrpt = {
            "socket": f"unix:{folder}/tlsrpt.sock",
            "store": f"sqlite:{folder}/tls.db",
            "contact": "t@home.example",
        }
        policies = stack.enter_context(
            PolicyDaemon(
                {**pages[1], "dns": {"nameservers": [gate.dns.address]}, "dane": {"enabled": True}, "tlsrpt": tlsrpt}
            )
        )
        server = stack.enter_context(
            PrivatePrometheus(dict(zip(("authmilter", "tlspolicyd"), ports, strict=True)), DOCS / RULES)
        )
        found = Watched(Page(ports[0]), Page(ports[1]), server)

        def traffic() -> bool:
            """Some of everything, until Prometheus has seen it grow."""
            for domain in ("a", "broken"):
                for ip in ("192.0.2.1", "198.51.100.1"):
                    with gate.client(ip=ip) as milter:
                        milter.send(f"From: u@{domain}.example\n\nhi\n".encode(), mail_from="u@a.example")
            for _ in range(2):
                policies.ask("a.example")
            wanted = [f"sum(rate({name}[5s])) > 0" for name in (MESSAGES, LOOKUPS)]
            seen = [server.query(each) for each in (*wanted, "authmilter_report_rows > 0")]
            return all(seen)

        wait_until(traffic, "figures in Prometheus", timeout=60.0)
        yield found


RULES = "prometheus/gatepost.rules.yml"
MESSAGES, LOOKUPS = "authmilter_messages_total", "tlspolicyd_lookups_total"


def test_promtool_finds_nothing_wrong_with_the_pages(watched: Watched) -> None:
    for page in (watched.inbound, watched.outbound):
        assert promtool("check", "metrics", text=page.text()) == ""


def test_the_rules_work_on_what_was_scraped(watched: Watched) -> None:
    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in watched.prometheus.rules())

    wait_until(evaluated, "every rule evaluated", context=lambda: str(watched.prometheus.rules()))
    firing = {rule["name"] for rule in watched.prometheus.rules() if rule["state"] == "firing"}
    assert not firing


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_what_there_is(panel: dict[str, Any], watched: Watched) -> None:
    shown = [watched.prometheus.query(_in_force(target["expr"])) for target in panel["targets"]]
    assert any(shown) or panel["title"] in EMPTY
    for target, series in zip(panel["targets"], shown, strict=True):
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert all(label in labels for labels, _ in series), "the legend names a label that is not there"


def test_the_dashboard_asks_for_metrics_that_exist(watched: Watched) -> None:
    """Also where this test made no series: the page has the family all the same."""
    families = set(re.findall(r"^# TYPE (\w+) ", watched.inbound.text() + watched.outbound.text(), re.MULTILINE))
    # a family that is empty is not written by the workers' files
    families |= {"authmilter_dry_run_total", "authmilter_worker_restarts_total", "authmilter_messages_total"}
    for panel in PANELS:
        for target in panel["targets"]:
            for name in re.findall(r"\b(?:authmilter|tlspolicyd)_\w+", target["expr"]):
                assert re.sub(r"_bucket$", "", name) in families, panel["title"]


def test_the_dashboard_is_whole() -> None:
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places), "panels lie over each other"
    assert max(x for x, _ in places) < 24
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$(?:\{(\w+)\}|(\w+))", text))
    assert {a or b for a, b in used} <= names | {"__rate_interval", "__all"}


def _in_force(expression: str) -> str:
    return expression.replace("$authmilter", ".*").replace("$tlspolicyd", ".*").replace("$__rate_interval", "10s")
