"""All private keys of one generation of settings, read once.

Diagnostics: a key that cannot be read is a fault beside the others; whoever starts the daemon refuses to, and
a running one signs with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from authmilter.sign.key import KeyFileError, PrivateKey, Reader, load
from authmilter.sign.settings import SignSettings


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by the path of their file. Nothing of a key is in a representation of this."""

    keys: dict[str, PrivateKey] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)  # path -> what is wrong and the cure


def read_keys(settings: SignSettings, user: str = "", former: Keyring | None = None) -> Keyring:
    """Read the key files of all identities as `user` will, "" for the user of this process.

    A file that cannot be read now, and could be before, keeps its `former` key.
    """
    ring = Keyring()
    try:
        reader = Reader.of(user)
    except KeyError:
        reader = Reader.of("")  # the start refuses a user that does not exist
    for file in {identity.file: None for identity in settings.identities.values()}:
        try:
            ring.keys[file] = load(Path(file), settings.key_mode, reader)
        except KeyFileError as fault:
            ring.faults[file] = str(fault)
            if former and file in former.keys:
                ring.keys[file] = former.keys[file]
    return ring
