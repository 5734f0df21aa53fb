"""iprev (RFC 8601 §3): does the client's address have a name that leads back to the address?

The MTA has done these look-ups already: a name that it verified is taken as it is, and costs no query here.
"""

from __future__ import annotations

from authmilter.facts import Client, IprevFact, IprevResult
from mailcommon.dns.resolver import Resolver
from mailcommon.names import reverse_name

_MAX_NAMES = 10  # as RFC 7208 §4.6.4 bounds PTR names


def check_iprev(client: Client, resolver: Resolver) -> IprevFact:
    """The iprev result for the client's address."""
    if client.name:
        return IprevFact(IprevResult.PASS, client.ip, client.name)
    names = resolver.ptr(reverse_name(client.ip))
    if names.status.failed:
        return IprevFact(IprevResult.TEMPERROR, client.ip, reason=f"PTR: {names.status.value}")
    if not names.records:
        return IprevFact(IprevResult.PERMERROR, client.ip, reason="no PTR record")  # RFC 8601 §3: no reverse data
    rdtype = "AAAA" if ":" in client.ip else "A"
    for name in names.records[1:_MAX_NAMES]:
        resolver.start(rdtype, name)
    failed = ""
    for name in names.records[:_MAX_NAMES]:
        addresses = resolver.query(rdtype, name)
        if addresses.status.failed:
            failed = f"{name}: {addresses.status.value}"
        elif client.ip in addresses.records:
            return IprevFact(IprevResult.PASS, client.ip, name)
    if failed:
        return IprevFact(IprevResult.TEMPERROR, client.ip, reason=failed)
    return IprevFact(IprevResult.FAIL, client.ip, reason=f"{names.records[0]} does not lead back to the address")
