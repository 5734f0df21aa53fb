"""Reads Postfix's configuration with Postfix's own postconf(1); nothing is changed.

Diagnostics: `PostconfError`, one line for a person, if there is no Postfix or its files cannot be read.
Limits: ten seconds for each of four commands.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from mailcommon.doctor.postfix import Postfix, Service

_SECONDS = 10.0
_PLACES = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin"  # postconf is in no user's PATH on some systems


class PostconfError(Exception):
    """Postfix's configuration cannot be had; the text says why."""


def read_postfix(config_directory: str = "") -> Postfix:
    """The instance whose main.cf is in `config_directory`, "" for the usual one; raises PostconfError."""
    program = shutil.which("postconf") or shutil.which("postconf", path=_PLACES)
    if program is None:
        raise PostconfError("there is no postconf(1) here: is Postfix installed on this host?")
    if config_directory and not Path(config_directory, "main.cf").exists():
        raise PostconfError(f"{config_directory}: there is no main.cf")
    where = ["-c", config_directory] if config_directory else []
    values = dict(_pairs(_run(program, *where, "-x")))
    overrides: dict[str, dict[str, str]] = {}
    for name, value in _pairs(_run(program, *where, "-P", "-x")):
        label, _, parameter = name.rpartition("/")
        overrides.setdefault(label, {})[parameter] = value
    version = _version(values.get("mail_version", ""))
    usual = _chroot_by_default(version, values.get("compatibility_level", ""))
    services = tuple(
        service
        for line in _run(program, *where, "-M").splitlines()
        if (service := _service(line, overrides, usual)) is not None
    )
    return Postfix(version, values, services, config_directory)


def _run(program: str, *arguments: str) -> str:
    # of the environment only what leads to the instance: no locale changes what is written
    known = {name: os.environ[name] for name in ("PATH", "MAIL_CONFIG") if name in os.environ}
    try:
        done = subprocess.run(
            [program, *arguments], env={**known, "LC_ALL": "C"}, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise PostconfError(f"{program}: {fault}") from fault
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise PostconfError(said[-1] if said else f"{program} ended with status {done.returncode}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found.append((name.strip(), value.strip()))
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("-")[0]))


def _chroot_by_default(version: tuple[int, ...], level: str) -> bool:
    """What "-" in the column of master(5) means: yes before Postfix 3.0, and where compatibility_level is below 1."""
    return version < (3,) or level in ("", "0")


def _service(line: str, overrides: Mapping[str, Mapping[str, str]], usual: bool) -> Service | None:
    fields = line.split(None, 7)
    if len(fields) < 8:
        return None
    name, kind, chroot, command = fields[0], fields[1], fields[4], fields[7].split()[0]
    return Service(
        name, kind, usual if chroot == "-" else chroot == "y", Path(command).name, overrides.get(f"{name}/{kind}", {})
    )
