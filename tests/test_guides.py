"""README and guides: links, commands and settings that they name exist, and no setting of a peer is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from tools.manuals.pages import PROGRAMS

ROOT = Path(__file__).parent.parent
GUIDES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
RESOLVER = (ROOT / "docs" / "moving-from-postfix-mta-sts-resolver.md").read_text(encoding="utf-8")

guides = pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)

# mta-sts-daemon.yml(5) and defaults.py of postfix-mta-sts-resolver 1.5.1, config.yaml of postfix-tlspol 1.13
PEERS = {
    "mta-sts-daemon.yml": """host port path mode reuse_port shutdown_timeout cache_grace cache.type
        cache.options.cache_size cache.options.filename cache.options.threads cache.options.timeout cache.options.url
        cache.options.sentinels cache.options.sentinel_master_name cache.options.dsn proactive_policy_fetching.enabled
        proactive_policy_fetching.interval proactive_policy_fetching.concurrency_limit
        proactive_policy_fetching.grace_ratio default_zone.strict_testing default_zone.timeout
        default_zone.require_sni default_zone.tlsrpt zones""",
    "config.yaml of postfix-tlspol": """server.address server.socket-permissions server.metrics-address
        server.log-level server.prefetch server.cache-file dns.address""",
}
KINDS = {"internal", "sqlite", "redis", "redis_sentinel", "postgres"}  # of cache.type


def tables(model: type[BaseModel]) -> dict[str, set[str]]:
    """Keys of each table; "" is the top."""
    found: dict[str, set[str]] = {"": set()}
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found[name] = set(inner.model_fields)
        else:
            found[""].add(name)
    return found


def commands(text: str) -> Iterator[list[str]]:
    """What is shown of the two commands: indented lines and code in sentences."""
    text = re.sub(r"\\\n\s+", " ", text)
    shown = re.findall(r"^ {4,}(?:/opt/gatepost/bin/)?((?:authmilter|tlspolicyd) [^|\n]*)", text, re.MULTILINE)
    for line in [*shown, *re.findall(r"`((?:authmilter|tlspolicyd) [^`\n]+)`", text)]:
        plain = re.sub(r"\s+#.*|&&.*", "", line).replace("…", "").replace("...", "")
        yield shlex.split(plain)


@guides
def test_links_lead_to_files(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8")):
        assert (guide.parent / target).exists(), target


@guides
def test_commands_exist_with_their_options(guide: Path) -> None:
    for words in commands(guide.read_text(encoding="utf-8")):
        command: click.Command = PROGRAMS[words[0]][0]
        context = click.Context(command)
        rest = words[1:]
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            names = rest.pop(0).split("|")  # "cache list|forget"
            found = [command.get_command(context, name) for name in names]
            assert all(found), f"{guide.name}: {' '.join(words)}"
            assert found[0] is not None
            command = found[0]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, f"{guide.name}: {words}"


@guides
def test_settings_that_are_named_with_their_table_exist(guide: Path) -> None:
    known = [tables(model) for _, model in PROGRAMS.values()]
    for table, key in re.findall(r"`\[([a-z]+)\] ([a-z_]+)", guide.read_text(encoding="utf-8")):
        assert any(key in one.get(table, ()) for one in known), f"[{table}] {key}"


@pytest.mark.parametrize("peer", PEERS)
def test_every_setting_of_the_peer_has_its_row(peer: str) -> None:
    section = RESOLVER.partition(f"## {peer}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| .* \| .*\|$", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w.-]+)`", row)}
    assert named - KINDS == set(PEERS[peer].split())


@pytest.mark.parametrize("peer", PEERS)
def test_every_setting_of_ours_exists(peer: str) -> None:
    known = tables(PROGRAMS["tlspolicyd"][1])
    section = RESOLVER.partition(f"## {peer}\n")[2].partition("\n## ")[0]
    for cell in re.findall(r"^\| `.*?` \| (.*?) \| .*\|$", section, re.MULTILINE):
        for table, key in re.findall(r"`(?:\[(\w+)\] )?(\w+)`", cell):
            assert key in known[table], cell


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180, "details go into docs/"
