"""What a store of policies can do, and which one a settings value means.

A store is only ever behind the memory: its methods are awaited in the background or on first contact with a domain,
never for an answer that is known. The methods here are those of `memory:`, which keeps nothing.

Diagnostics: `StoreFault` with a text for people; the caller goes on from memory and tries again later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from tlspolicyd.cache.entry import Entry

Row = tuple[str, Entry | None]  # a domain; None: forgotten


class StoreFault(Exception):
    """The store cannot be read or written just now."""


class Store:
    """`shared`: other hosts use it too, so that one should fetch for all. `lasting`: it outlives the daemon."""

    shared = False
    lasting = False
    name = "memory:"

    def __init__(self) -> None:
        # What was written before is gone (damaged, emptied): whoever has it in memory should write it again.
        self.lost = False
        self.damaged = 0  # rows that could not be read when loading

    async def load(self) -> AsyncIterator[list[Row]]:
        """All that is kept, in batches."""
        nothing: tuple[list[Row], ...] = ()
        for batch in nothing:
            yield batch

    async def write(self, rows: Sequence[Row], now: float) -> None:
        """Keep, or forget, each row: all of them or none. `now` is unix time."""

    async def changes(self) -> list[Row]:
        """What others have written since the last call or since `load`; cheap if nothing."""
        return []

    async def purge(self, now: float) -> None:
        """Clear up what nobody needs any more; about once an hour."""

    async def read(self, domain: str) -> Entry | None:  # noqa: ARG002 - for stores that others write to
        """What is kept of one domain."""
        return None

    async def claim(self, domain: str, seconds: float) -> bool:  # noqa: ARG002 - as above
        """Whether this host may fetch for all; the claim ends by itself after `seconds`."""
        return True

    async def release(self, domain: str) -> None:
        """Give the claim back."""

    async def note_failure(self, domain: str, record_id: str, text: str, seconds: float) -> None:
        """Tell the other hosts that a fetch failed, and for how long there is no use in trying."""

    async def failure(self, domain: str, record_id: str) -> str:  # noqa: ARG002 - as above
        """What another host noted, "" if nothing."""
        return ""

    async def close(self) -> None:
        """Let go of files and connections."""


def open_store(url: str, wall: Callable[[], float], *, mend: bool = True) -> Store:
    """The store of the setting [cache] store; nothing is opened yet. Raises ValueError.

    `mend`: create what is missing and set aside what is damaged, as the daemon does.
    """
    if url == "memory:":
        return Store()
    if url.startswith("sqlite:/"):
        from tlspolicyd.cache.sqlite import SqliteStore

        return SqliteStore(url.removeprefix("sqlite:"), mend=mend)
    if url.startswith(("redis://", "rediss://", "unix://")):
        # imported here: the library takes a while, and most hosts do without it
        from tlspolicyd.cache.redis import RedisStore

        return RedisStore(url, wall)
    raise ValueError(f'{url!r} is none of "sqlite:/path", "redis://HOST:PORT/NUMBER", "memory:"')
