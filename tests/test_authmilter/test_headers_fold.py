"""Folding: short lines where that can be done, and nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from authmilter.headers.fold import WIDTH, fold


def test_each_line_begins_anew() -> None:
    assert fold([["mx.example.org;"], ["a=b", "c.d=e;"], ["f=g"]], "Name") == "mx.example.org;\n\ta=b c.d=e;\n\tf=g"


def test_the_name_counts_in_the_first_line() -> None:
    assert fold([["a" * 40, "b" * 34]], "N") == "a" * 40 + " " + "b" * 34
    assert fold([["a" * 40, "b" * 34]], "Name") == "a" * 40 + "\n\t" + "b" * 34


def test_a_long_word_is_cut_before_its_blanks() -> None:
    word = '"' + " ".join(["word"] * 40) + '"'
    lines = fold([["a=b", word, "c.d=e"]], "N").split("\n")
    assert all(len(line) <= WIDTH for line in lines)
    assert len(lines) == 4
    assert "".join(lines[1:]).startswith(f"\t{word}")


def test_a_long_word_without_blanks_stays_whole() -> None:
    assert fold([["a=b", "x" * 300]], "N") == "a=b\n\t" + "x" * 300


def test_no_cut_after_a_backslash_or_into_blanks() -> None:
    word = "x" * 80 + "\\ y" + "  z"
    assert "\n" not in fold([[word]], "N")


_WORDS = st.text(st.sampled_from('ab ;"\\'), min_size=1, max_size=200).filter(lambda text: not text.isspace())


@given(st.lists(st.lists(_WORDS, min_size=1, max_size=6), min_size=1, max_size=5))
def test_unfolding_gives_the_words_back(lines: list[list[str]]) -> None:
    folded = fold(lines, "Name")
    assert folded.replace("\n\t", " ").replace("\n", "") == " ".join(" ".join(words) for words in lines)
    for line in folded.split("\n")[1:]:
        assert line[:1] in " \t"
        assert line.strip()


@given(st.lists(st.text("abc", min_size=1, max_size=70), min_size=1, max_size=60))
def test_lines_are_short_when_words_are(words: list[str]) -> None:
    lines = f"Name: {fold([words], 'Name')}".split("\n")
    assert all(len(line) <= WIDTH for line in lines)
