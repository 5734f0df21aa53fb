"""DNS messages: a query as octets, and an answer's octets as the few things that a look-up wants. No I/O.

Diagnostics: `read` returns None for octets that are no whole DNS message; nothing raises.
Limits: 2,000 resource records of a message are looked at.
Security: an answer counts only if `Query.matches` it; names are decompressed by dnspython, whose pointers only go back.
Standards: RFC 1035 §4, RFC 6891 (EDNS0), RFC 6840 §5.7 (AD in a query), RFC 8914 (Extended DNS Errors).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import Any

import dns.edns
import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from mailcommon.names import to_alabel

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)  # RFC 1035 §4.1.1
BADVERS = 16  # RFC 6891 §9
A, CNAME, SOA, NS, TXT, AAAA, OPT, TLSA = 1, 5, 6, 2, 16, 28, 41, 52  # IANA, DNS parameters
_FIXED = {A: 4, AAAA: 16}  # octets; read here, as TXT is: dnspython takes for them as long as for all the rest
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_RD_AD = 0x0120  # RFC 6840 §5.7: AD in the query asks for AD in the answer
_QR, _AA, _TC, _RA, _AD, _OPCODE = 0x8000, 0x0400, 0x0200, 0x0080, 0x0020, 0x7800
_PAYLOAD = 1232  # octets that pass every path unfragmented
_EDNS = struct.pack("!BHHIH", 0, OPT, _PAYLOAD, 0, 0)
_TO_QUESTION = b"\xc0\x0c"  # RFC 1035 §4.1.4: a pointer to the name in the question
_IN = dns.rdataclass.IN
_MAX_RECORDS = 2000
_UNREADABLE = (FORMERR, SERVFAIL, NOTIMP, REFUSED)  # may come without the question

Name = tuple[bytes, ...]  # labels in lower case, without the root


def encode_name(name: str) -> Name | None:
    """The labels of `name`; None if it fits no DNS message (RFC 1035 §2.3.4) or is a U-label that cannot be mapped.

    Octets other than letters, digits and hyphens are taken as they are: a backslash is a backslash.
    """
    if not name.isascii():
        mapped = to_alabel(name)
        if mapped is None:
            return None
        name = mapped
    if len(name) > 254:
        return None
    labels = tuple(name.removesuffix(".").lower().encode("ascii").split(b"."))
    if sum(map(len, labels)) + len(labels) > 254 or not all(0 < len(label) < 64 for label in labels):
        return None
    return labels


@dataclass(frozen=True, slots=True)
class Query:
    """One query message; a new one has a new random id."""

    octets: bytes
    name: Name
    question_end: int

    def matches(self, answer: bytes) -> bool:
        """True if `answer` answers this query: id and question are the same, whatever the case of the name."""
        if len(answer) < 12:
            return False
        _, flags, questions, _, _, _ = _HEADER.unpack_from(answer)
        if answer[:2] != self.octets[:2] or not flags & _QR or flags & _OPCODE:
            return False
        if questions == 0:
            return flags & 0xF in _UNREADABLE
        end = self.question_end
        return (
            questions == 1
            and answer[12 : end - 4].lower() == self.octets[12 : end - 4]
            and answer[end - 4 : end] == self.octets[end - 4 : end]
        )


def make_query(name: Name, rdtype: int, edns: bool = True) -> Query:
    """A query that asks for recursion and for the resolver's word on DNSSEC."""
    question = b"".join([bytes((len(label),)) + label for label in name]) + struct.pack("!BHH", 0, rdtype, _IN)
    header = os.urandom(2) + struct.pack("!HHHHH", _RD_AD, 1, 0, 0, int(edns))
    return Query(header + question + (_EDNS if edns else b""), name, len(header) + len(question))


@dataclass(slots=True)
class Reply:
    """What an answer says. `records` and `aliases` are those of the answer section, by owner."""

    rcode: int
    truncated: bool
    authoritative: bool
    secure: bool
    records: dict[Name, list[Any]] = field(default_factory=dict)  # of dnspython; A, AAAA, TXT, TLSA: octets
    ttls: dict[Name, int] = field(default_factory=dict)  # the least of the records of this owner
    aliases: dict[Name, tuple[Name, int]] = field(default_factory=dict)  # owner -> target, TTL
    negative_ttl: int | None = None  # RFC 2308 §5; None: there is no SOA
    referral: bool = False  # NS in the authority section
    errors: tuple[int, ...] = ()  # Extended DNS Errors
    error_text: str = ""

    @property
    def lame(self) -> bool:
        """A referral where an answer was asked for (RFC 2308 §2.2: no SOA, but NS)."""
        return (
            self.rcode == NOERROR
            and self.referral
            and self.negative_ttl is None
            and not (self.authoritative or self.records or self.aliases)
        )


def read(octets: bytes, query: Query, rdtype: int, limit: int) -> Reply | None:
    """The content of an answer that `query` matches, with at most `limit` records of `rdtype`; None if it is malformed.

    Records after the limits are not looked at.
    """
    _, flags, questions, answers, authorities, others = _HEADER.unpack_from(octets)
    reply = Reply(flags & 0xF, bool(flags & _TC), bool(flags & _AA), bool(flags & _AD))
    if reply.truncated:
        return reply
    reader = _Reader(octets, query.question_end if questions else 12, rdtype, limit)
    if questions:
        reader.names[_TO_QUESTION] = query.name
    try:
        budget = _MAX_RECORDS
        for section, count in enumerate((answers, authorities, others)):
            for _ in range(min(count, budget)):
                reader.record(reply, section)
            budget -= min(count, budget)
    except (dns.exception.DNSException, struct.error, ValueError, IndexError):
        return None
    return reply


class _Reader:
    """Goes through the records of one message; raises struct.error, IndexError or dnspython's errors beyond its end."""

    def __init__(self, octets: bytes, at: int, rdtype: int, limit: int) -> None:
        self._octets = octets
        self._at = at
        self._rdtype = rdtype
        self._left = limit
        self.names: dict[bytes, Name] = {}  # what the pointers seen so far stand for: most owners are one pointer

    def record(self, reply: Reply, section: int) -> None:
        """Take what matters of the next record into `reply`."""
        owner = self._owner()
        rdtype, rdclass, raw_ttl, size = _RECORD.unpack_from(self._octets, self._at)
        self._at += _RECORD.size
        ttl = raw_ttl if raw_ttl <= 0x7FFFFFFF else 0  # RFC 2181 §8
        if section == 0 and rdclass == _IN:
            self._answer(reply, owner, rdtype, ttl, size)
        elif section == 1 and rdtype == SOA:
            reply.negative_ttl = min(ttl, int(self._rdata(SOA, size).minimum))  # RFC 2308 §5
        elif section == 1 and rdtype == NS:
            reply.referral = True
        elif section == 2 and rdtype == OPT:
            reply.rcode |= raw_ttl >> 24 << 4  # RFC 6891 §6.1.3
            if size == 0:
                return
            found = [option for option in self._rdata(OPT, size).options if isinstance(option, dns.edns.EDEOption)]
            reply.errors = tuple(int(option.code) for option in found)
            reply.error_text = "; ".join(str(option.text) for option in found if option.text)[:200]
        self._at += size
        if self._at > len(self._octets):
            raise IndexError

    def _answer(self, reply: Reply, owner: Name, rdtype: int, ttl: int, size: int) -> None:
        if rdtype == self._rdtype:
            if self._left > 0:
                self._left -= 1
                reply.records.setdefault(owner, []).append(self._rdata(rdtype, size))
                reply.ttls[owner] = min(ttl, reply.ttls.get(owner, ttl))
        elif rdtype == CNAME and owner not in reply.aliases:
            reply.aliases[owner] = (_lower(self._rdata(rdtype, size).target.labels), ttl)

    def _owner(self) -> Name:
        head = self._octets[self._at : self._at + 2]
        known = self.names.get(head)
        if known is not None:
            self._at += 2
            return known
        name, size = dns.name.from_wire(self._octets, self._at)
        self._at += size
        labels = _lower(name.labels)
        if head[0] & 0xC0 == 0xC0:
            self.names[head] = labels
        return labels

    def _rdata(self, rdtype: int, size: int) -> Any:
        octets = self._octets[self._at : self._at + size]
        if rdtype == TXT:
            return _join(octets)
        if rdtype in _FIXED and size != _FIXED[rdtype]:
            raise ValueError
        # RFC 6698 §4.1: a malformed TLSA record alone is unusable; dnspython would refuse the whole message
        if rdtype in _FIXED or rdtype == TLSA:
            return octets
        return dns.rdata.from_wire(_IN, dns.rdatatype.RdataType(rdtype), self._octets, self._at, size)


def _join(strings: bytes) -> bytes:
    """The strings of a TXT record as one (RFC 1035 §3.3.14); raises ValueError if they are not whole, or none."""
    joined, at = [], 0
    while at < len(strings):
        end = at + 1 + strings[at]
        joined.append(strings[at + 1 : end])
        at = end
    if at != len(strings) or not joined:
        raise ValueError
    return b"".join(joined)


def _lower(labels: tuple[bytes, ...]) -> Name:
    return tuple([label.lower() for label in labels[:-1]])


def rcode_text(rcode: int) -> str:
    """The name of an RCODE."""
    try:
        return dns.rcode.to_text(dns.rcode.Rcode.make(rcode))
    except ValueError:
        return f"RCODE {rcode}"
