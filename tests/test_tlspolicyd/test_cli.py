"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailcommon.settings_text import as_toml
from tests.support.daemon_process import toml
from tests.support.dns_server import FakeDns
from tlspolicyd import settings as settings_file
from tlspolicyd.cli import main
from tlspolicyd.settings import Settings

ZONE = """
org. 300 IN NS ns.org.
;FAULT org. * ad
none.example. 300 IN MX 10 mx.none.example.
mx.none.example. 300 IN A 127.0.0.1
"""


@pytest.fixture(scope="module")
def dns() -> Iterator[FakeDns]:
    with FakeDns(ZONE) as server:
        yield server


@pytest.fixture
def config(dns: FakeDns, tmp_path: Path) -> Path:
    path = tmp_path / "tlspolicyd.toml"
    store = {"store": f"sqlite:{tmp_path}/policies.db"}
    path.write_text(toml({"dns": {"nameservers": [dns.address], "timeout": 2.0}, "cache": store}))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_config_prints_what_is_in_force(config: Path) -> None:
    result = run("config", "--config", config)
    assert result.exit_code == 0
    assert result.output == as_toml(settings_file.load(config))


def test_config_without_a_file_is_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings_file, "DEFAULT_FILE", tmp_path / "none.toml")
    assert tomllib.loads(run("config").output) == tomllib.loads(as_toml(Settings()))
    (tmp_path / "none.toml").write_text("log_level = 'debug'")
    assert 'log_level = "debug"' in run("config").output


@pytest.mark.parametrize("command", [("config",), ("serve",), ("query", "a.example"), ("cache", "list")])
def test_bad_settings_are_one_line_and_status_2(command: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("sokcet = 'x'")
    result = run(*command, "--config", path)
    assert result.exit_code == 2
    assert result.stderr == f"tlspolicyd: {path}: line 1: sokcet: unknown key, did you mean socket?\n"


def test_query_as_json(config: Path) -> None:
    result = run("query", "--config", config, "--json", "None.Example.")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["domain"], shown["policy"], shown["source"]) == ("none.example", None, "none")
    assert {"result", "mode", "mx", "max_age", "id", "fetched_at", "expires_at", "cached"} <= set(shown["sts"])
    assert shown["dane"]["enabled"] is True


def test_query_for_people(config: Path) -> None:
    result = run("query", "--config", config, "none.example")
    assert result.exit_code == 0
    assert "none.example" in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize("key", ["[mx.a.example]", ".a.example", "a b", "192.0.2.1", "\x1b[31m"])
def test_query_for_what_has_no_policy(config: Path, key: str) -> None:
    result = run("query", "--config", config, "--", key)
    assert result.exit_code == 0
    assert "NOTFOUND" in result.stdout
    assert "\x1b[31m" not in result.stdout


def test_query_names_a_file_that_cannot_be_used(config: Path) -> None:
    config.write_text(config.read_text() + '[sts]\nca_file = "/nowhere/ca.pem"\n')
    result = run("query", "--config", config, "none.example")
    assert result.exit_code == 2
    assert "/nowhere/ca.pem" in result.stderr


@pytest.mark.parametrize("command", ["forget", "refresh"])
@pytest.mark.parametrize("arguments", [(), ("a.example", "--all")])
def test_cache_commands_want_one_domain_or_all(config: Path, command: str, arguments: tuple[str, ...]) -> None:
    result = run("cache", command, "--config", config, *arguments)
    assert result.exit_code == 2
    assert "one domain, or --all" in result.stderr


def test_cache_of_a_daemon_that_keeps_it_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[cache]\nstore = 'memory:'")
    result = run("cache", "list", "--config", path)
    assert result.exit_code == 2
    assert "memory:" in result.stderr
