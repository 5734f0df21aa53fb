"""Settings as TOML text: what the `config` commands print, and what the files in conf/ are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mailcommon.passwords import without_password
from mailcommon.settings import Section


def as_toml(settings: Section) -> str:
    """Every key with the value in force, tables after the plain keys; what is None is left out.

    A password in an address is not shown.
    """
    return "\n".join(_lines(settings.model_dump(mode="json"), "")) + "\n"


def _lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    if name:
        yield ""
        yield f"[{name}]"
    for key, value in table.items():
        if value is not None and not isinstance(value, dict):
            # JSON's strings, numbers, booleans and arrays of them are TOML's too
            yield f"{_key(key)} = {json.dumps(_shown(value), ensure_ascii=False)}"
    for key, value in table.items():
        if isinstance(value, dict) and (value or not name):
            yield from _lines(value, f"{name}.{_key(key)}" if name else _key(key))


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return without_password(value) if isinstance(value, str) else value


def _key(text: str) -> str:
    """A key as TOML wants it: plain, or in quotes."""
    return text if text.isascii() and text.isidentifier() else json.dumps(text, ensure_ascii=False)
