"""`[trust] arc_sealers`: did a sealer that the operator trusts see DMARC pass for this Author Domain (RFC 8617 §7.2.1)?

The sets of a chain are gone through from the newest down, for as long as the sealer is trusted. The first of them whose
ARC-Authentication-Results says so is the evidence: that sealer saw the message authenticated, and only trusted ones
have sealed it since. What an untrusted sealer, or anybody before him, wrote counts for nothing: he can have changed the
message, and written the results himself or copied older sets from another one. The newest signature over the message
(AMS) has passed, or the chain would not: it is as the newest sealer let it go.

A set says so if it can be read as a whole, and
- every dmarc= in it is pass, and one of them names the Author Domain in its only header.from; or
- it has no dmarc=, and dkim=pass has the Author Domain as header.d, or spf=pass as the domain of smtp.mailfrom. Only
  the same domain counts then: what else is aligned would have to be looked up.

Security: a seal is only as good as its sealer. One that writes outside text into its results without quoting it can be
made to say more; a contradiction, a second property of the name or a field that cannot be read is taken as nothing.
Limits: 50 sets (RFC 8617 §4.2.1), those of `headers.results_reader` for each.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from authmilter.facts import ArcFact, ArcResult, DmarcResult, MessageFacts
from authmilter.headers.results_reader import MethodResult, read_results
from authmilter.verdict import SealedPass
from mailcommon.names import to_alabel


class Sealers:
    """The domains of the setting, which have been validated. d= of a seal has to be one of them, not below one."""

    def __init__(self, domains: Iterable[str]) -> None:
        self._domains = frozenset(to_alabel(domain) or domain for domain in domains)

    def passes(self, facts: MessageFacts) -> Mapping[str, SealedPass]:
        """The Author Domains that fail here and for which a trusted sealer saw DMARC pass."""
        passed = facts.arc is not None and facts.arc.result is ArcResult.PASS
        return self._said(facts) if passed else {}

    def unknown(self, facts: MessageFacts) -> str:
        """What of this could not be looked up for the moment, "" if all could."""
        # RFC 8617 §5.2.1 counts a failed look-up as a broken chain; DNS must not be what rejects mail
        if facts.arc and facts.arc.undecided and self._said(facts):
            return f"whether trusted ARC sealers sealed this could not be looked up ({facts.arc.reason})"
        return ""

    def _said(self, facts: MessageFacts) -> dict[str, SealedPass]:
        """What the sets say, if it was the sealers that wrote them."""
        # RFC 9989 §11.5: what is read out of a broken From may count against the message, never for it
        if not self._domains or facts.arc is None or facts.author.problem:
            return {}
        failed = [fact.author_domain for fact in facts.dmarc if fact.result is DmarcResult.FAIL]
        found = {domain: self._evidence(facts.arc, domain) for domain in failed}
        return {domain: evidence for domain, evidence in found.items() if evidence}

    def _evidence(self, arc: ArcFact, author_domain: str) -> SealedPass | None:
        since: dict[str, None] = {}
        for arc_set in reversed(arc.sets):
            if arc_set.domain not in self._domains:
                return None
            since[arc_set.domain] = None
            if _says_pass(arc_set.claims, author_domain):
                reason = (
                    f"ARC: {arc_set.domain} saw DMARC pass for {author_domain} at instance {arc_set.instance}; "
                    f"sealed from there on by {', '.join(reversed(since))}"
                )
                return SealedPass(reason, self._comment(arc))
        return None

    def _comment(self, arc: ArcFact) -> str:
        """What RFC 8617 §7.2.2 wants in the reason of a report, the newest set first."""
        words = ["arc=pass"]
        words += [
            f"as[{one.instance}].d={one.domain} as[{one.instance}].s={to_alabel(one.selector) or '?'}"
            for one in reversed(arc.sets)
        ]
        first = arc.sets[0]
        if first.domain in self._domains and (address := _remote_ip(first.claims)):
            words.append(f"remote-ip[{first.instance}]={address}")
        return " ".join(words)


def _says_pass(claims: str, author_domain: str) -> bool:
    field = read_results(claims)
    if field is None or field.version != 1:
        return False
    dmarc = [result for result in field.results if result.method == "dmarc"]
    if dmarc:
        return all(result.result == "pass" for result in dmarc) and any(
            _only(result, "header.from") == author_domain for result in dmarc
        )
    spf = [result for result in field.results if result.method == "spf" and result.get("smtp.mailfrom")]
    if any(_only(result, "smtp.mailfrom") == author_domain for result in spf) and all(
        result.result == "pass" for result in spf
    ):
        return True
    return any(
        result.method == "dkim" and result.result == "pass" and _only(result, "header.d") == author_domain
        for result in field.results
    )


def _only(result: MethodResult, name: str) -> str:
    """The domain in a property that stands there once, in A-labels; "" otherwise."""
    values = [found.value for found in result.properties if f"{found.ptype}.{found.name}" == name]
    if len(values) != 1:
        return ""
    # a local part may be anything; for a domain alone the whole value has to be one
    text = values[0].rpartition("@")[2] if name == "smtp.mailfrom" else values[0]
    return to_alabel(text) or ""


def _remote_ip(claims: str) -> str:
    field = read_results(claims)
    for result in field.results if field else ():
        if text := result.get("smtp.remote-ip"):
            try:
                return str(ipaddress.ip_address(text))
            except ValueError:
                continue
    return ""
