"""What is to be said of the resolver. Pure; `resolver_facts` asks it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailcommon.doctor.findings import Finding, mend, note, right

SLOW = 0.1  # seconds for an answer that the resolver has in its cache


class Word(enum.StrEnum):
    YES = "validates"
    NO = "does not validate"
    UNKNOWN = "gave no answer"


@dataclass(frozen=True, slots=True)
class ResolverFacts:
    servers: tuple[str, ...]  # "IP:PORT", in the order in which they are asked
    remote: tuple[str, ...]  # those of them that are not on this host
    word: Word
    detail: str  # for people
    again: float  # seconds that a repeated question took
    postfix: tuple[str, ...] = ()  # what smtp(8) asks, as `servers`
    postfix_file: str = ""  # where that stands


def judge_resolver(facts: ResolverFacts, *, dnssec: bool) -> tuple[Finding, ...]:
    """The rules; `dnssec`: something rests on validated answers, and on Postfix asking the same resolver."""
    servers = ", ".join(facts.servers)
    found = []
    if facts.word is Word.UNKNOWN:
        found.append(
            mend(
                "resolver-silent",
                f"the resolver {servers} gave no answer: {facts.detail}",
                "every check ends in temperror",
                "start it, or name another one in [dns] nameservers",
            )
        )
    else:
        found.append(right("resolver", f"the resolver {servers} answers; it {facts.word}"))
        if facts.again > SLOW:
            found.append(
                mend(
                    "resolver-slow",
                    f"the resolver takes {facts.again * 1000:.0f} ms for an answer that it has just given",
                    "each message waits for several",
                    "use a caching resolver on this host, such as unbound",
                )
            )
    if facts.remote:
        found.append(
            mend(
                "resolver-remote",
                f"the resolver {', '.join(facts.remote)} is not on this host",
                "its answers are trusted, and anybody on the way can change them",
                'apt-get install unbound, and name it: [dns] nameservers = ["127.0.0.1"]',
            )
        )
    if facts.word is Word.NO:
        found.append(_not_validating(facts, dnssec=dnssec))
    if dnssec and facts.postfix and not set(facts.postfix) <= set(facts.servers):
        found.append(
            mend(
                "resolver-differs",
                f"Postfix asks {', '.join(facts.postfix)} ({facts.postfix_file}), this daemon {servers}",
                "what one holds for secure the other may not, and mail waits",
                f"name one resolver in both: [dns] nameservers, and {facts.postfix_file}",
            )
        )
    return tuple(found)


def _not_validating(facts: ResolverFacts, *, dnssec: bool) -> Finding:
    if not dnssec:
        return note(
            "resolver-not-validating",
            "the resolver does not validate DNSSEC",
            "forged DNS answers are not noticed",
            "unbound validates as Debian installs it",
        )
    return mend(
        "resolver-not-validating",
        f"the resolver does not validate DNSSEC: {facts.detail}",
        "DANE is off",
        "use one that does (unbound as Debian installs it), or set [dane] enabled = false and "
        "smtp_tls_security_level = may",
    )
