"""What mail must bring before BIMI is looked at (BIMI core §7.1). Pure: DMARC's facts in, a reason or "" out."""

from __future__ import annotations

from collections.abc import Sequence

from authmilter.facts import Author, DmarcFact, DmarcResult, DomainTree, Policy


def unauthenticated(author: Author, dmarc: Sequence[DmarcFact]) -> str:
    """Why the message does not qualify, "" if it does as far as DMARC's result tells."""
    if author.problem or len(author.addresses) != 1 or len(dmarc) != 1:
        return "From does not hold exactly one address"  # BIMI core §7.1 step 1
    fact = dmarc[0]
    if fact.result is not DmarcResult.PASS:
        return f"DMARC gave {fact.result}"  # step 6
    if fact.published is None or fact.policy is Policy.NONE:
        return f"the DMARC policy of {fact.author_domain} is none"  # after sp, np and t
    return ""


def lax(tree: DomainTree) -> str:
    """Which policy of the domain or its organization does not enforce, "" if all do (BIMI core §7.1 steps 7 to 9)."""
    for domain, tags in tree.policies:
        if tags.p is Policy.NONE:
            return f"the DMARC policy of {domain} is none"
        if tags.sp is Policy.NONE:
            return f"the DMARC policy of {domain} for its subdomains is none"
        if tags.testing and tags.p is Policy.QUARANTINE:
            # RFC 9989 §4.7: t=y takes a policy one step down, so that nothing is enforced; the drafts have only pct
            return f"the DMARC policy of {domain} is quarantine in test mode"
        if tags.p is Policy.QUARANTINE and tags.pct != 100:
            return f"the DMARC policy of {domain} is quarantine for a part of its mail (pct)"
    return ""
