"""Does the HELO name lead to the client's address? It is what the client says of itself, so it means nothing without.

Asked only for names that a setting trusts: RFC 8601 registers no result for it.
"""

from __future__ import annotations

from authmilter.facts import Client, HeloFact, IprevResult
from mailcommon.dns.resolver import Resolver


def helo_rdtype(client: Client) -> str:
    """The type of the records in which the client's address would be."""
    return "AAAA" if ":" in client.ip else "A"


def confirm_helo(client: Client, name: str, resolver: Resolver) -> HeloFact:
    """Look `name`, the HELO name in A-labels, up."""
    addresses = resolver.query(helo_rdtype(client), name)
    if addresses.status.failed:
        return HeloFact(IprevResult.TEMPERROR, name)
    return HeloFact(IprevResult.PASS if client.ip in addresses.records else IprevResult.FAIL, name)
