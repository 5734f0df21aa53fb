"""The citations in the sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCES = ("common/mailcommon", "milter/authmilter", "policy_daemon/tlspolicyd")

# a citation may go on in the next line of a comment or docstring
_BREAK = re.compile(r"\n[ \t]*(?:#[ \t]*)?")
_CITATION = re.compile(r"\bRFC (\d{3,5})((?:,? (?:and |or |to )?§[0-9A-Z][0-9A-Za-z]*(?:\.[0-9A-Za-z]+)*)*)")
_SECTION = re.compile(r"§([0-9A-Za-z.]+)")
# "RFCs" and "the RFC wants" are prose; anything else that begins like a citation and is none
_ODD = re.compile(
    r"\bRFC(?!s\b)(?! (?:\d{3,5}|[a-z]+)\b).{0,20}"
    r"|\bRFC \d+,? (?:[Ss]ection|[Ss]ect?\.|[Cc]hapter|[Aa]ppendix|App\.).{0,20}"
)


@dataclass(frozen=True, slots=True, order=True)
class Citation:
    rfc: int
    section: str  # "" is the whole of it
    module: str  # "authmilter.dkim"


def citations(root: Path = ROOT) -> Iterator[Citation]:
    """Every citation in the three packages."""
    for path, text in _texts(root):
        parts = path.with_suffix("").parts[1:]
        # a package by its name, a module at the top by its own
        module = ".".join(parts[:2])
        for match in _CITATION.finditer(text):
            sections = _SECTION.findall(match[2]) or [""]
            yield from (Citation(int(match[1]), section.rstrip("."), module) for section in sections)


def odd(root: Path = ROOT) -> list[str]:
    """Mentions of RFCs that have another shape, each with its file."""
    return [f"{path}: {match[0]}" for path, text in _texts(root) for match in _ODD.finditer(text)]


def _texts(root: Path) -> Iterator[tuple[Path, str]]:
    for source in SOURCES:
        for path in sorted((root / source).rglob("*.py")):
            yield path.relative_to(root), _BREAK.sub(" ", path.read_text(encoding="utf-8"))
