"""The one place that takes the password out of an address with a scheme before anybody reads it."""

from __future__ import annotations

import re

# to the last "@": what stands in a password unescaped is not shown either
_IN_FRONT = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*://[^:/@\s]*):.*@", re.DOTALL)
_IN_QUERY = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """`text` with "***" for a password, if it is an address with one; as it is otherwise."""
    return _IN_QUERY.sub(r"\1***", _IN_FRONT.sub(r"\1:***@", text)) if "://" in text else text
