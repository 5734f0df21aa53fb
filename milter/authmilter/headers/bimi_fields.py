"""The fields that carry an indicator to mail programs (BIMI core §5.2 to §5.4): a BIMI fact in, names and values out.

Pure. Limits: a URI has at most 800 octets, an indicator 32 KB, which is 45 KB here: below Postfix's header_size_limit.
"""

from __future__ import annotations

import base64

from authmilter.bimi import names
from authmilter.facts import BimiFact, BimiResult
from authmilter.headers.fold import FOLD, fold

_LINE = 76  # characters of base64 in one line; the fold's TAB comes on top


def bimi_fields(fact: BimiFact | None) -> list[tuple[str, str]]:
    """The fields for a message, in their order from the top; none unless the indicator passed (BIMI core §7.9)."""
    if fact is None or fact.result is not BimiResult.PASS:
        return []
    fields = [(names.LOCATION_FIELD, location(fact.location))]
    if fact.indicator:
        fields.append((names.INDICATOR_FIELD, indicator(fact.indicator)))
    if fact.preference:
        fields.append((names.PREFERENCE_FIELD, f"{names.PREFERENCE_TAG}={fact.preference};"))
    return fields


def location(tags: tuple[tuple[str, str], ...]) -> str:
    """BIMI core §5.2: bimi-location-header."""
    return fold([(f"v={names.VERSION};", *(f"{tag}={uri};" for tag, uri in tags))], names.LOCATION_FIELD)


def indicator(svg: bytes) -> str:
    """BIMI core §5.3: the SVG in base64, folded (§7.10: "within the line length limits")."""
    text = base64.b64encode(svg).decode("ascii")
    return FOLD.join(text[start : start + _LINE] for start in range(0, len(text), _LINE))
