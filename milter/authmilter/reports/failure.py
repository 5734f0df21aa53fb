"""Which failures are reported (RFC 9991, RFC 9989 §4.7 "fo"), and what is kept of a message for it. Pure.

Never about: mail of our own users; mail that was deferred; what DNS would not tell; mail with the null sender, and mail
that is a report or an automatic answer (reports about reports would go round: RFC 9991 §5.1); records with psd=y, whose
ruf the record reader leaves out (RFC 9991 §2).
Limits: 16 KB of the header; never anything of the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from authmilter.facts import (
    DkimFact,
    DkimResult,
    DmarcFact,
    DmarcResult,
    HeaderField,
    MessageFacts,
    SpfFact,
    SpfResult,
)
from authmilter.verdict import Decision, Verdict
from mailcommon.names import is_subdomain

MAX_HEADER = 16_384  # octets
_FAILED_DKIM = (DkimResult.FAIL, DkimResult.PERMERROR, DkimResult.POLICY, DkimResult.NEUTRAL)
_FAILED_SPF = (SpfResult.FAIL, SpfResult.SOFTFAIL, SpfResult.PERMERROR, SpfResult.NEUTRAL)
_DELIVERED = {Decision.ACCEPT: "delivered", Decision.QUARANTINE: "policy", Decision.REJECT: "reject"}
_MULTIPART_REPORT = re.compile(rb"\s*multipart/report\b", re.IGNORECASE)


class Failure(NamedTuple):
    """One failure, or several that are alike."""

    policy_domain: str
    author_domain: str
    ruf: tuple[str, ...]
    kind: str  # Auth-Failure: dmarc, signature or spf (RFC 6591 §3.3)
    alignment: str  # Identity-Alignment: what failed, or "none" (RFC 9991 §4)
    source_ip: str
    mail_from: str
    delivery: str  # Delivery-Result (RFC 6591 §3.2.2)
    dkim_domain: str  # of the failed signature that is told about, "" for none
    dkim_identity: str
    dkim_selector: str
    spf_domain: str  # "" unless SPF failed
    queue_id: str
    results: str  # value of Authentication-Results
    header: str  # as it came, LF line ends

    @property
    def alike(self) -> tuple[str, ...]:
        """What makes two of them one (RFC 9991 §8.1): the aim is to tell different conditions, not to count."""
        sender = self.mail_from.rpartition("@")[2].lower()
        return (
            *(self.policy_domain, self.author_domain, self.kind, self.alignment, self.source_ip, sender),
            *(self.delivery, self.dkim_domain, self.dkim_selector, self.spf_domain),
        )


def failures(
    facts: MessageFacts, verdict: Verdict, fields: Sequence[HeaderField], results: str, queue_id: str
) -> Iterator[Failure]:
    """One for each Author Domain that wants to know of it."""
    if not facts.judged or verdict.decision is Decision.TEMPFAIL or not facts.mail_from or facts.report:
        return
    wanted = [(fact, kind) for fact in facts.dmarc if (kind := _kind(fact, facts))]
    if not wanted or _automatic(fields):
        return
    header = _text(fields)
    for fact, kind in wanted:
        tags = fact.published
        assert tags
        methods = [("dkim", fact.dkim_aligned), ("spf", fact.spf_aligned)]
        signature = _failed_signature(facts.dkim, fact)
        spf = _failed_spf(facts.spf)
        yield Failure(
            fact.policy_domain,
            fact.author_domain,
            tags.ruf,
            kind,
            # RFC 9991 §4: those "that failed to authenticate an aligned identity", or none
            ", ".join(name for name, aligned in methods if not aligned) or "none",
            facts.client.ip,
            facts.mail_from,
            _DELIVERED[verdict.decision],
            signature.domain if signature else "",
            signature.identity if signature else "",
            signature.selector if signature else "",
            spf.domain if spf else "",
            queue_id,
            results,
            header,
        )


def _kind(fact: DmarcFact, facts: MessageFacts) -> str:
    """RFC 9989 §4.7 fo: the Auth-Failure of the report that is wanted, "" if none is."""
    tags = fact.published
    if not tags or not tags.ruf or fact.result not in (DmarcResult.PASS, DmarcResult.FAIL):
        return ""
    options = tags.fo.split(":")
    if "1" in options and not (fact.dkim_aligned and fact.spf_aligned):
        return "dmarc"
    if "0" in options and not (fact.dkim_aligned or fact.spf_aligned):
        return "dmarc"
    if "d" in options and any(each.result in _FAILED_DKIM for each in facts.dkim):
        return "signature"
    if "s" in options and _failed_spf(facts.spf):
        return "spf"
    return ""


def _failed_signature(signatures: Sequence[DkimFact], fact: DmarcFact) -> DkimFact | None:
    """The failed signature that matters most: that of the Author Domain or its organization, else any."""
    failed = [each for each in signatures if each.result in _FAILED_DKIM and each.domain and each.selector]
    own = [
        each
        for each in failed
        if is_subdomain(each.domain, fact.policy_domain) or is_subdomain(fact.author_domain, each.domain)
    ]
    return next(iter(own or failed), None)


def _failed_spf(checks: Sequence[SpfFact]) -> SpfFact | None:
    return next((each for each in checks if each.scope == "mfrom" and each.result in _FAILED_SPF), None)


def _automatic(fields: Sequence[HeaderField]) -> bool:
    for name, value in fields:
        lower = name.lower()
        if lower == b"auto-submitted" and value.strip().lower() != b"no":  # RFC 3834 §2
            return True
        if lower == b"content-type" and _MULTIPART_REPORT.match(value):  # RFC 6522 §3
            return True
    return False


def _text(fields: Sequence[HeaderField]) -> str:
    lines, size = [], 0
    for name, value in fields:
        size += len(name) + len(value) + 3
        if size > MAX_HEADER:
            break
        lines.append((name + b":" + value).decode("utf-8", "replace").replace("\r\n", "\n"))
    return "".join(f"{line}\n" for line in lines)
