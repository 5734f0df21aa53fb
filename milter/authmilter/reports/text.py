"""The one place that makes text from messages and DNS fit for a report's XML."""

from __future__ import annotations

MAX = 250  # characters of one value


def xml_text(text: str, limit: int = MAX) -> str:
    """`text` without what XML 1.0 cannot hold and what cannot be seen, on one line, at most `limit` characters."""
    text = text[:limit]
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
