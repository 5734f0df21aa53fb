"""The DANE facts of a domain: MX, then for each host addresses and TLSA records, all hosts at once.

A host's TLSA records are asked for only where they could be signed: many name servers of unsigned zones fail on such
queries (RFC 7672 §2.2.2). With unsigned MX records nothing more is asked: the decision does not depend on it.

Diagnostics: nothing raises but cancellation. What cannot be looked up in time counts as failed, host by host.
Limits: 20 hosts; `seconds` in all; 8 aliases of a host name.
Security: everything rests on the AD bit of the resolver, which must be one that validates and is reached safely.
Standards: RFC 7672 §2.1 to §2.2.3.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.answer import Tlsa as TlsaRecord
from mailcommon.dns.async_resolver import AsyncResolver
from tlspolicyd.dane.mx import targets
from tlspolicyd.dane.tlsa import fault, presentation
from tlspolicyd.facts import DaneFact, MxHost, Tlsa

SMTP = 25
_RETRY = 5  # seconds that a failure of ours holds, as the resolver keeps its failures
_MAX_ALIASES = 8
_HEAD_START = 0.3  # seconds that A is waited for before AAAA is asked as well
_MAX_RECORDS = 20  # TLSA records shown


async def look_up(
    resolver: AsyncResolver,
    domain: str,
    *,
    port: int = SMTP,
    seconds: float = 10.0,
    every: bool = False,
    tlsa: bool = True,
) -> DaneFact:
    """What DANE says about `domain` (A-labels).

    `every`: look at the hosts of unsigned MX records as well. `tlsa`: False names the hosts and looks no further.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        async with asyncio.timeout(seconds):
            answer = await resolver.mx(domain)
    except TimeoutError:
        return DaneFact(mx_failed=True, expires_in=_RETRY, reason="the MX look-up took too long")
    found = targets(domain, answer)
    if found.failed:
        what = "bogus" if answer.status is Status.BOGUS else "failed"
        return DaneFact(
            mx_failed=True, expires_in=answer.ttl, reason=f"the MX look-up {what}: {answer.detail}".rstrip(": ")
        )
    if found.null:
        return DaneFact(null_mx=True, expires_in=answer.ttl, mx_secure=answer.secure, reason="null MX")
    if not found.hosts:
        what = "the domain does not exist" if answer.status is Status.NXDOMAIN else "no MX record names a host"
        return DaneFact(expires_in=answer.ttl, reason=what, mx_secure=answer.secure)
    secure = answer.secure
    # RFC 7672 §2.2.2: with no MX the domain is its own host, whose alias can be signed although its addresses are not
    if not tlsa or not (secure or every or (found.implicit and answer.alias)):
        what = (
            "there is no MX record, and the zone is not signed" if found.implicit else "the MX records are not signed"
        )
        hosts = tuple(MxHost(name, preference, False, Tlsa.NONE) for preference, name in found.hosts)
        return DaneFact(hosts=hosts, expires_in=answer.ttl, reason=what, implicit_mx=found.implicit)
    results = await _hosts(resolver, found.hosts, port, deadline)
    hosts = tuple(host for host, _ in results)
    if found.implicit:
        secure = secure or any(host.secure for host in hosts)
    return DaneFact(
        hosts=hosts,
        expires_in=min([answer.ttl, *(ttl for _, ttl in results)]),
        reason="" if secure else "the MX records are not signed",
        mx_secure=secure,
        implicit_mx=found.implicit,
    )


async def _hosts(
    resolver: AsyncResolver, hosts: tuple[tuple[int, str], ...], port: int, deadline: float
) -> list[tuple[MxHost, int]]:
    """Each host with the seconds that this holds."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_Host(resolver, name, preference, port).look_up()) for preference, name in hosts]
    try:
        await asyncio.wait(tasks, timeout=max(0.0, deadline - loop.time()))
    finally:
        for task in tasks:
            task.cancel()
    results = []
    for task, (preference, name) in zip(tasks, hosts, strict=True):
        if task.done() and not task.cancelled():
            results.append(task.result())
        else:
            results.append((MxHost(name, preference, False, Tlsa.FAILED, reason="the look-up took too long"), _RETRY))
    return results


class _Host:
    """One MX host; `_ttl` is the least of the answers so far."""

    def __init__(self, resolver: AsyncResolver, name: str, preference: int, port: int) -> None:
        self._resolver = resolver
        self._port = port
        self._ttl = 86_400
        self._fact = MxHost(name, preference, False, Tlsa.NONE)

    async def look_up(self) -> tuple[MxHost, int]:
        return await self._find(), self._ttl

    async def _find(self) -> MxHost:
        name = self._fact.name
        address = await self._address(name)
        if address.status.failed:
            return self._failed("its addresses", address)
        if address.status is not Status.OK:
            return replace(self._fact, secure=address.secure, address=False, reason="has no address")
        bases = [name]
        if address.alias:
            # RFC 7672 §2.2.2: an alias that is signed to its end: the end first, then the name itself; one of which
            # only the first step is signed: the name itself
            alias = await self._ask("CNAME", name)
            if alias.status.failed:
                return self._failed("its alias", alias)
            if not alias.secure:
                return replace(self._fact, reason="is not in a signed zone")
            if address.secure:
                end = await self._end(alias)
                if end is None:
                    return self._failed("its alias", alias)
                bases = list(dict.fromkeys((end, name)))
        elif not address.secure:
            return replace(self._fact, reason="is not in a signed zone")
        self._fact = replace(self._fact, secure=True)
        for base in bases:
            answer = await self._ask("TLSA", f"_{self._port}._tcp.{base}")
            if answer.status.failed:
                return self._failed("its TLSA records", answer)
            # RFC 7672 §2.2: records that are not signed do not count
            if answer.status is Status.OK and answer.secure:
                return self._judge(answer)
        return replace(self._fact, reason="has no signed TLSA records")

    async def _address(self, name: str) -> Answer[str]:
        """An answer with addresses if there is one, of either family; else the failure, if there is one."""
        first = asyncio.ensure_future(self._ask("A", name))
        try:
            await asyncio.wait((first,), timeout=_HEAD_START)
            if first.done() and first.result().status in (Status.OK, Status.NXDOMAIN):
                return first.result()
            second = asyncio.ensure_future(self._ask("AAAA", name))
            try:
                for done in asyncio.as_completed((first, second)):
                    answer = await done
                    if answer.status is Status.OK:
                        return answer
            finally:
                second.cancel()
            return first.result() if first.result().status.failed else second.result()
        finally:
            first.cancel()

    async def _end(self, alias: Answer[str]) -> str | None:
        """Where the alias ends; None if that cannot be found out."""
        for _ in range(_MAX_ALIASES):
            name = alias.records[0] if alias.records else ""
            if not name:
                return None
            alias = await self._ask("CNAME", name)
            if alias.status.failed:
                return None
            if alias.status is not Status.OK:
                return name
        return None

    def _judge(self, answer: Answer[TlsaRecord]) -> MxHost:
        faults = [fault(record) for record in answer.records]
        records = tuple(map(presentation, answer.records[:_MAX_RECORDS]))
        usable = "" in faults
        return replace(
            self._fact,
            tlsa=Tlsa.USABLE if usable else Tlsa.UNUSABLE,
            records=records,
            reason="" if usable else f"no TLSA record can be used: {faults[0]}",
        )

    def _failed(self, what: str, answer: Answer[object]) -> MxHost:
        word = "bogus" if answer.status is Status.BOGUS else answer.detail or answer.status.value
        return replace(self._fact, tlsa=Tlsa.FAILED, reason=f"{what} could not be looked up: {word}")

    async def _ask(self, rdtype: str, name: str) -> Answer[Any]:
        answer = await self._resolver.query(rdtype, name)
        self._ttl = min(self._ttl, answer.ttl)
        return answer
