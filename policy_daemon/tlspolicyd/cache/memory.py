"""The policies in memory, bounded: what is worth least goes first.

Limits: `limit` counts entries of up to a kilobyte, a larger one counts once per kilobyte. Expired policies go before
mode none, that before testing, then large ones of mode enforce, and the others of mode enforce last; within one kind
the one that was longest unused goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain

from tlspolicyd.cache.entry import Entry
from tlspolicyd.facts import Mode

_EXPIRED = 0
# RFC 8461 §10.2: whoever can make us forget an enforce policy can downgrade the mail
_RANK = {Mode.NONE: 1, Mode.TESTING: 2, Mode.ENFORCE: 4}
_LARGE = 3  # or a few thousand large ones of a stranger's subdomains would drive out every other


class PolicyMemory:
    """Domain -> Entry. Not thread safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._expired: OrderedDict[str, Entry] = OrderedDict()
        self._none: OrderedDict[str, Entry] = OrderedDict()
        self._testing: OrderedDict[str, Entry] = OrderedDict()
        self._large: OrderedDict[str, Entry] = OrderedDict()
        self._enforce: OrderedDict[str, Entry] = OrderedDict()
        self._shelves = (self._expired, self._none, self._testing, self._large, self._enforce)

    def get(self, domain: str) -> Entry | None:
        """The entry, expired or not."""
        # the most valuable ones first: this is on the way of every answer
        return (
            self._enforce.get(domain)
            or self._testing.get(domain)
            or self._none.get(domain)
            or self._large.get(domain)
            or self._expired.get(domain)
        )

    def put(self, domain: str, entry: Entry) -> list[str]:
        """Keep `entry`; returns the domains that had to go for it."""
        self.pop(domain)
        self._shelves[_rank(entry)][domain] = entry
        self._weight += _weight(entry)
        gone = []
        while self._weight > self._limit:
            gone.append(self._drop_one())
        return gone

    def pop(self, domain: str) -> Entry | None:
        """Take the entry out."""
        for shelf in self._shelves:
            entry = shelf.pop(domain, None)
            if entry is not None:
                self._weight -= _weight(entry)
                return entry
        return None

    def use(self, domain: str, entry: Entry) -> None:
        """Note that `entry` was needed; one that was set aside as expired is in force again."""
        shelf = self._shelves[_rank(entry)]
        if domain in shelf:
            shelf.move_to_end(domain)
        elif self._expired.pop(domain, None) is entry:
            shelf[domain] = entry

    def expire(self, domain: str, entry: Entry, now: float) -> None:
        """Set `entry` aside; it is kept for a while, since the clock may be wrong. `now` is monotonic."""
        if self._shelves[_rank(entry)].pop(domain, None) is entry:
            entry.fact = None
            entry.check_at = now
            self._expired[domain] = entry

    def expired_before(self, moment: float) -> list[str]:
        """The domains whose entry was set aside before `moment` (monotonic)."""
        found = []
        for domain, entry in self._expired.items():
            if entry.check_at > moment:
                break
            found.append(domain)
        return found

    def __len__(self) -> int:
        """How many entries there are, expired ones included."""
        return sum(map(len, self._shelves))

    def modes(self) -> dict[str, int]:
        """How many there are by mode, and "expired" for those that are kept although they do not count."""
        return {
            "none": len(self._none),
            "testing": len(self._testing),
            "enforce": len(self._enforce) + len(self._large),
            "expired": len(self._expired),
        }

    def domains(self) -> list[str]:
        """All, in no useful order."""
        return list(chain(*self._shelves))

    def _drop_one(self) -> str:
        shelf = next(shelf for shelf in self._shelves if shelf)
        domain, entry = shelf.popitem(last=False)
        self._weight -= _weight(entry)
        return domain


def _weight(entry: Entry) -> int:
    return 1 + len(entry.body) // 1024


def _rank(entry: Entry) -> int:
    return _LARGE if entry.mode is Mode.ENFORCE and _weight(entry) > 1 else _RANK[entry.mode]
