"""The settings as mdoc: the prose of conf/*.toml, the types and bounds of settings.py.

In the file a comment explains the keys that follow it up to the next comment; one in front of no key explains the
table. Lines of a comment that are indented further are an example and stay as they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel

from mailcommon.settings import Section
from tools.manuals.mdoc import argument, display, prose

_HEADING = re.compile(r"\[([a-z_]+)\]").fullmatch
_KEY = re.compile(r"([a-z_]+) = ").match
_EXAMPLE = re.compile(r" {2,}(.*)").fullmatch


@dataclass
class Entry:
    """Keys that are explained together."""

    table: str
    comment: list[str]
    keys: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


def entries(text: str) -> list[Entry]:
    """What a settings file says, in its order; the comment at its top is left out."""
    found: list[Entry] = []
    table, key = "", ""
    blank = True
    for line in text.split("\n\n", 1)[1].splitlines():
        if match := _HEADING(line):
            table, key, blank = match[1], "", True
            found.append(Entry(table, []))
        elif line.startswith("#"):
            key = ""
            if blank or not found or found[-1].keys:
                found.append(Entry(table, []))
            found[-1].comment.append(line[1:].removeprefix(" ") if line[1:2] != " " else line[2:])
            blank = False
        elif match := _KEY(line):
            key = match[1]
            found[-1].keys.append(key)
            found[-1].values[key] = line[match.end() :]
            blank = False
        elif line.strip() and key:
            found[-1].values[key] += "\n" + line
        else:
            blank = True
    return found


def settings(text: str, model: type[Section]) -> Iterator[str]:
    """The whole of a settings file."""
    tomllib.loads(text)
    table: str | None = None
    opened = False
    for entry in entries(text):
        if entry.table != table:
            if opened:
                yield ".El"
            if table is not None:
                yield from _free_tables(model, table)
            table, opened = entry.table, False
            yield f".Ss {argument(f'[{table}]') if table else 'The top of the file'}"
        if entry.keys and not opened:
            yield ".Bl -tag -width Ds"
            opened = True
        elif opened and not entry.keys:
            yield ".El"
            opened = False
        yield from _entry(entry, _table(model, entry.table))
    if opened:
        yield ".El"
    if table is not None:
        yield from _free_tables(model, table)


def _entry(entry: Entry, model: type[BaseModel]) -> Iterator[str]:
    long = []
    for key in entry.keys:
        value = entry.values[key]
        if "\n" in value:
            long += [f"{key} = {value}"]
            yield f".It Li {argument(key)}"
        else:
            yield f".It Li {argument(f'{key} = {value}')}"
    yield from _comment(entry.comment)
    kinds = {key: kind(model.model_fields[key].annotation, model.model_fields[key].metadata) for key in entry.keys}
    told = {
        key: text for key, text in kinds.items() if text not in ("a text", "a list of texts")
    }  # the default shows it
    if len(set(told.values())) == 1 and len(told) == len(kinds):
        yield from prose(f"({next(iter(told.values()))})")
    else:
        yield from (line for key, text in told.items() for line in prose(f"(`{key}`: {text})"))
    for text in long:
        yield "The default:"
        yield from display(text.splitlines())


def _comment(lines: list[str]) -> Iterator[str]:
    block: list[str] = []
    shown = False
    for line in [*lines, None]:
        match = _EXAMPLE(line) if line is not None else None
        if block and (line is None or bool(match) is not shown):
            yield from display(block) if shown else prose(" ".join(block))
            block = []
        if line is not None:
            shown = bool(match)
            block.append(match[1] if match else line)


def _free_tables(model: type[Section], name: str) -> Iterator[str]:
    """The keys of tables whose names the operator chooses, such as [sign.keys.NAME]."""
    for key, info in _table(model, name).model_fields.items():
        inner = get_args(info.annotation)
        if get_origin(info.annotation) is dict:
            values = inner[1]
            if isinstance(values, type) and issubclass(values, BaseModel):
                known = "; ".join(
                    f"`{part}` ({kind(one.annotation, one.metadata)}{', required' if one.is_required() else ''})"
                    for part, one in values.model_fields.items()
                )
                yield ".Pp"
                yield from prose(f"Keys of a table `[{name}.{key}.NAME]`: {known}.")
            else:
                yield ".Pp"
                yield from prose(f"Keys of the table `[{name}.{key}]` are chosen by you, each with {kind(values, [])}.")


def _table(model: type[Section], name: str) -> type[BaseModel]:
    if not name:
        return model
    found = model.model_fields[name].annotation
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise ValueError(f"[{name}] is no table")
    return found


def kind(annotation: Any, metadata: Iterable[Any]) -> str:
    """The type of a setting in words, with its bounds."""
    if hasattr(annotation, "__metadata__"):
        return kind(annotation.__origin__, [*annotation.__metadata__, *metadata])
    origin, inner = get_origin(annotation), get_args(annotation)
    if type(None) in inner:
        return kind(next(part for part in inner if part is not type(None)), metadata)
    if origin is Literal:
        return "one of " + ", ".join(f'"{word}"' for word in inner)
    if origin is tuple:
        return "a list of texts"
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        return ("a whole number" if annotation is int else "a number") + _bounds(metadata)
    return "a text"


def _bounds(metadata: Iterable[Any]) -> str:
    words = []
    for part in _constraints(metadata):
        for name, text in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
            if (value := getattr(part, name, None)) is not None:
                words.append(f"{text} {value:,}")
    return ", " + ", ".join(words) if words else ""


def _constraints(metadata: Iterable[Any]) -> Iterator[Any]:
    for part in metadata:
        if isinstance(part, annotated_types.BaseMetadata):
            yield part
        yield from getattr(part, "metadata", ())
