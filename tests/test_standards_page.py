"""Citations of RFCs have one shape and name RFCs that exist, and docs/standards.md lists them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.standards.citations import Citation, citations, odd
from tools.standards.page import PAGE, page, titles


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tools.standards writes it"


def test_every_citation_has_the_one_shape() -> None:
    assert odd() == []


def test_no_rfc_stands_twice_in_the_list_of_titles() -> None:
    numbers = [number for table in titles().values() for number in table]
    assert len(numbers) == len(set(numbers))


def test_an_rfc_without_a_title_is_an_error() -> None:
    with pytest.raises(ValueError, match="RFC 99999"):
        page([Citation(99_999, "1", "authmilter.spf")])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# RFC 7208 §4.6.4: at most", [(7208, "4.6.4")]),
        ("# (RFC 6376 §3.5, §6.1.1 and §8.2). RFC 9989", [(6376, "3.5"), (6376, "6.1.1"), (6376, "8.2"), (9989, "")]),
        ("# RFC 9989 §A.4.", [(9989, "A.4")]),
        ("# as RFC 8461\n    # §3.2 says", [(8461, "3.2")]),
    ],
)
def test_citations_are_found(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    folder = tmp_path / "milter" / "authmilter" / "spf"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text(text)
    assert list(citations(tmp_path)) == [Citation(rfc, section, "authmilter.spf") for rfc, section in found]


@pytest.mark.parametrize("text", ["# RFC7208", "# RFC 7208 section 4", "# rfc: RFC-7208", "# RFC 7208 Appendix A"])
def test_other_shapes_are_noticed(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "common" / "mailcommon"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text(text)
    assert len(odd(tmp_path)) == 1
