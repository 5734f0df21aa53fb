"""Does the resolver validate DNSSEC? DANE rests on its word, the AD bit (RFC 4035 §3.2.3)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailcommon.dns.answer import Status
from mailcommon.dns.async_resolver import AsyncResolver

# top-level domains that are signed since 2009 to 2011
_SIGNED = ("org", "net", "se")


class Word(enum.StrEnum):
    YES = "validates"
    NO = "does not validate"
    UNKNOWN = "could not be tried"


@dataclass(frozen=True, slots=True)
class Validation:
    word: Word
    detail: str  # for people


async def find_out(resolver: AsyncResolver) -> Validation:
    """Ask for the name servers of signed domains; the first that is answered with AD, or all that are not, decide.

    UNKNOWN if none could be looked up: nothing follows from that.
    """
    answers = []
    for domain in _SIGNED:
        answer = await resolver.query("NS", domain)
        answers.append(answer)
        if answer.status is Status.OK and answer.secure:
            return Validation(Word.YES, f"the answer about {domain} is marked as validated")
    if any(answer.status is Status.OK for answer in answers):
        return Validation(Word.NO, f"no answer about {', '.join(_SIGNED)} is marked as validated (AD)")
    return Validation(Word.UNKNOWN, f"{_SIGNED[0]}: {answers[0].detail or answers[0].status.value}")
