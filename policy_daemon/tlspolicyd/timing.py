"""How often what is looked at: the numbers behind the life of a policy."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from tlspolicyd.cache.entry import Entry

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds."""

    # The TXT record of a cached policy is looked at when a use comes after its TTL, within these bounds.
    check_least: float = 300.0
    check_most: float = 3600.0
    # For how long "no policy" is the answer without asking again: the TTL of the DNS answer within these bounds.
    negative_least: float = 60.0
    negative_most: float = 600.0
    # RFC 8461 §3.3: five minutes or longer between failed fetches of one id
    retry_least: float = 300.0
    retry_most: float = 3600.0
    # RFC 8461 §3.3: "a suggested refresh frequency is once per day"
    refresh: float = DAY
    # A policy that lives shorter than twice this is refreshed when it is used, not by itself.
    refresh_least: float = 1800.0
    # For how long a refresh may keep its place until it has failed twice lately. Then a try has all the time that a
    # fetch may take (RFC 8461 §3.3 suggests a minute).
    refresh_patience: float = 10.0
    # A policy that no mail has needed for so long is left to expire.
    unused: float = 30 * DAY
    # Between the first two fetches because the policy seems not to fit the domain any more; then twice as long each.
    suspect: float = 600.0
    # How long one host may hold the right to fetch for all that share a store, beyond the time limit of a fetch.
    claim: float = 75.0

    def check_after(self, ttl: float) -> float:
        """When to look at the TXT record of a cached policy again."""
        return min(max(ttl, self.check_least), self.check_most)

    def negative_for(self, ttl: float) -> float:
        """How long no policy is no policy."""
        return min(max(ttl, self.negative_least), self.negative_most)

    def maybe_due(self, entry: Entry, wall: float) -> bool:
        """False if the policy cannot be due for a refresh yet; cheap, for a look at many."""
        return wall >= entry.fetched_at + min(self.refresh, entry.max_age / 2) * 0.75

    def refresh_at(self, domain: str, entry: Entry) -> float:
        """Unix time when the policy is fetched anew: about daily, at half of a shorter life, up to a quarter earlier.

        How much earlier is drawn from the domain and its last fetch: policies that were fetched together drift apart.
        """
        draw = zlib.crc32(f"{domain} {entry.fetched_at}".encode()) / 0xFFFFFFFF
        return entry.fetched_at + min(self.refresh, entry.max_age / 2) * (1.0 - draw / 4)
