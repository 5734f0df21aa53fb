"""The house stays in order: nothing shadows pymilter, imports go one way, the libraries have one door each."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    name: ROOT / folder / name
    for folder, name in (("common", "mailcommon"), ("milter", "authmilter"), ("policy_daemon", "tlspolicyd"))
}
RESERVED = {"milter", "Milter", "mime", "spf", "dkim", "dns", "authres", "systemd"}


def modules(package: str) -> list[Path]:
    return sorted(SOURCES[package].rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_folder_shadows_pymilter() -> None:
    assert not (ROOT / "milter" / "__init__.py").exists()
    assert not (ROOT / "tests" / "milter").exists()
    for root in (ROOT, ROOT / "common", ROOT / "milter", ROOT / "policy_daemon", ROOT / "tests"):
        for entry in root.iterdir():
            name = entry.stem
            if name in RESERVED and (entry.suffix == ".py" or (entry / "__init__.py").exists()):
                pytest.fail(f"{entry} hides a library of that name")


def test_pymilter_is_what_is_imported() -> None:
    milter = pytest.importorskip("milter", reason="pymilter is not installed: libmilter-dev is missing")
    assert hasattr(milter, "opensocket")


def test_one_importer_of_milter() -> None:
    importers = {path.name for path in modules("authmilter") if {"Milter", "milter"} & set(imported(path))}
    assert importers == {"session.py"}


def test_dnspython_only_in_the_dns_package() -> None:
    for package in SOURCES:
        for path in modules(package):
            if any(re.match(r"dns(\.|$)", name) for name in imported(path)):
                assert path.parent == SOURCES["mailcommon"] / "dns", f"{path} imports dnspython"


def test_pyspf_only_in_its_adapter() -> None:
    importers = {path for path in modules("authmilter") if "spf" in set(imported(path))}
    assert importers == {SOURCES["authmilter"] / "spf" / "evaluate.py"}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("mailcommon", ("authmilter", "tlspolicyd")), ("authmilter", ("tlspolicyd",)), ("tlspolicyd", ("authmilter",))],
)
def test_packages_do_not_import_each_other(package: str, forbidden: tuple[str, ...]) -> None:
    for path in modules(package):
        for name in imported(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


# bytes -> facts -> verdict -> actions: a stage never calls one that comes after it
STAGES = {
    "authmilter": [
        "facts",
        "spf",
        "dkim",
        "author",
        "dmarc",
        "iprev",
        "helo",
        "bimi",
        "headers",
        "sign",
        "arc",
        "reply",
        "verdict",
        "knowledge",
        "actions",
        "deferrals",
        "reports",
        "settings",
        "bimi_check",
        "bimi_assembly",
        "setup",
        "transaction",
        "logline",
        "session",
        "worker",
        "server",
    ],
    "tlspolicyd": [
        "facts",
        "query",
        "netstring",
        "socketmap",
        "sts",
        "cache",
        "pace",
        "discovery",
        "policies",
        "refresh",
        "dane",
        "lookup",
        "mx_names",
        "decide",
        "render",
        "explain",
        "answering",
        "server",
        "tlsrpt",
        "service",
        "assembly",
    ],
}


@pytest.mark.parametrize("package", STAGES)
def test_imports_go_one_way(package: str) -> None:
    place = {name: number for number, name in enumerate(STAGES[package])}
    for path in modules(package):
        stage = path.relative_to(SOURCES[package]).parts[0].removesuffix(".py")
        if stage not in place:
            continue
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in place:
                assert place[parts[1]] <= place[stage], f"{path} imports {name}, which comes later"


IMPURE = {"time", "socket", "os", "threading", "asyncio", "mailcommon.dns.resolver", "mailcommon.dns.async_resolver"}


@pytest.mark.parametrize(
    ("package", "pure"),
    [("authmilter", name) for name in ("facts", "verdict", "knowledge", "actions", "reply")]
    + [("tlspolicyd", name) for name in ("facts", "netstring", "socketmap", "query", "mx_names", "decide", "render")],
)
def test_the_middle_is_pure(package: str, pure: str) -> None:
    folder = SOURCES[package] / pure
    for path in sorted(folder.glob("*.py")) or [folder.with_suffix(".py")]:
        assert not IMPURE & set(imported(path)), path


def test_one_check_never_reads_anothers_insides() -> None:
    for check in ("spf", "dkim", "dmarc"):
        for path in (SOURCES["authmilter"] / check).glob("*.py"):
            for name in imported(path):
                for other in {"spf", "dkim", "dmarc"} - {check}:
                    assert not name.startswith(f"authmilter.{other}"), f"{path} imports {name}"


def test_bimi_takes_facts_and_the_form_of_tag_lists() -> None:
    for path in (SOURCES["authmilter"] / "bimi").rglob("*.py"):
        for name in imported(path):
            assert not name.startswith(("authmilter.spf", "authmilter.dmarc", "authmilter.author"))
            if name.startswith("authmilter.dkim"):
                assert name in ("authmilter.dkim", "authmilter.dkim.taglist"), f"{path} imports {name}"


def test_what_only_bimi_needs_is_not_loaded_without_it() -> None:
    code = "import sys, authmilter.server, authmilter.transaction\n"
    code += "print(*{'lxml', 'aiohttp', 'asn1crypto'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
