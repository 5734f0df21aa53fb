"""From the text of a setting to a store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from mailcommon.store.lease import LEASES
from mailcommon.store.store import Schema, Store

_SQLITE = re.compile(r"sqlite:(/[^\0]+)").fullmatch
_POSTGRES = re.compile(r"postgres(?:ql)?://[^\s\0]*").fullmatch


def _address(value: str) -> str:
    if value and not _SQLITE(value) and not _POSTGRES(value):
        raise ValueError('must be "sqlite:/path", "postgresql://..." or ""')
    if _POSTGRES(value):
        from mailcommon.store.postgresql import is_readable  # loaded only where it is used

        if not is_readable(value):
            raise ValueError("is no URI that PostgreSQL reads; in a password write %25 for %, %40 for @, %2F for /")
    return value


# "sqlite:/absolute/path", "postgresql://..." or "" for none
StoreAddress = Annotated[str, AfterValidator(_address)]


def open_store(address: str, schemas: Sequence[Schema], seconds: float = 5.0, *, create: bool = True) -> Store:
    """The store at `address`, a `StoreAddress` that is not "". No I/O yet.

    seconds: how long a lock or a connection is waited for. create: make an SQLite file that is not there.
    """
    schemas = (LEASES, *schemas)
    if match := _SQLITE(address):
        from mailcommon.store.sqlite import SqliteStore

        return SqliteStore(match[1], schemas, seconds, create=create)
    from mailcommon.store.postgresql import PostgresStore  # loaded only where it is used

    return PostgresStore(address, schemas, seconds)
