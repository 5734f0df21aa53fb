"""BIMI for one message: what the other checks found goes in, a `BimiFact` comes out.

The one place where DMARC's tree, the selector field and `bimi.evaluate` meet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from authmilter.bimi import enforcement, selector
from authmilter.bimi.assets import Source
from authmilter.bimi.evaluate import Asked, evaluate
from authmilter.bimi.settings import BimiSettings
from authmilter.dmarc.relatives import relatives
from authmilter.facts import BimiFact, BimiResult, DkimResult, HeaderField, MessageFacts
from mailcommon.dns.resolver import Resolver
from mailcommon.log import safe_value

log = logging.getLogger("authmilter")


@dataclass(frozen=True, slots=True)
class BimiCheck:
    """BIMI as the settings want it; shared by all messages."""

    settings: BimiSettings
    source: Source
    clock: Callable[[], float]  # seconds, never goes back
    now: Callable[[], float]  # seconds since 1970

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
        signers = [fact.domain for fact in facts.dkim if fact.result is DkimResult.PASS and fact.domain]
        tree = relatives(facts.dmarc[0], signers, resolver)
        asked = Asked(
            tree, selector.chosen(fields, facts.dkim, tree.aligned), facts.author.addresses[0].rpartition("@")[0]
        )
        return evaluate(asked, resolver, self.source, self.settings, self.clock, self.now())
