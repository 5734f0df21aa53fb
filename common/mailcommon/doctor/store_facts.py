"""Looks at stores. Of an SQLite file only the rights and the first octets are looked at: to open it would make files
beside it that belong to whoever runs this.
"""

from __future__ import annotations

from pathlib import Path

from mailcommon.doctor.paths import Identity, look
from mailcommon.doctor.stores import StoreFacts

_MAGIC = b"SQLite format 3\0"


def file_facts(setting: str, url: str, runs_as: Identity | None) -> StoreFacts:
    """Of an SQLite file, "sqlite:/path"."""
    path = Path(url.removeprefix("sqlite:"))
    route = look(path)
    fault = ""
    if route.end is not None:
        try:
            with path.open("rb") as file:
                head = file.read(len(_MAGIC))
        except OSError as problem:
            fault = problem.strerror or str(problem)
        else:
            # an empty file is a database without tables
            fault = "" if head in (b"", _MAGIC) else "the file is no SQLite database"
    return StoreFacts(setting, url, fault, route, runs_as)


def tables_facts(setting: str, address: str, runs_as: Identity | None) -> StoreFacts:
    """Of a store of tables (mailcommon.store): "sqlite:/path" or "postgresql://..."."""
    if address.startswith("sqlite:"):
        return file_facts(setting, address, runs_as)
    from mailcommon.store import StoreFault, open_store  # loads what talks to servers

    store = open_store(address, (), 3.0, create=False)
    try:
        store.reach()
    except StoreFault as fault:
        return StoreFacts(setting, store.name, str(fault).removeprefix(f"{store.name}: "))
    finally:
        store.close()
    return StoreFacts(setting, store.name)
