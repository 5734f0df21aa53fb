"""The relatives of an Author Domain: its organization, the policies of both, and which signers are aligned with it.

For checks that build on DMARC (BIMI), after the message has passed: every name asked here has been asked before, or
belongs to the same walk.

Diagnostics: `DomainTree.failed` says which look-up failed; the rest is then worth nothing.
Limits: as in `walk` and `identifiers`.
"""

from __future__ import annotations

from collections.abc import Sequence

from authmilter.dmarc.identifiers import Alignment
from authmilter.dmarc.policy import published
from authmilter.dmarc.walk import Book, find_organization
from authmilter.facts import DmarcFact, DomainTree
from mailcommon.dns.resolver import Resolver


def relatives(fact: DmarcFact, signers: Sequence[str], resolver: Resolver) -> DomainTree:
    """The tree around `fact.author_domain`; `signers` are domains of signatures that passed."""
    author = fact.author_domain
    book = Book(resolver)
    organization = find_organization(author, book).domain
    found = []
    for name in dict.fromkeys((author, organization)):
        record = book.at(name)
        tags = published(record) if record else None
        if tags:
            found.append((name, tags))
    if not found and fact.published:
        found.append((fact.policy_domain, fact.published))  # of the PSD above
    mode = fact.published.adkim if fact.published else "s"
    aligned = tuple(name for name in dict.fromkeys(signers) if Alignment(author, book).first_aligned((name,), mode))
    return DomainTree(author, organization, tuple(found), aligned, ", ".join(book.failed.values()))
