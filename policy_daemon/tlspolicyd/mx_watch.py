"""Whether the policies that answers are made of still allow a domain's MX hosts, looked at beside the answers.

RFC 8461 §5: no mail is to fail for good before a newer policy was looked for; some domains move their mail, change the
policy and forget to change the id. So a cached policy of mode enforce that allows none of the MX hosts is handed to
`suspect`. Where DANE is looked up the hosts are at hand; elsewhere one MX question is asked in the background.

Diagnostics: nothing raises. An MX look-up that fails, or names no host, says nothing about a policy.
Limits: one MX question for a domain in five minutes to an hour, as its TTL says; 50 under way at a time, beyond them
the look is left to a later answer; `entries` domains are remembered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import cachetools

from mailcommon.dns.async_resolver import AsyncResolver
from mailcommon.log import pairs
from tlspolicyd.dane.lookup import look_up
from tlspolicyd.facts import Facts, Mode, MxHost, Policy
from tlspolicyd.sts.policy import match_mx
from tlspolicyd.timing import Timing

_AT_ONCE = 50
_SECONDS = 10.0  # for one look-up

_log = logging.getLogger("tlspolicyd")


class MxWatch:
    """`suspect(domain)`: the policy held does not fit the MX hosts. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        resolver: AsyncResolver,
        suspect: Callable[[str], None],
        *,
        timing: Timing | None = None,
        entries: int = 50_000,
        at_once: int = _AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._suspect = suspect
        self._timing = timing or Timing()
        self._at_once = at_once
        self._clock = clock
        # domain -> when its MX records are worth a question again
        self._again_at: cachetools.LRUCache[str, float] = cachetools.LRUCache(entries)
        self._looks: set[asyncio.Task[None]] = set()

    def answered(self, facts: Facts) -> None:
        """An answer was made of `facts`. Returns at once."""
        policy = facts.sts.policy
        # a policy that was fetched for this answer is the newest
        if policy is None or policy.mode is not Mode.ENFORCE or not facts.sts.cached:
            return
        if facts.dane.enabled:
            self._compare(facts.domain, policy, facts.dane.hosts)
            return
        now = self._clock()
        if now < self._again_at.get(facts.domain, now) or len(self._looks) >= self._at_once:
            return
        self._again_at[facts.domain] = now + self._timing.check_least
        look = asyncio.get_running_loop().create_task(self._look(facts.domain, policy))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def close(self) -> None:
        """Give up the looks under way."""
        looks = list(self._looks)
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    async def _look(self, domain: str, policy: Policy) -> None:
        try:
            found = await look_up(self._resolver, domain, seconds=_SECONDS, tlsa=False)
            self._again_at[domain] = self._clock() + self._timing.check_after(found.expires_in)
            self._compare(domain, policy, found.hosts)
        except Exception:  # noqa: BLE001 - a bug here must not end the watching for ever
            _log.exception("mx: %s", pairs(domain=domain, event="error"))

    def _compare(self, domain: str, policy: Policy, hosts: Iterable[MxHost]) -> None:
        names = [host.name for host in hosts]
        if names and not any(match_mx(policy.mx, name) for name in names):
            self._suspect(domain)
