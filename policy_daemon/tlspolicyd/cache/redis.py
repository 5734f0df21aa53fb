"""Policies in Redis or Valkey, shared by several hosts.

One key for each policy, which goes when the policy expires; a revision counter and a list of what changed last, so that
every host sees within seconds what another one fetched; short claims, so that one host fetches for all.

Diagnostics: whatever goes wrong is a `StoreFault`. A server that has forgotten everything sets `lost`.
Limits: one second for each step on the network; the newest 10,000 changes are listed, who missed more loads all again.
Security: what the server says is decoded with the same care as a damaged file.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tlspolicyd.cache.entry import LONGEST_AGE, Entry, restore
from tlspolicyd.cache.store import Row, Store, StoreFault
from tlspolicyd.facts import Mode

_PREFIX = "{tlspolicyd}:"  # braces: all keys on one node of a cluster, as scripts need it
_POLICY = f"{_PREFIX}policy:"
_REVISION, _FLOOR, _CHANGES, _EPOCH = (f"{_PREFIX}{name}" for name in ("revision", "floor", "changes", "epoch"))
_TIMEOUT = 1.0  # seconds
_BATCH = 1000
_LISTED = 10_000
_SKEW = 300  # seconds that clocks of different hosts may differ

# Keys: revision, changes, floor, epoch (drawn by who writes first), then one for each row.
# Arguments: the time, how many changes to list, a new epoch, then for each row its domain, the time of its fetch
# ("" for a forgotten one), the value and its lifetime.
# A policy that another host has fetched later stays, unless it comes from a time that is not yet.
_WRITE = """
local revision = redis.call('INCR', KEYS[1])
redis.call('SET', KEYS[4], ARGV[3], 'NX')
for row = 5, #KEYS do
  local at = 4 + (row - 5) * 4
  local domain, fetched, value, lifetime = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if fetched == '' then
    redis.call('DEL', KEYS[row])
    redis.call('ZADD', KEYS[2], revision, domain)
  else
    local there = redis.call('GET', KEYS[row])
    local newer = there and tonumber(string.match(there, '^%a+ ([%d.]+) '))
    if not (newer and newer > tonumber(fetched) and newer < tonumber(ARGV[1])) then
      redis.call('SET', KEYS[row], value, 'EX', lifetime)
      redis.call('ZADD', KEYS[2], revision, domain)
    end
  end
end
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2])
if over > 0 then
  local last = redis.call('ZRANGE', KEYS[2], over - 1, over - 1, 'WITHSCORES')
  redis.call('SET', KEYS[3], last[2])
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, over - 1)
end
return revision
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisStore(Store):
    """`url` is redis://, rediss:// or unix://, with what redis-py reads from its query; `wall` gives unix time.

    Raises ValueError if the query has what redis-py does not know.
    """

    shared = True
    lasting = True

    def __init__(self, url: str, wall: Callable[[], float]) -> None:
        super().__init__()
        scheme, _, rest = url.partition("://")
        self.name = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"  # without the password
        self._wall = wall
        self._redis: Any = redis.asyncio.Redis.from_url(  # redis-py's types differ from one release to the next
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            max_connections=100,
        )
        pool: Any = self._redis.connection_pool
        try:
            pool.make_connection()  # makes an object and connects to nothing
        except TypeError as fault:
            raise ValueError(f"[cache] store: {self.name}: an option in the URL is not known: {fault}") from None
        self._token = secrets.token_hex(8)  # who holds a claim
        self._seen = 0
        self._epoch: bytes | None = None

    async def load(self) -> AsyncIterator[list[Row]]:
        """See Store."""
        # Read before the rows: what is written meanwhile then counts as a change.
        self.damaged = 0
        revision, self._epoch = await self._ask(self._redis.mget(_REVISION, _EPOCH))
        self._seen = _revision(revision)
        cursor = 0
        while True:
            cursor, keys = await self._ask(self._redis.scan(cursor, match=f"{_POLICY}*", count=_BATCH))
            if keys:
                yield await self._rows([key.decode("ascii", "replace").removeprefix(_POLICY) for key in keys])
            if int(cursor) == 0:
                return

    async def write(self, rows: Sequence[Row], now: float) -> None:
        """See Store; a policy that another host fetched later stays."""
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            keys = [_REVISION, _CHANGES, _FLOOR, _EPOCH, *(_POLICY + domain for domain, _ in part)]
            arguments: list[str | bytes | int | float] = [now + _SKEW, _LISTED, self._token]
            for domain, entry in part:
                arguments += [domain, *_values(entry, now)]
            revision = await self._ask(self._redis.eval(_WRITE, len(keys), *keys, *arguments))
            if self._seen == int(revision) - 1:  # or somebody else wrote in between, and `changes` has to look
                self._seen = int(revision)

    async def changes(self) -> list[Row]:
        """See Store."""
        revision, floor, epoch = await self._ask(self._redis.mget(_REVISION, _FLOOR, _EPOCH))
        newest = _revision(revision)
        if newest < self._seen or (self._epoch is not None and epoch != self._epoch):
            self.lost = True
            self._seen = 0
        self._epoch = epoch
        if newest == self._seen:
            return []
        if _revision(floor) > self._seen:
            return [row async for batch in self.load() for row in batch]
        found = await self._ask(self._redis.zrangebyscore(_CHANGES, f"({self._seen}", newest))
        rows = await self._rows([domain.decode("ascii", "replace") for domain in found])
        self._seen = newest
        return rows

    async def read(self, domain: str) -> Entry | None:
        """See Store."""
        return (await self._rows([domain]))[0][1]

    async def claim(self, domain: str, seconds: float) -> bool:
        """See Store."""
        return bool(
            await self._ask(self._redis.set(f"{_PREFIX}claim:{domain}", self._token, nx=True, px=int(seconds * 1000)))
        )

    async def release(self, domain: str) -> None:
        """See Store."""
        await self._ask(self._redis.eval(_RELEASE, 1, f"{_PREFIX}claim:{domain}", self._token))

    async def note_failure(self, domain: str, record_id: str, text: str, seconds: float) -> None:
        """See Store."""
        await self._ask(self._redis.set(f"{_PREFIX}failed:{domain}:{record_id}", text[:1000], px=int(seconds * 1000)))

    async def failure(self, domain: str, record_id: str) -> str:
        """See Store."""
        found = await self._ask(self._redis.get(f"{_PREFIX}failed:{domain}:{record_id}"))
        return found.decode("utf-8", "replace") if found else ""

    async def close(self) -> None:
        """See Store."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _ask(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (RedisError, OSError) as fault:
            raise StoreFault(f"{self.name}: {fault or type(fault).__name__}") from fault

    async def _rows(self, domains: list[str]) -> list[Row]:
        if not domains:
            return []
        values = await self._ask(self._redis.mget([_POLICY + domain for domain in domains]))
        return [(domain, self._entry(value)) for domain, value in zip(domains, values, strict=True)]

    def _entry(self, value: bytes | None) -> Entry | None:
        if value is None:
            return None
        mode, fetched_at, max_age, used_at, body = (*value.split(b" ", 4), b"", b"", b"", b"")[:5]
        text = mode.decode("ascii", "replace")
        entry = restore(text, body, _number(fetched_at), _whole(max_age), _number(used_at))
        if entry is None or not body:
            self.damaged += 1
            if text == Mode.ENFORCE and entry is None:
                # There is an enforce policy; what it says is lost. It goes when its key does.
                return restore(text, b"", self._wall(), LONGEST_AGE, self._wall())
        return entry


def _values(entry: Entry | None, now: float) -> tuple[str | bytes | int | float, ...]:
    if entry is None:
        return "", b"", 0
    head = f"{entry.mode} {entry.fetched_at:.3f} {entry.max_age} {entry.used_at:.0f} ".encode()
    lifetime = min(max(int(entry.expires_at - now), 1), LONGEST_AGE)
    return f"{entry.fetched_at:.3f}", head + entry.body, lifetime


def _revision(text: bytes | None) -> int:
    """A counter of ours; one that somebody spoiled counts as none, so that all is read and written again."""
    return (_whole(text) or 0) if text else 0


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= 10 else None
