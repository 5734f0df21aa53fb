"""The page docs/standards.md as text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.standards.citations import ROOT, Citation, citations

PAGE = ROOT / "docs" / "standards.md"
_TITLES = Path(__file__).with_name("titles.toml")

_HEAD = """\
# Standards

What Gatepost obeys, and where. The tables are made from the citations in the sources (`make man`), so that each row can
be looked up there: `git grep 'RFC 7208 §4.6.4'`. A section is named where a line of code is its doing; what an RFC
leaves to the operator is in the settings. BIMI is no RFC yet: [bimi.md](bimi.md) names the drafts.
"""


def titles() -> dict[str, dict[int, str]]:
    """By kind ("methods", "mail", ...) the RFCs that are known: number and title."""
    data = tomllib.loads(_TITLES.read_text(encoding="utf-8"))
    return {kind: {int(number): title for number, title in table.items()} for kind, table in data.items()}


def page(found: Iterable[Citation] | None = None) -> str:
    """The whole page; raises ValueError for an RFC without a title."""
    cited: dict[int, set[Citation]] = {}
    for citation in citations() if found is None else found:
        cited.setdefault(citation.rfc, set()).add(citation)
    known = titles()
    if unknown := sorted(cited.keys() - {number for table in known.values() for number in table}):
        raise ValueError(f"no title in {_TITLES.name}: {', '.join(f'RFC {number}' for number in unknown)}")
    return _HEAD + "".join(f"{line}\n" for kind, table in known.items() for line in _table(kind, table, cited))


def _table(kind: str, table: dict[int, str], cited: dict[int, set[Citation]]) -> Iterator[str]:
    yield ""
    yield f"## {kind}"
    yield ""
    yield "| RFC | title | sections | in |"
    yield "| --- | --- | --- | --- |"
    for number in sorted(table.keys() & cited.keys()):
        here = cited[number]
        sections = sorted({citation.section for citation in here} - {""}, key=_order)
        modules = sorted({citation.module for citation in here})
        link = f"[{number}](https://www.rfc-editor.org/rfc/rfc{number})"
        yield f"| {link} | {table[number]} | {' '.join(f'§{one}' for one in sections)} | {', '.join(modules)} |"


def _order(section: str) -> list[tuple[int, int, str]]:
    # 9 before 10, appendices at the end
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"\.", section)]
