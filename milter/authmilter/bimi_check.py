"""BIMI for one message: what the other checks found goes in, a `BimiFact` comes out.

The one place where DMARC's tree, the selector field and `bimi.evaluate` meet.

Limits: `BimiSettings.seconds` for the DNS and the hosts together, or one second if that is less. No look-up begins in
the second half of it, and none takes longer than a half if `resolver` is made so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from authmilter.bimi import enforcement, selector
from authmilter.bimi.assets import Source
from authmilter.bimi.evaluate import Asked, evaluate
from authmilter.bimi.settings import BimiSettings
from authmilter.budget import Budget
from authmilter.dmarc.relatives import relatives
from authmilter.facts import BimiFact, BimiResult, DkimResult, HeaderField, MessageFacts
from mailcommon.dns.resolver import Resolver
from mailcommon.log import safe_value

_LEAST = 1.0  # seconds for the DNS, however little the hosts get

log = logging.getLogger("authmilter")


def lookup_seconds(settings: BimiSettings) -> float:
    """How long one look-up may take."""
    return max(settings.seconds, _LEAST) / 2


@dataclass(frozen=True, slots=True)
class BimiCheck:
    """BIMI as the settings want it; shared by all messages."""

    settings: BimiSettings
    source: Source
    clock: Callable[[], float]  # seconds, never goes back
    now: Callable[[], float]  # seconds since 1970
    resolver: Resolver | None = None  # one that gives up after `lookup_seconds`; None: that of the message

    def check(self, facts: MessageFacts, fields: Sequence[HeaderField], resolver: Resolver) -> BimiFact:
        """The indicator for a message of which SPF, DKIM and DMARC are known."""
        try:
            return self._check(facts, fields, resolver)
        except Exception:
            log.exception("internal fault in BIMI for %s", safe_value(",".join(facts.author.domains)))
            return BimiFact(BimiResult.TEMPERROR, reason="internal fault")

    def _check(self, facts: MessageFacts, fields: Sequence[HeaderField], resolver: Resolver) -> BimiFact:
        if reason := enforcement.unauthenticated(facts.author, facts.dmarc):
            return BimiFact(BimiResult.SKIPPED, reason=reason)
        began = self.clock()
        impatient = Budget(self.resolver or resolver, self.clock, lookup_seconds(self.settings))
        impatient.begin()
        # RFC 6376 §8.2: to a message with an unsigned end anybody can add what a logo would vouch for
        whole = [fact for fact in facts.dkim if fact.result is DkimResult.PASS and not fact.partial]
        dmarc = facts.dmarc[0]
        tree = relatives(dmarc, [fact.domain for fact in whole], impatient)
        if not (dmarc.spf_aligned or tree.aligned or tree.failed):
            return BimiFact(BimiResult.SKIPPED, reason="no signature of the author covers all of the message")
        chosen = selector.chosen(fields, whole, tree.aligned)
        asked = Asked(tree, chosen, facts.author.addresses[0].rpartition("@")[0])
        until = began + self.settings.seconds
        fact = evaluate(asked, impatient, self.source, self.settings, lambda: until - self.clock(), self.now())
        return replace(fact, ms=(self.clock() - began) * 1000)
