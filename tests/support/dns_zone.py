"""Zone text with faults -> the octets that a DNS server sends for each query. No I/O; `dns_server` does that.

    a.example.        300 IN TXT "v=spf1 -all"
    www.a.example.    300 IN CNAME a.example.
    ;FAULT a.example. TXT servfail
    ;FAULT b.example. *   delay=0.03 ad

Name and type of a fault may be `*` (any). TTL and class may be left out (300, IN). A string of more than 255 characters
in a TXT record is cut into several strings. What the text does not have does not exist.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.tokenizer

# fault -> what the client gets
FAULTS = {
    "servfail": "SERVFAIL",
    "refused": "REFUSED",
    "nxdomain": "NXDOMAIN, whatever the zone has",
    "bogus": "SERVFAIL with Extended DNS Error 6, DNSSEC Bogus",
    "timeout": "nothing at all; over TCP a connection that stays silent",
    "truncate": "TC and no records over UDP, the whole answer over TCP",
    "drip": "TC over UDP, and over TCP one octet every 50 ms",
    "close": "TC over UDP, and a closed connection over TCP",
    "lame": "a referral to somebody else, no recursion",
    "formerr": "FORMERR for a query with EDNS, the answer for one without",
    "notimp": "NOTIMP for a query with EDNS, the answer for one without",
    "garbage": "a header with the right id, the question, and octets that are no message",
    "wrong-id": "first an answer NXDOMAIN with another id, then the answer",
    "wrong-question": "first an answer NXDOMAIN to another question, then the answer",
    "wrong-case": "the answer with every name in capitals",
    "ad": "the answer with AD, if the query asked for it",
    "no-follow": "the alias alone, without what it leads to",
    "delay": "delay=S: the answer S seconds later",
    "times": "times=N: the faults of this line end after N answers",
}

_RCODES = {
    "servfail": dns.rcode.SERVFAIL,
    "bogus": dns.rcode.SERVFAIL,
    "refused": dns.rcode.REFUSED,
    "nxdomain": dns.rcode.NXDOMAIN,
    "formerr": dns.rcode.FORMERR,
    "notimp": dns.rcode.NOTIMP,
}
_EDNS_ONLY = {"formerr", "notimp"}
_MAX_CHAIN = 20  # aliases followed; a loop ends here
_NO_FAULT: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """One query as received."""

    name: str  # lower case, no trailing dot
    rdtype: str
    edns: bool
    ad: bool  # AD or DO was set
    payload: int  # octets that the client takes over UDP
    octets: bytes  # the question as sent


@dataclass(slots=True)
class Fault:
    words: frozenset[str]
    delay: float = 0.0  # seconds
    left: float = float("inf")  # how many answers it spoils yet


@dataclass(slots=True)
class Zone:
    """`negative_ttl`: TTL and minimum of the SOA in negative answers; None: no SOA (RFC 2308 §2.2.1)."""

    negative_ttl: int | None
    records: dict[str, dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]] = field(default_factory=dict)
    names: set[str] = field(default_factory=lambda: {""})  # all that exist, empty non-terminals included
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)
    made: dict[tuple[str, str, bool, bool, frozenset[str]], bytes] = field(default_factory=dict)

    def fault(self, name: str, rdtype: str) -> Fault:
        """The first of exact, any type, any name, any of both; one use of it is counted."""
        for key in ((name, rdtype), (name, "*"), ("*", rdtype), ("*", "*")):
            fault = self.faults.get(key)
            if fault is not None and fault.left > 0:
                fault.left -= 1
                return fault
        return Fault(_NO_FAULT)


def parse_zone(text: str, negative_ttl: int | None = 300) -> Zone:
    """Raises ValueError that names the line."""
    zone = Zone(negative_ttl)
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.strip().startswith(";FAULT"):
                _add_fault(zone, line.split()[1:])
            elif line.strip() and not line.lstrip().startswith(";"):
                _add_record(zone, line)
        except (dns.exception.DNSException, ValueError) as error:
            raise ValueError(f"zone line {number}: {line.strip()!r}: {error}") from error
    return zone


def _add_fault(zone: Zone, words: list[str]) -> None:
    name, rdtype, *faults = words
    values = dict(word.split("=") for word in faults if "=" in word)
    plain = frozenset(word for word in faults if "=" not in word)
    if unknown := (plain | values.keys()) - FAULTS.keys():
        raise ValueError(f"unknown fault {', '.join(sorted(unknown))}")
    key = (name if name == "*" else _plain(name), rdtype.upper())
    zone.faults[key] = Fault(plain, float(values.get("delay", 0)), float(values.get("times", "inf")))


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()


def _add_record(zone: Zone, line: str) -> None:
    owner, rest = line.split(None, 1)
    ttl = 300
    word, _, tail = rest.strip().partition(" ")
    if word.isdigit():
        ttl, rest = int(word), tail
    word, _, tail = rest.strip().partition(" ")
    if word.upper() == "IN":
        rest = tail
    word, data = rest.strip().split(None, 1)
    rdtype = dns.rdatatype.from_text(word)
    if rdtype == dns.rdatatype.TXT:
        data = _cut_strings(data)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, rdtype, data, origin=dns.name.root, relativize=False)
    name = _plain(owner)
    rdataset = zone.records.setdefault(name, {}).setdefault(rdtype, dns.rdataset.Rdataset(dns.rdataclass.IN, rdtype))
    rdataset.add(rdata, ttl)
    while name not in zone.names:
        zone.names.add(name)
        name = name.partition(".")[2]


def _cut_strings(data: str) -> str:
    tokens = dns.tokenizer.Tokenizer(data)
    strings = []
    while not (token := tokens.get().unescape_to_bytes()).is_eol_or_eof():
        value = token.value
        assert isinstance(value, bytes)
        strings += [value[at : at + 255] for at in range(0, max(1, len(value)), 255)]
    return " ".join('"' + "".join(f"\\{octet:03d}" for octet in string) + '"' for string in strings)


def parse_question(data: bytes) -> Question | None:
    """The question of a query; None if it is none."""
    return _parse_question(data[2:])


@functools.lru_cache(maxsize=10_000)
def _parse_question(without_id: bytes) -> Question | None:
    data = b"\0\0" + without_id
    try:
        query = dns.message.from_wire(data)
        question = query.question[0]
    except (dns.exception.DNSException, IndexError, ValueError):
        return None
    edns = query.edns >= 0
    ad = bool(query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO)
    name = question.name.to_text(omit_final_dot=True).lower()
    octets = question.name.to_wire() or b""
    return Question(
        "" if name == "." else name,
        dns.rdatatype.to_text(question.rdtype),
        edns,
        ad,
        max(512, query.payload) if edns else 512,
        octets + data[12 + len(octets) : 16 + len(octets)],
    )


def make_answer(zone: Zone, question: Question, words: frozenset[str] = _NO_FAULT) -> bytes:
    """The message, id 0, whatever its size: the server cuts it for UDP. `words` are faults that change the content."""
    key = (question.name, question.rdtype, question.edns, question.ad, words)
    made = zone.made.get(key)
    if made is None:
        made = zone.made[key] = _make(zone, question, words)
    end = 12 + len(question.octets)
    return made if "wrong-case" in words else made[:12] + question.octets + made[end:]


def make_truncated(answer: bytes, question: Question) -> bytes:
    """`answer` as the server sends it when it does not fit: TC and the question alone (RFC 2181 §9)."""
    flags = bytes((answer[2] | 0x02, answer[3]))
    return answer[:2] + flags + b"\0\1\0\0\0\0\0\0" + question.octets


def _make(zone: Zone, question: Question, words: frozenset[str]) -> bytes:
    name = dns.name.from_text(question.name + ".")
    rdtype = dns.rdatatype.from_text(question.rdtype)
    message = dns.message.Message(0)
    message.flags = dns.flags.QR | dns.flags.RD
    message.question.append(dns.rrset.RRset(name, dns.rdataclass.IN, rdtype))
    if question.edns:
        options: list[dns.edns.Option] | None = (
            [dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS)] if "bogus" in words else None
        )
        message.use_edns(0, payload=1232, options=options)
    for word in sorted(words & _RCODES.keys()):
        if question.edns or word not in _EDNS_ONLY:
            message.set_rcode(_RCODES[word])
    if "lame" in words:
        _add(message.authority, dns.name.root, "NS", 3600, "ns.elsewhere.example.")
        return message.to_wire(max_size=65535, want_shuffle=False)
    message.flags |= dns.flags.RA
    if "ad" in words and question.ad:
        message.flags |= dns.flags.AD
    if message.rcode() == dns.rcode.NOERROR:
        _fill(zone, message, question.name, rdtype, "no-follow" not in words)
    elif message.rcode() == dns.rcode.NXDOMAIN:
        _add_soa(zone, message)
    if "wrong-case" in words:
        return _upper_names(message)
    return message.to_wire(max_size=65535, want_shuffle=False)


def _fill(zone: Zone, message: dns.message.Message, name: str, rdtype: dns.rdatatype.RdataType, follow: bool) -> None:
    for _ in range(_MAX_CHAIN):
        here = zone.records.get(name, {})
        owner = dns.name.from_text(name + ".")
        if rdtype in here:
            message.answer.append(dns.rrset.from_rdata_list(owner, here[rdtype].ttl, list(here[rdtype])))
            return
        alias = here.get(dns.rdatatype.CNAME)
        if alias is None:
            if name not in zone.names:
                message.set_rcode(dns.rcode.NXDOMAIN)  # RFC 6604 §3: the code is that of the last name
            _add_soa(zone, message)
            return
        message.answer.append(dns.rrset.from_rdata_list(owner, alias.ttl, list(alias)))
        if not follow:
            return
        name = _plain(str(alias[0]))


def _add_soa(zone: Zone, message: dns.message.Message) -> None:
    if zone.negative_ttl is not None:
        ttl = zone.negative_ttl
        _add(message.authority, dns.name.root, "SOA", ttl, f"ns.example. h.example. 1 3600 600 86400 {ttl}")


def _add(section: list[dns.rrset.RRset], name: dns.name.Name, rdtype: str, ttl: int, text: str) -> None:
    rdata = dns.rdata.from_text("IN", rdtype, text, origin=dns.name.root, relativize=False)
    section.append(dns.rrset.from_rdata(name, ttl, rdata))


def _upper_names(message: dns.message.Message) -> bytes:
    for section in (message.question, message.answer, message.authority):
        for rrset in section:
            rrset.name = dns.name.Name([label.upper() for label in rrset.name.labels])
    return message.to_wire(max_size=65535, want_shuffle=False)
