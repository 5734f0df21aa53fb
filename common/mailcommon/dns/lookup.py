"""One look-up from the question to its `Answer`: servers, retries, TCP, aliases. No I/O.

`look_up` is a generator: it yields each `Attempt` and is sent the octets that came back, or the OSError that came
instead (TimeoutError if the attempt's seconds were over). The blocking and the asyncio resolver only move octets.

Limits: the deadline holds for everything together; 12 aliases; 1,000 records; each server is asked up to three times,
and not again once it gave an answer that cannot be used (RFC 9520 §3.1).
Standards: RFC 1035 §7, RFC 2308 (negative answers), RFC 6604 §3 (RCODE of a chain), RFC 7766 §5 (TCP), RFC 8914.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from mailcommon.dns import wire
from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.cache import Key
from mailcommon.dns.settings import Nameserver
from mailcommon.dns.values import TYPES, to_values
from mailcommon.dns.wire import Name, Query, Reply

MAX_ALIASES = 12
MAX_RECORDS = 1000
_ROUNDS = 3
_NO_EDNS = (wire.FORMERR, wire.NOTIMP, wire.BADVERS)  # RFC 6891 §7: ask again without
_BOGUS = frozenset(range(5, 13))  # RFC 8914 §4.6 to §4.13: the codes about DNSSEC validation
MAX_TTL = 86400  # seconds
MAX_NEGATIVE_TTL = 3600  # RFC 2308 §5: one to three hours have been found to work well
FAILURE_TTL = 5  # RFC 9520 §3.2: at least 1 s, at most 5 minutes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One message to one server."""

    server: Nameserver
    query: Query
    stream: bool  # TCP
    seconds: float  # how long to wait, connecting included


Steps = Generator[Attempt, "bytes | OSError", Answer[object]]
_Ask = Generator[Attempt, "bytes | OSError", Reply | Answer[object]]


@dataclass(frozen=True, slots=True)
class Question:
    """What a look-up needs to know."""

    name: Name
    rdtype: int
    servers: Sequence[Nameserver]  # in the order in which they are asked
    timeout: float  # seconds in all
    clock: Callable[[], float]  # monotonic


def make_question(
    key: Key, servers: Sequence[Nameserver], timeout: float, clock: Callable[[], float]
) -> Question | Answer[object]:
    """What to look up for `key`, or the answer that needs no query."""
    rdtype = TYPES.get(key[0])
    if rdtype is None:
        return Answer(Status.SERVFAIL, detail=f"record type {key[0]} is not supported")
    name = wire.encode_name(key[1])
    if name is None:
        return Answer(Status.NXDOMAIN, detail="not a DNS name")
    return Question(name, rdtype, servers, timeout, clock)


def look_up(question: Question, first: Query | None = None) -> Steps:
    """The answer to `question`; the time runs from the first step. `first`: what the first attempt sends, if set."""
    deadline = question.clock() + question.timeout
    name = question.name
    seen = {name}
    ttl = MAX_TTL
    secure = True
    message = first
    while True:
        reply = yield from _ask(question, name, message, deadline)
        if isinstance(reply, Answer):
            return reply
        message = None
        secure = secure and reply.secure
        hops = 0
        while name not in reply.records and name in reply.aliases:
            name, alias_ttl = reply.aliases[name]
            ttl = min(ttl, alias_ttl)
            if name in seen:
                return failure(f"alias loop at {_text(name)}")
            if len(seen) > MAX_ALIASES:
                return failure(f"more than {MAX_ALIASES} aliases")
            seen.add(name)
            hops += 1
        alias = len(seen) > 1
        if reply.rcode == wire.NXDOMAIN:  # RFC 6604 §3: says that the last name of the chain does not exist
            return Answer(Status.NXDOMAIN, (), _negative_ttl(reply, ttl), secure, "NXDOMAIN", alias)
        if name in reply.records:
            values = to_values(question.rdtype, reply.records[name])
            return Answer(Status.OK, values, min(ttl, reply.ttls[name]), secure, "", alias)
        if hops == 0 or reply.negative_ttl is not None:
            return Answer(Status.NODATA, (), _negative_ttl(reply, ttl), secure, "", alias)
        # the server did not follow the alias to its end


def failure(detail: str, status: Status = Status.SERVFAIL) -> Answer[object]:
    """An answer that says nothing about the name."""
    return Answer(status, (), FAILURE_TTL, False, detail)


def _text(name: Name) -> str:
    return b".".join(name).decode("ascii", "backslashreplace")


def _negative_ttl(reply: Reply, ttl: int) -> int:
    # RFC 2308 §5: without a SOA a negative answer should not be cached; some seconds spare a message its repetitions
    return min(ttl, MAX_NEGATIVE_TTL, FAILURE_TTL if reply.negative_ttl is None else reply.negative_ttl)


def _ask(question: Question, name: Name, message: Query | None, deadline: float) -> _Ask:
    """The first usable reply of any server about one name, or the failure that this query comes to."""
    patience = question.timeout / max(5, len(question.servers) + 2)  # seconds for an answer, doubled in each round
    useless: set[Nameserver] = set()
    said, unreachable = "", ""
    for turn in range(_ROUNDS):
        for server in question.servers:
            left = deadline - question.clock()
            if server in useless or left <= 0:
                continue
            seconds = min(left, patience * 2**turn)
            result = yield from _ask_server(question, name, message, server, question.clock() + seconds)
            message = None
            if isinstance(result, (Reply, Answer)):
                return result
            if isinstance(result, str):
                useless.add(server)
                said = said or f"{server}: {result}"
            elif not isinstance(result, TimeoutError):
                unreachable = unreachable or f"{server}: {result.strerror or result}"
    if said or unreachable:
        return failure(said or unreachable)
    return failure(f"no answer within {round(question.timeout, 1):g} s", Status.TIMEOUT)


def _ask_server(
    question: Question, name: Name, message: Query | None, server: Nameserver, until: float
) -> Generator[Attempt, bytes | OSError, Reply | Answer[object] | str | OSError]:
    """A usable reply, a definite failure, what the server said that cannot be used, or the error of the network."""
    query = message or wire.make_query(name, question.rdtype)
    stream = edns_refused = False
    while True:
        octets = yield Attempt(server, query, stream, max(0.0, until - question.clock()))
        if isinstance(octets, OSError):
            return octets
        reply = wire.read(octets, query, question.rdtype, MAX_RECORDS) if query.matches(octets) else None
        if reply is None:
            return "malformed answer"
        if reply.truncated:
            if stream:
                return "truncated answer over TCP"
            stream = True  # RFC 7766 §5
        elif reply.rcode in _NO_EDNS and not edns_refused:
            edns_refused = True
            query = wire.make_query(name, question.rdtype, edns=False)
        elif reply.rcode not in (wire.NOERROR, wire.NXDOMAIN):
            detail = " ".join(filter(None, (wire.rcode_text(reply.rcode), reply.error_text)))
            if reply.rcode == wire.SERVFAIL and _BOGUS.intersection(reply.errors):
                # another server might not validate: this one's word stands
                return failure(f"{server}: DNSSEC validation failed: {detail}", Status.BOGUS)
            return detail
        elif reply.lame:
            return "lame: a referral, no answer"
        else:
            return reply
