"""DMARC for one Author Domain (RFC 9989 §5.3): facts of SPF and DKIM and a resolver in, a `DmarcFact` out.

What happens if a look-up failed (RFC 9989 §5.3.6 leaves the details open):

| failed                               | result                                                             |
|--------------------------------------|--------------------------------------------------------------------|
| record of the Author Domain          | temperror                                                          |
| any other record of a walk           | what all records that could be there would lead to, else temperror |
| existence of the Author Domain       | matters only if the message fails and np differs from sp           |
| SPF or a key, the domain is aligned  | temperror unless something else is aligned                         |
| SPF or a key of a stranger           | nothing: it could not have made a difference                       |

The last two rows keep a sender from turning a fail into a temperror by breaking a domain of his own.

Limits: 8 look-ups per walk, `MAX_WALKS` identifiers, `_MAX_CASES` cases of failed look-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from authmilter.dmarc.identifiers import MAX_WALKS, Alignment, Identifiers, identifiers
from authmilter.dmarc.policy import applied_policy, discover, objection, published
from authmilter.dmarc.record import Record
from authmilter.dmarc.walk import PREFIX, Book, walk_names
from authmilter.facts import DkimFact, DmarcFact, DmarcResult, Policy, PublishedPolicy, SpfFact
from mailcommon.dns.resolver import Resolver
from mailcommon.names import to_alabel

# What may be at a name that could not be looked up, as far as a walk can tell; the order does not matter after None
_ASSUMED = "assumed"
_POSSIBLE = (None, Record(fault=_ASSUMED), Record(psd="n", fault=_ASSUMED), Record(psd="y", fault=_ASSUMED))
_MAX_CASES = 100


class _Outcome(NamedTuple):
    result: DmarcResult
    reason: str = ""
    domain: str = ""  # the policy domain
    tags: PublishedPolicy | None = None
    policy: Policy = Policy.NONE
    spf: str = ""  # the aligned domain
    dkim: str = ""
    note: str = ""

    @property
    def key(self) -> tuple[DmarcResult, Policy]:
        """What must be the same in all cases."""
        return self.result, self.policy if self.result is DmarcResult.FAIL else Policy.NONE


def names_to_start(author_domains: Sequence[str], spf_domain: str, dkim_domains: Sequence[str]) -> list[str]:
    """The TXT names to begin looking up when the header has been read, the most needed first.

    All of the walk from each Author Domain. Of SPF and DKIM domains only those that share more than a top-level domain
    with an author: others are hardly ever asked for.
    """
    names: dict[str, None] = {}
    for author in author_domains:
        names |= dict.fromkeys(walk_names(author))
    shared = {name for name in names if "." in name}
    for domain in [spf_domain, *dkim_domains][: MAX_WALKS + 1]:
        if domain and not shared.isdisjoint(walk_names(domain)):
            names |= dict.fromkeys(walk_names(domain))
    return [PREFIX + name for name in names]


def evaluate(author_domain: str, spf: Sequence[SpfFact], dkim: Sequence[DkimFact], resolver: Resolver) -> DmarcFact:
    """The DMARC result of a message for one Author Domain."""
    author = to_alabel(author_domain)
    if author is None:
        return DmarcFact(DmarcResult.PERMERROR, author_domain, reason="the Author Domain is no usable name")
    book = Book(resolver)
    found = identifiers(spf, dkim)
    outcome = _conclude(author, found, book)
    if outcome is None or book.failed:
        outcome = _conclude_anyway(author, found, book)
    reason = outcome.reason or _reason(outcome, spf, dkim, found)
    error = ""
    if outcome.note or book.faults:
        faults = (f"{PREFIX}{name} does not count: {fault}" for name, fault in book.faults.items())
        error = "; ".join(filter(None, (outcome.note, *faults)))
        reason = "; ".join(filter(None, (reason, error)))
    return DmarcFact(
        outcome.result,
        author,
        outcome.domain,
        outcome.policy,
        outcome.tags,
        bool(outcome.spf),
        bool(outcome.dkim),
        reason,
        error,
    )


def _conclude(author: str, found: Identifiers, book: Book) -> _Outcome | None:
    """The outcome if the book is right; None if it hangs on the content of a record that is only assumed."""
    discovery = discover(author, book)
    alignment = Alignment(author, book)
    if discovery is None:
        return _Outcome(DmarcResult.NONE, f"no DMARC record for {author}")
    domain, record, own = discovery
    if record.fault == _ASSUMED:
        spf, dkim = (author if author in domains else "" for domains in (found.spf, found.dkim))
        return _Outcome(DmarcResult.PASS, spf=spf, dkim=dkim) if spf or dkim else None
    tags = published(record)
    if tags is None:
        # RFC 9989 §4.10.1: "the Mail Receiver applies no DMARC processing to this message"
        result = DmarcResult.PERMERROR if record.invalid & {"p", "sp", "np"} else DmarcResult.NONE
        return _Outcome(result, f"the record of {domain} does not apply: {objection(record)}", domain)
    note = f"the record of {domain} stands for p=none: {wrong}" if (wrong := objection(record)) else ""
    spf = alignment.first_aligned(found.spf, tags.aspf)
    dkim = alignment.first_aligned(found.dkim, tags.adkim)
    policy = applied_policy(tags, own, lambda: book.exists(author))
    if spf or dkim:
        return _Outcome(DmarcResult.PASS, "", domain, tags, policy, spf, dkim, note)  # RFC 9989 §5.3.5
    undecided = Alignment(author, book)
    for method, domains, mode in (
        ("SPF", found.undecided_spf, tags.aspf),
        ("the DKIM key", found.undecided_dkim, tags.adkim),
    ):
        if domains and (aligned := undecided.first_aligned(domains, mode)):
            # RFC 9989 §5.3.6: with a look-up missing the message neither passes nor fails
            return _Outcome(
                DmarcResult.TEMPERROR, f"{method} of {aligned} could not be looked up", domain, tags, policy
            )
    return _Outcome(DmarcResult.FAIL, "", domain, tags, policy, note=note)


def _conclude_anyway(author: str, found: Identifiers, book: Book) -> _Outcome:
    """The outcome that all possible answers to the failed look-ups lead to; temperror if they lead to several."""
    failed = book.failed
    unknown = _Outcome(DmarcResult.TEMPERROR, "look-up failed: " + ", ".join(failed.values()))
    if author in failed:
        return unknown
    if own := book.at(author):
        tags = published(own)
        unknown = unknown._replace(domain=author, tags=tags)
        if tags:
            unknown = unknown._replace(policy=applied_policy(tags, True, lambda: True))
    first: _Outcome | None = None
    cases: list[dict[str, Record | None]] = [{}]
    for _ in range(_MAX_CASES):
        if not cases:
            break
        assumed = cases.pop()
        book.assume(assumed)
        outcome = _conclude(author, found, book)
        if book.failed:
            name = next(iter(book.failed))
            cases += ({**assumed, name: record} for record in reversed(_POSSIBLE))
        elif outcome is None or (first and outcome.key != first.key):
            return unknown
        elif first:
            first = first._replace(spf=outcome.spf and first.spf, dkim=outcome.dkim and first.dkim)
        else:
            first = outcome
    return unknown if cases or first is None else first


def _reason(outcome: _Outcome, spf: Sequence[SpfFact], dkim: Sequence[DkimFact], found: Identifiers) -> str:
    """For people: what was aligned, or why nothing was."""
    if outcome.result is DmarcResult.PASS:
        parts = []
        if outcome.spf:
            parts.append(f"SPF for {outcome.spf}")
        if outcome.dkim:
            parts.append(f"DKIM for {outcome.dkim}")
        return f"aligned: {' and '.join(parts)}"
    if found.spf:
        text = f"SPF passed for {', '.join(found.spf)}, not aligned; "
    else:
        word = next((fact.result.value for fact in spf if fact.scope == "mfrom"), "")
        text = f"SPF gave {word}; " if word else "SPF was not checked; "
    if found.dkim:
        return f"{text}DKIM passed for {', '.join(found.dkim[:3])}, not aligned"
    signed = any(fact.domain for fact in dkim)
    return text + ("no DKIM signature passed" if signed else "there is no DKIM signature")
