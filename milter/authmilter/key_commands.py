"""`authmilter key new` and `authmilter key check`: keys in files, their records in DNS.

Diagnostics: `KeyCommandError`, whose text is for the person at the keyboard.
Security: a file is made for its owner alone before anything is written into it, and none is ever overwritten.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authmilter.settings import Settings
from authmilter.sign.key import KeyFileError, PrivateKey, Reader, load
from authmilter.sign.publish import judge, zone_line
from mailcommon.dns.resolver import Resolver
from mailcommon.names import is_hostname, to_alabel


class KeyCommandError(Exception):
    """The request cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """What DNS says about one key."""

    name: str
    good: bool
    text: str


def key_name(domain: str, selector: str) -> str:
    """The name of the key record (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def new(domain: str, selector: str, kind: str, bits: int, folder: Path, user: str) -> tuple[str, str]:
    """Make the files; give what to publish, in zone-file form, and what to set; raises KeyCommandError.

    `kind`: "rsa", "ed25519" or "both". `user`: as whom the daemon runs; root gives its group the right to read.
    """
    name, label = to_alabel(domain), to_alabel(selector)
    if name is None or not is_hostname(name) or "." not in name:
        raise KeyCommandError(f"{domain!r} is not a domain")
    if label is None or not is_hostname(f"{label}.example"):
        raise KeyCommandError(f"{selector!r} is not a selector: letters, digits and hyphens, such as s2026")
    wanted = [(label, "rsa")] if kind != "ed25519" else [(label, "ed25519")]
    if kind == "both":
        # one name may have one key record only (RFC 6376 §3.6.2.2)
        wanted.append((f"{label}-ed25519", "ed25519"))
    if len(key_name(name, wanted[-1][0])) > 253:
        raise KeyCommandError("the name of the record would have more than 253 characters")
    paths = [folder / f"{name}.{each}.pem" for each, _ in wanted]
    for path in paths:
        if path.exists():
            raise KeyCommandError(f"{path} is there already and is not overwritten: choose another selector")
    lines, names = [], []
    advice = "".join(f"The key is in {path}\n" for path in paths)
    advice += "Publish what stands above, and put into authmilter.toml:\n\n"
    for (each, sort), path in zip(wanted, paths, strict=True):
        key = _make(sort, bits)
        _write(path, key, user)
        names.append(f"{name}.{each}")
        lines.append(zone_line(key_name(name, each), key))
        advice += f'[sign.keys."{name}.{each}"]\ndomain = "{name}"\nselector = "{each}"\nfile = "{path}"\n\n'
    listed = ", ".join(f'"{each}"' for each in names)
    advice += f'Once `authmilter key check {name}` says that it is good:\n\n[sign.table]\n"{name}" = [{listed}]'
    return "\n".join(lines), advice


def _make(kind: str, bits: int) -> PrivateKey:
    if kind == "ed25519":
        return PrivateKey(kind, 256, Ed25519PrivateKey.generate())
    return PrivateKey(kind, bits, generate_private_key(65537, bits))


def _write(path: Path, key: PrivateKey, user: str) -> None:
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        if not path.parent.exists():
            path.parent.mkdir()
            path.parent.chmod(0o755)  # whatever the umask is: the daemon's user has to get in
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # the umask may have taken even more
            if os.geteuid() == 0 and user:
                with contextlib.suppress(KeyError):  # the user is made later: the start says what is to be done
                    os.fchown(file.fileno(), 0, Reader.of(user).gid)
                    os.fchmod(file.fileno(), 0o640)
            file.write(pem)
    except FileExistsError:
        raise KeyCommandError(f"{path} is there already and is not overwritten: choose another selector") from None
    except OSError as fault:
        raise KeyCommandError(f"{path}: cannot be made: {fault.strerror}") from None


def check(settings: Settings, domain: str, selector: str, resolver: Resolver) -> list[Report]:
    """Compare keys of [sign] with DNS: all, those of `domain`, or the one of `selector` too; raises KeyCommandError."""
    wanted_domain, wanted_selector = to_alabel(domain) or domain, to_alabel(selector) or selector
    chosen = [
        (name, label, file)
        for name, label, file in _published(settings)
        if wanted_domain in ("", name) and wanted_selector in ("", label)
    ]
    if not chosen:
        what = f"no key for {' '.join(filter(None, (domain, selector)))}" if domain else "no key"
        raise KeyCommandError(f"[sign] has {what}")
    for name, label, _ in chosen:
        resolver.start("TXT", key_name(name, label))
    reports = []
    for name, label, file in chosen:
        record = key_name(name, label)
        try:
            key = load(Path(file), int(settings.sign.key_mode, 8), _reader(settings))
        except KeyFileError as fault:
            reports.append(Report(record, False, str(fault)))
            continue
        reports.append(Report(record, *judge(key, resolver.txt(record))))
    return reports


def _reader(settings: Settings) -> Reader:
    try:
        return Reader.of(settings.user)
    except KeyError:
        return Reader.of("")


def _published(settings: Settings) -> list[tuple[str, str, str]]:
    """(domain, selector, file) of each record that has to be there, each once."""
    found: dict[tuple[str, str, str], None] = {}
    for name, key in settings.sign.keys.items():
        if key.domain:
            found[key.domain, key.selector, key.file] = None
            continue
        for pattern, names in settings.sign.table.items():  # it signs as each of these domains
            if name in names and "*" not in pattern:
                found[pattern.rpartition("@")[2], key.selector, key.file] = None
    return list(found)
