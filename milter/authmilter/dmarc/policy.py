"""Policy discovery and the policy that applies (RFC 9989 §4.7, §4.10.1). Pure: records come from a `Records`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from authmilter.dmarc.record import Record
from authmilter.dmarc.walk import Records, find_organization, walk_names
from authmilter.facts import Policy, PublishedPolicy

_STEP_DOWN = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE, Policy.NONE: Policy.NONE}


class Discovery(NamedTuple):
    """The record that applies to an Author Domain."""

    domain: str  # the policy domain, where the record is
    record: Record
    own: bool  # the policy domain is the Author Domain


def discover(author: str, records: Records) -> Discovery | None:
    """The record of the Author Domain, of its Organizational Domain, or of the PSD above that; None without any.

    Nothing between them is used (RFC 9989 §4.10.1). The names asked are those of one walk from the Author Domain,
    which are the ones that the RFC wants, as its walk from the parent goes on where the first query ended.
    """
    own = records.at(author)
    if own is not None:
        return Discovery(author, own, own=True)
    organization = find_organization(author, records)
    # an Organizational Domain of eight labels, cut out by a PSD of seven, was not asked and is not asked now
    for name in (organization.domain, organization.psd):
        if name in walk_names(author) and (record := records.at(name)) is not None:
            # RFC 9989 §4.10.1 note: the PSD's record is not used if the Organizational Domain has one
            return Discovery(name, record, own=False)
    return None


def objection(record: Record) -> str:
    """Why the record has no policy that could be taken (RFC 9989 §4.10.1), "" if it has one."""
    wrong = sorted(record.invalid & {"p", "sp", "np"})
    if wrong:
        return f"its {' and '.join(wrong)} cannot be read"
    return "" if record.p else "it has no p"


def published(record: Record) -> PublishedPolicy | None:
    """The tags of the record as they are to be taken; None if DMARC does not apply because of it."""
    sp, np = record.sp, record.np
    policy = record.p
    if policy is None or record.invalid & {"sp", "np"}:
        # RFC 9989 §4.10.1: such a record stands for p=none if somebody wants reports, else for nothing
        if not record.rua.valid:
            return None
        policy, sp, np = Policy.NONE, None, None
    return PublishedPolicy(
        policy,
        sp,
        np,
        record.adkim,
        record.aspf,
        record.fo,
        record.psd,
        record.t,
        record.rua.usable,
        () if record.psd == "y" else record.ruf.usable,  # RFC 9991 §2: no failure reports for a PSD
        record.pct,
    )


def applied_policy(tags: PublishedPolicy, own: bool, exists: Callable[[], bool]) -> Policy:
    """What the owner asks for, after sp, np and t; `exists`, does the Author Domain, is asked only if it matters."""
    policy = tags.p
    if not own:
        # RFC 9989 §4.10.1: sp for a subdomain that exists, np for one that does not; §4.7: np, else sp, else p
        policy = tags.sp or tags.p
        if tags.np is not None and tags.np is not policy and not exists():
            policy = tags.np
    return _STEP_DOWN[policy] if tags.testing else policy  # RFC 9989 §4.7: t=y, "one level below"
