"""What the rules look at: frozen, read by `read`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from authmilter.key_commands import Report
from mailcommon.doctor.paths import Identity
from mailcommon.doctor.postfix import Place, Postfix


@dataclass(frozen=True, slots=True)
class Mail:
    """Postfix and what of the settings concerns it."""

    postfix: Postfix
    ours: Place  # where authmilter listens
    signs: bool  # [sign.table] is not empty
    trusted: tuple[str, ...] = ()  # [trust] networks
    postfix_user: Identity | None = None  # mail_owner


@dataclass(frozen=True, slots=True)
class Names:
    """Under which names results are written."""

    authserv_id: str  # in force
    from_settings: bool
    # filter in Postfix's list of milters -> the name that its configuration says it writes results under, "" if none
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """What `key check` found."""

    configured: bool
    reports: tuple[Report, ...] = ()
    unused: tuple[str, ...] = ()  # keys that no line of the table names, nor [arc] seal
    without_key: str = ""  # what keeps the check from being made
