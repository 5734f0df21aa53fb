"""Signs that a mailing list sent a message: List-Id (RFC 2919) or List-Post (RFC 2369), and a domain of the list's own
that was authenticated, by a DKIM signature or by SPF of MAIL FROM.

Security: anybody can write the fields, and anybody can run a list. So this tells that a message is indirect mail, never
that it is honest.
Limits: 1,000 octets of each field, which the caller cuts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from authmilter.facts import DkimResult, MessageFacts, SpfFact, SpfResult
from mailcommon.names import is_subdomain, to_alabel

_LIST_ID = re.compile(r"<\s*([^<>\s@]{1,255})\s*>\s*(?:\([^()]*\)\s*)?\Z")
_POST = re.compile(r"<\s*mailto:[^<>@?\s]{1,255}@([^<>@?\s]{1,255})(?:\?[^<>\s]*)?\s*>", re.IGNORECASE)


def list_domains_of(facts: MessageFacts) -> tuple[str, str]:
    """The list identifier of List-Id and the domain to which List-Post sends, in A-labels; "" where there is none."""
    identifier = _LIST_ID.search(facts.list_id)
    # RFC 2369 §3.4: "NO" says that nobody may post
    post = _POST.search(facts.list_post)
    return (to_alabel(identifier[1]) or "" if identifier else "", to_alabel(post[1]) or "" if post else "")


def list_evidence(facts: MessageFacts) -> str:
    """Which mailing list this came through, "" without authenticated signs of one."""
    identifier, post = list_domains_of(facts)
    if not (identifier or post):
        return ""
    name = identifier or post
    for signature in facts.dkim:
        if signature.result is DkimResult.PASS and _is_of_list(signature.domain, identifier, post):
            return f"mailing list {name}, signed by {signature.domain}"
    for check in facts.spf:
        if check.scope == "mfrom" and check.result is SpfResult.PASS and _is_of_list(check.domain, identifier, post):
            return f"mailing list {name}, sent by {check.domain}"
    return ""


def list_unknown(facts: MessageFacts) -> str:
    """What of this could not be looked up for the moment, "" if all could; only if `list_evidence` found nothing."""
    identifier, post = list_domains_of(facts)
    if (identifier or post) and any(_is_of_list(domain, identifier, post) for domain in _undecided(facts)):
        return f"whether the mailing list {identifier or post} sent this could not be looked up"
    return ""


def _undecided(facts: MessageFacts) -> Iterator[str]:
    yield from (fact.domain for fact in facts.dkim if fact.result is DkimResult.TEMPERROR)
    yield from (fact.domain for fact in facts.spf if fact.scope == "mfrom" and _is_open(fact))


def _is_open(fact: SpfFact) -> bool:
    return fact.undecided or fact.result is SpfResult.TEMPERROR


def _is_of_list(domain: str, identifier: str, post: str) -> bool:
    if "." not in domain:
        return False  # a top-level domain says nothing of a list
    # List-Id is made of a host or domain of the list's owner with labels in front (RFC 2919 §2)
    owner = identifier.partition(".")[2]
    if identifier and (is_subdomain(identifier, domain) or ("." in owner and is_subdomain(domain, owner))):
        return True
    return "." in post and (is_subdomain(post, domain) or is_subdomain(domain, post))
