"""All that is known of one message besides DMARC, put together."""

from __future__ import annotations

from authmilter.facts import MessageFacts
from authmilter.knowledge.forwarders import Forwarders
from authmilter.knowledge.lists import list_evidence, list_unknown
from authmilter.knowledge.sealers import Sealers
from authmilter.verdict import Knowledge
from mailcommon.names import is_subdomain


def knowledge_of(facts: MessageFacts, forwarders: Forwarders, sealers: Sealers, deferred_for: float = 0.0) -> Knowledge:
    """Everything for one message; `deferred_for` is in seconds."""
    return Knowledge(
        forwarders.match(facts),
        sealers.passes(facts),
        list_evidence(facts),
        unknown_for_now(facts, forwarders, sealers),
        deferred_for,
    )


def unknown_for_now(facts: MessageFacts, forwarders: Forwarders, sealers: Sealers) -> str:
    """What besides DMARC cannot be told because a look-up failed for the moment, "" if all can."""
    return forwarders.unknown(facts) or sealers.unknown(facts) or list_unknown(facts) or _unknown_client_names(facts)


def _unknown_client_names(facts: MessageFacts) -> str:
    for fact in facts.spf:
        if (
            fact.undecided
            and fact.scope == "mfrom"
            and any(_one_tree(fact.domain, name) for name in facts.author.domains)
        ):
            return f"the client's names, which the SPF record of {fact.domain} asks for, could not be looked up"
    return ""


def _one_tree(one: str, other: str) -> bool:
    return is_subdomain(one, other) or is_subdomain(other, one)
