"""A real Prometheus that scrapes pages on loopback, and its promtool.

    with PrivatePrometheus({"authmilter": port}) as prometheus:
        prometheus.query("sum(authmilter_messages_total)")    # [({}, 3.0)]

Diagnostics: `Unavailable` if it is not installed; `StartFailed` with its output; AssertionError for a query
that is refused.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port, release_port
from tests.support.processes import ServerProcess, Unavailable, find_program
from tests.support.waiting import wait_until

SCRAPE_SECONDS = 0.25


def missing() -> str:
    """Why neither can run on this machine, "" if they can."""
    try:
        find_program("promtool", "prometheus")
        find_program("prometheus", "prometheus")
    except Unavailable as problem:
        return str(problem)
    return ""


def promtool(*arguments: str | Path, text: str = "") -> str:
    """What it says, on both outputs; raises AssertionError if it finds something wrong."""
    command = [find_program("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class PrivatePrometheus:
    """One server. `jobs`: the port on loopback to scrape, by job name."""

    def __init__(self, jobs: Mapping[str, int], rules: Path | None = None) -> None:
        self.port = free_port()
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-prometheus-", dir="/tmp"))
        interval = f"{int(SCRAPE_SECONDS * 1000)}ms"
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
            ],
        }
        (self.base / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self._process: ServerProcess | None = None

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """(labels, value) of each series of an instant query."""
        data = self._api("query", query=expression)
        assert data["resultType"] in ("vector", "scalar"), expression
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """All rules with their health."""
        found = self._api("rules")
        return [rule for group in found["groups"] for rule in group["rules"]]

    def _api(self, path: str, **values: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as fault:
            raise AssertionError(f"{values}: {fault.read().decode()}") from None

    def _ready(self) -> bool:
        assert self._process is not None
        self._process.require_alive()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def __enter__(self) -> Self:
        log = self.base / "log"
        argv = [find_program("prometheus", "prometheus"), f"--config.file={self.base}/prometheus.yml"]
        argv += [f"--storage.tsdb.path={self.base}/data", f"--web.listen-address=127.0.0.1:{self.port}"]
        try:
            self._process = ServerProcess(argv, output=log)
            wait_until(self._ready, "Prometheus", timeout=30.0, context=log.read_text)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        release_port(self.port)
        shutil.rmtree(self.base, ignore_errors=True)
