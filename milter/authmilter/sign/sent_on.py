"""Mail that came from outside and that this host sends on: Sieve's redirect, procmail, a list server, a content filter.

It comes from here, so that it looks like our own. But what we wrote about it when it came in still stands in it, and a
signature must not vouch for what DMARC did not prove then: else anybody could have a forgery signed by sending it to a
user who redirects his mail.

Takes the header as received, gives domains. Pure.
Security: who can write these fields into mail that is not judged is one of our own; what they can bring about is that
mail is not signed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from authmilter.facts import HeaderField
from authmilter.headers.claims import claims
from authmilter.headers.results_reader import parse_results
from mailcommon.names import to_alabel

_RESULTS = b"authentication-results"


def unproven_domains(fields: Sequence[HeaderField], authserv_ids: Collection[str]) -> frozenset[str]:
    """The Author Domains, in A-labels, for which DMARC did not pass by results of ours (`authserv_ids`)."""
    found = set()
    for field in fields:
        if field.name.strip().lower() != _RESULTS or not claims(field.value, authserv_ids):
            continue
        read = parse_results(field.value)
        for result in read.results if read else ():
            if result.method == "dmarc" and result.result != "pass":
                found.add(to_alabel(result.get("header.from")) or "")
    return frozenset(found)
