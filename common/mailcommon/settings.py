"""Settings files: TOML into a typed, frozen model, or one line that says what is wrong and where."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """Base of every table of a settings file: nothing unknown, nothing changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SettingsError(Exception):
    """The settings cannot be used; the text names the file, the line if it is known, and the key."""


M = TypeVar("M", bound=Section)

# where pydantic speaks of Python's types
_WORDS = {
    "bool_type": "should be true or false, without quotes",
    "tuple_type": "should be a list: [ ... ]",
    "list_type": "should be a list: [ ... ]",
    "int_type": "should be a whole number, without quotes",
    "float_type": "should be a number, without quotes",
    "string_type": "should be a text in quotes",
    "missing": "is missing",
    "too_short": "should not be empty",
}


def load(path: Path, model: type[M]) -> M:
    """Read `path` as TOML into `model`; raises SettingsError with one line for a person."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise SettingsError(f"{path}: cannot be read: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {fault.start})") from fault
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        hint = ": a text needs quotes around it" if str(fault).startswith("Invalid value") else ""
        raise SettingsError(f"{path}: {fault}{hint}") from fault
    except RecursionError as fault:
        raise SettingsError(f"{path}: lists in lists without end") from fault
    return from_data(data, model, str(path), text)


def from_data(data: object, model: type[M], where: str, text: str = "") -> M:
    """Validate parsed settings; `where` and `text` (the file's own) serve the message of SettingsError."""
    try:
        return model.model_validate(data)
    except ValidationError as fault:
        first = fault.errors()[0]
        path = [str(part) for part in first["loc"]]
        line = _line_of(text, path)
        place = f"{where}: line {line}" if line else where
        raise SettingsError(f"{place}: {_key(path)}: {_explain(first['type'], first['msg'], path, model)}") from fault


def _key(path: list[str]) -> str:
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else "".join(path) or "settings"


def _explain(kind: str, message: str, path: list[str], model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(model, path[:-1]), n=1)
        return "unknown key" + (f", did you mean {near[0]}?" if near else "")
    return _WORDS.get(kind) or message.removeprefix("Value error, ").replace("Input should", "should")


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        info = model.model_fields.get(part)
        inner = info.annotation if info else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _line_of(text: str, path: list[str]) -> int:
    """The line of `path` in TOML text, 0 if it cannot be told (dotted keys, inline tables)."""
    names = [part for part in path if not part.isdigit()]
    for depth in range(len(names), 0, -1):
        table, key = ".".join(names[: depth - 1]), names[depth - 1]
        current = ""
        for number, line in enumerate(text.splitlines(), 1):
            if heading := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
                current = heading[1].replace('"', "").replace(" ", "")
                if current == ".".join(names[:depth]):
                    return number
            elif current == table and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return number
    return 0
