"""The addresses of a host: looked up once, judged once, and nothing else is connected to.

Diagnostics: `find` never raises; without addresses there is a reason.
Limits: two addresses of each family. The second family is waited for as long as there is no address, then 0.3 s more,
so that a name server that is broken for one of them does not hold up the fetch (RFC 8305 §3).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.async_resolver import AsyncResolver
from mailcommon.fetch.address import refusal

_MOST = 2  # addresses of one family that are tried: a bad certificate is mostly the same on all
_PATIENCE = 0.3  # seconds


@dataclass(frozen=True, slots=True)
class Found:
    v6: tuple[str, ...] = ()
    v4: tuple[str, ...] = ()
    reason: str = ""  # why there is none, for people
    unknown: bool = False  # there may be one: a look-up failed

    @property
    def all(self) -> tuple[str, ...]:
        """IPv6 first (RFC 6724 §2.1)."""
        return self.v6 + self.v4


async def find(resolver: AsyncResolver, host: str, allow_private: bool) -> Found:
    """The addresses of `host` that may be connected to; with `allow_private` any."""
    v6 = asyncio.ensure_future(resolver.aaaa(host))
    v4 = asyncio.ensure_future(resolver.a(host))
    try:
        done, waiting = await asyncio.wait((v6, v4), return_when=asyncio.FIRST_COMPLETED)
        if waiting:
            anything = any(_allowed(task.result(), allow_private) for task in done)
            await asyncio.wait(waiting, timeout=_PATIENCE if anything else None)
        late: Answer[str] = Answer(Status.TIMEOUT)
        answers = [task.result() if task.done() else late for task in (v6, v4)]
    finally:
        v6.cancel()
        v4.cancel()
    found = Found(_allowed(answers[0], allow_private)[:_MOST], _allowed(answers[1], allow_private)[:_MOST])
    if found.all:
        return found
    return Found(reason=_reason(host, answers), unknown=any(answer.status.failed for answer in answers))


def _allowed(answer: Answer[str], allow_private: bool) -> tuple[str, ...]:
    return tuple(address for address in answer.records if allow_private or not refusal(address))


def _reason(host: str, answers: list[Answer[str]]) -> str:
    refused = [f"{address} is {refusal(address)}" for answer in answers for address in answer.records[:1]]
    if refused:
        return f"{host} has no address that may be used: {', '.join(refused)}"
    failed = [answer for answer in answers if answer.status.failed]
    if failed:
        detail = f" ({failed[0].detail})" if failed[0].detail else ""
        return f"the addresses of {host} cannot be looked up: {failed[0].status.value}{detail}"
    if answers[0].status is answers[1].status is Status.NXDOMAIN:
        return f"{host} does not exist"
    return f"{host} has no address"
