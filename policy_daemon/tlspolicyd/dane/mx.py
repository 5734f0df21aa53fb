"""An MX answer read as the hosts that take the domain's mail. Pure; nothing raises.

Limits: 20 hosts, those that are tried first; Postfix tries five addresses (smtp_mx_address_limit).
Standards: RFC 5321 §5.1, RFC 7505, RFC 7672 §2.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailcommon.dns.answer import Answer, Mx, Status
from mailcommon.names import to_alabel

MAX_HOSTS = 20


@dataclass(frozen=True, slots=True)
class Targets:
    """`hosts`: preference and name, each name once, by preference."""

    hosts: tuple[tuple[int, str], ...] = ()
    failed: bool = False  # nothing is known
    null: bool = False
    implicit: bool = False


def targets(domain: str, answer: Answer[Mx]) -> Targets:
    """Where mail for `domain` goes."""
    if answer.status.failed:
        return Targets(failed=True)
    if answer.status is Status.NODATA:
        # RFC 5321 §5.1: "treated as if it was associated with an implicit MX RR ... pointing to that host"
        return Targets(((0, domain),), implicit=True)
    if all(mx.host == "" for mx in answer.records):
        return Targets(null=answer.status is Status.OK)  # RFC 7505 §3; a name that does not exist has no host at all
    hosts: dict[str, int] = {}
    for mx in answer.records:
        name = to_alabel(mx.host)
        if name is not None and len(hosts) < MAX_HOSTS:
            hosts.setdefault(name, mx.preference)
    return Targets(tuple((preference, name) for name, preference in hosts.items()))
