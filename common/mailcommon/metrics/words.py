"""Labels that stay few: each value of a label is a series of its own in Prometheus, and a flood of them harms it.

Limits: at most 30 different words per label, whatever is handed in; later ones are counted as "other".
"""

from __future__ import annotations

_MAX_WORDS = 30


class Words:
    """The words that have been seen, by label."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def bounded(self, label: str, word: str) -> str:
        """`word`, or "other" if the label has enough of them."""
        seen = self._seen.setdefault(label, set())
        if word not in seen:
            if len(seen) >= _MAX_WORDS:
                return "other"
            seen.add(word)
        return word
