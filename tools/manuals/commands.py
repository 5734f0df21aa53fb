"""The commands as mdoc: synopsis, list and options, out of what --help says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from tools.manuals.mdoc import argument, prose

Path = tuple[str, ...]


def leaves(command: click.Command, path: Path) -> Iterator[tuple[Path, click.Command]]:
    """Every command below this one that does something, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from leaves(found, (*path, name))
    else:
        yield path, command


def top_level(program: click.Group) -> dict[str, click.Command]:
    """The commands of a program by name."""
    context = click.Context(program)
    found = ((name, program.get_command(context, name)) for name in program.list_commands(context))
    return {name: command for name, command in found if command is not None and not command.hidden}


def synopsis(path: Path, command: click.Command) -> Iterator[str]:
    """How one command is called."""
    yield f".Nm {path[0]}"
    if path[1:]:
        yield f".Cm {' '.join(path[1:])}"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            text = " | ".join(_flag(name) for name in _names(parameter))
            if value := _value(parameter):
                text = f"{text} {value}"
            yield f".{text}" if parameter.required else f".Op {text}"
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            word = f"Ar {_metavar(parameter)}"
            yield f".{word}" if parameter.required else f".Op {word}"


def options(path: Path, command: click.Command) -> Iterator[str]:
    """What one command does, and its options."""
    help_text = inspect.cleandoc(command.help or "")
    for number, paragraph in enumerate(help_text.split("\n\n")):
        if number:
            yield ".Pp"
        yield from prose(paragraph)
    shown = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if shown:
        yield '.Bl -tag -width "--record-dns file"'
        for option in shown:
            tag = " , ".join(
                f"{_flag(name)}{' ' + value if (value := _value(option)) else ''}" for name in _names(option)
            )
            yield f".It {tag}"
            if not option.help:
                raise ValueError(f"{' '.join(path)}: the option {option.opts[0]} has no help")
            yield from prose(option.help if option.help.endswith(".") else f"{option.help}.")
            if default := _default(option):
                yield f"Default: {default}."
        yield ".El"


def summary(command: click.Command) -> str:
    """The first sentence of the help."""
    text = " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())
    return next(iter(prose(text)), "")


def _names(option: click.Option) -> list[str]:
    return [name for name in option.opts if name.startswith("--")] or option.opts


def _flag(name: str) -> str:
    # .Fl writes one hyphen
    return f"Fl {name[1:]}"


def _value(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return "Cm " + " | ".join(argument(str(choice)) for choice in option.type.choices)
    return f"Ar {_metavar(option)}"


def _metavar(parameter: click.Parameter) -> str:
    if parameter.metavar:
        return argument(parameter.metavar.lower())
    if isinstance(parameter, click.Argument) and parameter.name:
        return parameter.name.replace("_", "-")
    if isinstance(parameter.type, click.Path):
        return "file" if parameter.type.file_okay else "directory"
    return {"integer range": "number", "integer": "number", "float": "number"}.get(parameter.type.name, "text")


def _default(option: click.Option) -> str:
    if option.is_flag or option.required or option.multiple or option.default is None or callable(option.default):
        return ""
    text = str(option.default)
    return argument(text) if text not in ("", ".") and "Sentinel" not in text else ""
