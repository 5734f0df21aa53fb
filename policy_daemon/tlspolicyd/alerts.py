"""What the administrator is told about the policies that are held: which line, and how often.

Diagnostics: nothing raises. Outside text reaches the log through mailcommon.log only.
Limits: 10,000 domains whose lost TXT record was logged are remembered.
"""

from __future__ import annotations

import logging

from mailcommon.log import pairs
from tlspolicyd.cache.entry import Entry
from tlspolicyd.clocks import Clocks
from tlspolicyd.discovery import Found
from tlspolicyd.facts import Mode

_NOTED = 10_000
_JUMP = 3600.0  # seconds between two lines about the clock

_log = logging.getLogger("tlspolicyd")


class Alerts:
    """For the policies of one daemon."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._record_gone: set[str] = set()
        self._jump_logged = float("-inf")

    def refresh_failed(self, domain: str, held: Entry, found: Found) -> None:
        """RFC 8461 §3.3: alert the administrator, unless the mode is none."""
        self._warn("refresh failed, the policy held still applies", domain, held, found)

    def record_gone(self, domain: str, held: Entry, found: Found) -> None:
        """RFC 8461 §3.1: removing the record does not remove a policy that is cached. Said once."""
        if domain in self._record_gone:
            return
        self._warn("no TXT record any more, the policy held still applies", domain, held, found)
        if len(self._record_gone) >= _NOTED:
            self._record_gone.clear()
        self._record_gone.add(domain)

    def record_there(self, domain: str) -> None:
        """Should it go again, that is news."""
        self._record_gone.discard(domain)

    def not_fitting(self, domain: str) -> None:
        """See Policies.suspect."""
        _log.info("sts: %s", pairs(domain=domain, event="the policy held allows no MX host, looking for a newer one"))

    def unreadable(self, domain: str) -> None:
        """The text of an enforce policy is damaged in the store."""
        event = "the enforce policy held cannot be read, fetching it anew"
        _log.error("sts: %s", pairs(event=event, domain=domain))

    def given_up(self, domain: str) -> None:
        """See unreadable.give_up."""
        event = "the enforce policy held cannot be read and has no TXT record any more: it ends within the hour"
        _log.warning("sts: %s", pairs(domain=domain, event=event))

    def clock_went_back(self, domain: str, seconds: int) -> None:
        """A policy was fetched in a time that is not yet."""
        if self._clocks.monotonic() - self._jump_logged > _JUMP:
            self._jump_logged = self._clocks.monotonic()
            _log.warning("sts: %s", pairs(event="the clock went back", domain=domain, seconds=seconds))

    def error(self, domain: str) -> None:
        """A bug: call it while the exception is handled."""
        _log.exception("sts: %s", pairs(domain=domain, event="error"))

    def _warn(self, event: str, domain: str, held: Entry, found: Found) -> None:
        if held.mode is Mode.NONE:
            return
        _log.warning(
            "sts: %s",
            pairs(
                domain=domain,
                event=event,
                mode=held.mode,
                seconds_left=int(held.expires_at - self._clocks.wall()),
                failure=found.failure,
                reason=found.reason,
            ),
        )
