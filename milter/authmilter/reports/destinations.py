"""Where reports of a policy go: the URIs of its record, those outside of its organization only if they agree
(RFC 9990 §4).

The same for "rua" and "ruf". Answers are cached by the resolver for their TTL.
Diagnostics: `Destinations.unknown` if DNS failed for the moment; ask again later.
Limits: `limit` destinations; for each a tree walk of eight names and one more query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from authmilter.dmarc.record import Record, parse
from authmilter.dmarc.walk import PREFIX, Book, find_organization, walk_names
from mailcommon.dns.answer import Status
from mailcommon.dns.resolver import Resolver
from mailcommon.names import to_alabel
from mailcommon.outbox import usable_address

_REPORT = "_report._dmarc."


@dataclass(frozen=True, slots=True)
class Destinations:
    """`uris`: where to send. `refused`: what is left out, and why. `unknown`: what could not be looked up."""

    uris: tuple[str, ...]
    refused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def start(resolver: Resolver, policy_domain: str, uris: Sequence[str], limit: int) -> None:
    """Begin the look-ups of `verify`, so that it waits less."""
    for uri in uris[:limit]:
        host = _host(uri)
        if host and host != policy_domain:
            for name in (*walk_names(host), *walk_names(policy_domain)):
                resolver.start("TXT", PREFIX + name)
            resolver.start("TXT", f"{policy_domain}.{_REPORT}{host}")


def verify(resolver: Resolver, policy_domain: str, uris: Sequence[str], limit: int, tag: str = "rua") -> Destinations:
    """Which of `uris` ("mailto:...", in order) get the reports about `policy_domain`, the name that has the record.

    tag: "rua" or "ruf".
    """
    good: dict[str, None] = {}
    refused: list[str] = []
    unknown: list[str] = []
    for uri in uris:
        host = _host(uri)
        if not host:
            refused.append(f"{uri}: mail cannot be sent there")
            continue
        if len(good) >= limit:
            refused.append(f"{uri}: only the first {limit} are taken")
            continue
        found = _verify(resolver, policy_domain, uri, host, tag)
        if isinstance(found, str):
            (unknown if found.startswith("?") else refused).append(f"{uri}: {found.removeprefix('?')}")
        else:
            good |= dict.fromkeys(found)
    return Destinations(tuple(good)[:limit], tuple(refused), tuple(unknown))


def _host(uri: str) -> str:
    return usable_address(uri).rpartition("@")[2]


def _verify(resolver: Resolver, policy_domain: str, uri: str, host: str, tag: str) -> tuple[str, ...] | str:
    """The destinations that `uri` stands for, or why it is left out; "?" in front: for the moment."""
    own = _same_organization(resolver, policy_domain, host)
    if own is None:
        return f"?the organization of {host} could not be looked up"
    if own:
        return (uri,)
    # RFC 9990 §4 step 3: the name that the record was retrieved from, not the Author Domain
    name = f"{policy_domain}.{_REPORT}{host}"
    if to_alabel(name) is None:
        return "the name that would have to agree is too long"  # RFC 9990 §4 step 4
    answer = resolver.txt(name)
    if answer.status.failed:
        return f"?{name} could not be looked up"
    records = [record for txt in answer.records if (record := parse(txt)) and not record.fault]
    if answer.status is not Status.OK or not records:
        return f"{host} does not agree to it: {name} has no record"  # RFC 9990 §4 step 7
    other = _override(records, tag)
    if not other:
        return (uri,)
    if any(_host(each) != host for each in other):
        # RFC 9990 §4: "MUST NOT generate a report to either the original or the override URI"
        return f"{name} sends reports on to another host"
    return other


def _override(records: Sequence[Record], tag: str) -> tuple[str, ...]:
    """RFC 9990 §4 step 9: what the record of the destination puts in the place of the URI."""
    for record in records:
        uris = record.rua if tag == "rua" else record.ruf
        if uris.valid:
            return uris.usable
    return ()


def _same_organization(resolver: Resolver, policy_domain: str, host: str) -> bool | None:
    """None if it cannot be told for the moment."""
    if policy_domain == host:
        return True
    book = Book(resolver)
    same = find_organization(policy_domain, book).domain == find_organization(host, book).domain
    return None if book.failed else same
