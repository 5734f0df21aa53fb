"""Both kinds of store for a test: `Stores` gives fresh ones at the same address again and again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mailcommon.store import Schema, Store, open_store
from tests.support.postgres import PrivatePostgres, missing
from tests.support.requirements import require

KINDS = ("sqlite", "postgresql")


class Stores:
    """One place for a store; each `open` is another process or host as far as the store can tell."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._open: list[Store] = []

    def open(self, schemas: Sequence[Schema], seconds: float = 5.0) -> Store:
        """A store of its own connection; closed with the test."""
        store = open_store(self.address, schemas, seconds)
        self._open.append(store)
        return store

    def close(self) -> None:
        """Close all of them."""
        for store in self._open:
            store.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """One server for all tests."""
    require(missing())
    with PrivatePostgres() as server:
        yield server


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """A fresh place of each kind."""
    if request.param == "sqlite":
        place = Stores(f"sqlite:{tmp_path}/store.db")
    else:
        server: PrivatePostgres = request.getfixturevalue("postgres")
        place = Stores(server.url(f"t{secrets.token_hex(6)}"))
    yield place
    place.close()
