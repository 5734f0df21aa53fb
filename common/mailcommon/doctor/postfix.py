"""Postfix's configuration as facts, and the small languages in it. Pure; `postconf` reads them.

Standards: postconf(5), master(5), MILTER_README, socketmap_table(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True, slots=True)
class Service:
    """One line of master.cf."""

    name: str  # "smtp", "127.0.0.1:10025"
    kind: str  # inet, unix, pass, fifo, unix-dgram
    chroot: bool
    command: str  # the program's name without options
    overrides: Mapping[str, str] = field(default_factory=dict)  # its -o options

    @property
    def label(self) -> str:
        """As postconf(1) writes it."""
        return f"{self.name}/{self.kind}"


@dataclass(frozen=True, slots=True)
class Postfix:
    """One instance: every parameter with what is in force, and master.cf."""

    version: tuple[int, ...]
    values: Mapping[str, str]  # main.cf over the defaults, $names expanded
    services: tuple[Service, ...] = ()
    config_directory: str = ""  # "": the usual one

    def get(self, name: str, service: Service | None = None) -> str:
        """What is in force, in a service of master.cf or in general; "" if this Postfix does not know it."""
        if service is not None and name in service.overrides:
            return service.overrides[name]
        return self.values.get(name, "")

    def yes(self, name: str, service: Service | None = None) -> bool:
        """Whether a parameter that is "yes" or "no" is "yes"."""
        return self.get(name, service).lower() == "yes"

    def knows(self, name: str) -> bool:
        """Whether this version has the parameter."""
        return name in self.values

    def seconds(self, name: str) -> float | None:
        """A time value; None if it cannot be read."""
        match = re.fullmatch(r"(\d{1,9})([smhdw]?)", self.get(name))
        return float(match[1]) * _UNITS[match[2] or "s"] if match else None

    def number(self, name: str) -> int | None:
        """A number; None if it is none."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdigit() else None

    def running(self, command: str) -> tuple[Service, ...]:
        """The services that run this program."""
        return tuple(service for service in self.services if service.command == command)

    @property
    def queue_directory(self) -> Path:
        """Where chrooted services have their root, and where relative socket names begin."""
        return Path(self.get("queue_directory") or "/var/spool/postfix")

    @property
    def version_text(self) -> str:
        """Such as 3.10.13."""
        return ".".join(map(str, self.version))


def split_list(value: str) -> tuple[str, ...]:
    """The words of a list: blanks and commas divide, but not within braces."""
    words, word, depth = [], "", 0
    for char in value:
        if depth == 0 and char in ", \t\r\n":
            words.append(word)
            word = ""
            continue
        depth += (char == "{") - (char == "}" and depth > 0)
        word += char
    words.append(word)
    return tuple(each for each in words if each)


@dataclass(frozen=True, slots=True)
class MilterWord:
    """One element of smtpd_milters: an address, or { address, name=value ... } (Postfix 3.0 and newer)."""

    word: str  # as it is written
    address: str
    options: Mapping[str, str] = field(default_factory=dict)


def read_milters(value: str) -> tuple[MilterWord, ...]:
    """The elements of a list of milters."""
    found = []
    for word in split_list(value):
        if not word.startswith("{"):
            found.append(MilterWord(word, word))
            continue
        address, *rest = split_list(word.removeprefix("{").removesuffix("}")) or ("",)
        options = dict(_pair(each) for each in rest)
        found.append(MilterWord(word, address, options))
    return tuple(found)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.strip("{} ").partition("=")
    return name.strip(), value.strip()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens or a client asks: a path, or a host and a port."""

    path: Path | None = None
    host: str = ""
    port: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.host}:{self.port}"

    def is_same(self, other: Place) -> bool:
        """Whether both name one socket."""
        if self.path or other.path:
            return self.path is not None and self.path == other.path
        return self.port == other.port and _host(self.host) == _host(other.host)


def _host(text: str) -> str:
    bare = text.strip("[]").lower()
    return "127.0.0.1" if bare in ("localhost", "", "0.0.0.0", "::", "::1") else bare  # noqa: S104 - nothing is bound


def place_of_client(address: str, queue_directory: Path, *, chroot: bool) -> Place | None:
    """Where a client of Postfix that is given "unix:path" or "inet:host:port" asks; None for what is neither."""
    kind, _, rest = address.partition(":")
    if kind in ("unix", "local") and rest:
        # chrooted or not, Postfix's daemons work in the queue directory
        if chroot or not rest.startswith("/"):
            return Place(path=queue_directory / rest.lstrip("/"))
        return Place(path=Path(rest))
    if kind == "inet" and rest:
        host, _, port = rest.rpartition(":")
        return Place(host=host, port=port)
    return None


def place_of_server(socket: str) -> Place:
    """Where a daemon of ours listens: "unix:/path" or "inet:PORT@HOST"."""
    kind, _, rest = socket.partition(":")
    if kind == "unix":
        return Place(path=Path(rest))
    port, _, host = rest.partition("@")
    return Place(host=host, port=port)


def address_for(place: Place, queue_directory: Path) -> str:
    """How to name the socket in main.cf so that it is found chrooted or not; "" if chrooted services cannot see it."""
    if place.path is None:
        return f"inet:{place.host}:{place.port}"
    if place.path.is_relative_to(queue_directory):
        return f"unix:{place.path.relative_to(queue_directory)}"
    return ""
