"""What is known of one message: frozen values that the checks make and that verdict and actions read.

No I/O, no clock. A result is one of the words registered for Authentication-Results (RFC 8601 §2.7), never an
exception. Text in these values may come from the message: whoever prints it goes through `headers.escape`,
`reply` or `mailcommon.log`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple


class SpfResult(enum.StrEnum):
    """RFC 7208 §2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DkimResult(enum.StrEnum):
    """RFC 8601 §2.7.1."""

    NONE = "none"  # no signature
    PASS = "pass"
    FAIL = "fail"  # header or body hash differs, or the signature does not verify
    POLICY = "policy"  # acceptable to the standard's arithmetic, not to us: short key, rsa-sha1, body beyond l=
    NEUTRAL = "neutral"  # the field cannot be read as a signature
    TEMPERROR = "temperror"  # the key could not be looked up now
    PERMERROR = "permerror"  # no key, a revoked key, a missing tag


class DmarcResult(enum.StrEnum):
    """RFC 9989 §9.2."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class ArcResult(enum.StrEnum):
    """RFC 8617 §4.4."""

    NONE = "none"  # no ARC set
    PASS = "pass"
    FAIL = "fail"  # also where DNS did not answer: every error is permanent (RFC 8617 §5.2.1)


class BimiResult(enum.StrEnum):
    """BIMI core draft §7.7; `bimi.names` says which revision."""

    PASS = "pass"
    NONE = "none"  # no record
    FAIL = "fail"  # the record, the indicator or the evidence is not as it must be
    TEMPERROR = "temperror"  # DNS, or a host that did not answer in time
    DECLINED = "declined"  # the domain owner publishes that he does not take part
    SKIPPED = "skipped"  # not looked at: DMARC did not pass, the policy does not enforce, or this host wants more


class Authority(enum.StrEnum):
    """What became of the evidence (BIMI core draft §7.7)."""

    NONE = "none"  # there is none, or it was not looked at
    PASS = "pass"
    FAIL = "fail"


class IprevResult(enum.StrEnum):
    """RFC 8601 §2.7.3."""

    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Policy(enum.StrEnum):
    """What a domain owner asks for (RFC 9989 §4.7)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class HeaderField(NamedTuple):  # there are dozens in each message, and a tuple is made in half the time of a dataclass
    """One header field as received.

    `value` is all that follows the colon, leading blank included, folds as CRLF + blank, without the final CRLF.
    """

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Client:
    """The SMTP client and the session around the message."""

    ip: str  # text form; an IPv4-mapped IPv6 address is given as IPv4; "" for a local submission
    name: str = ""  # the name that the MTA verified (address -> name -> address), "" if unknown
    helo: str = ""  # as sent
    auth_user: str = ""  # {auth_authen}: authenticated by the MTA, "" if not
    auth_method: str = ""  # {auth_type}
    local: bool = False  # made on this host (sendmail(1), non_smtpd_milters)


@dataclass(frozen=True, slots=True)
class IprevFact:
    result: IprevResult
    ip: str
    name: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HeloFact:
    """Whether the HELO name leads to the client's address."""

    result: IprevResult
    name: str  # in A-labels


@dataclass(frozen=True, slots=True)
class SpfFact:
    """One check_host() (RFC 7208 §4) for one identity."""

    scope: str  # "mfrom" or "helo"
    result: SpfResult
    domain: str  # the A-label, lower-case domain that was checked; "" where there is none
    identity: str  # the address or HELO name as it came
    mechanism: str = ""  # the term that decided, as published
    reason: str = ""  # for people: why none, temperror, permerror
    explanation: str = ""  # exp= text of the domain: attacker's text
    undecided: bool = (
        False  # a look-up failed where the standard has no error for it, and could have changed the result
    )


@dataclass(frozen=True, slots=True)
class DkimFact:
    """One DKIM-Signature field and what became of it (RFC 6376 §6.1)."""

    result: DkimResult
    domain: str = ""  # d=, A-labels, lower case; "" if it could not be read as a domain
    selector: str = ""
    identity: str = ""  # i= as given or "@d"
    algorithm: str = ""  # a=
    b: str = ""  # b= without white space
    key_bits: int = 0
    testing: bool = False  # t=y in the key (RFC 6376 §3.6.1)
    reason: str = ""
    signed: tuple[str, ...] = ()  # h=, lower case


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature that we made."""

    domain: str  # d=
    selector: str  # s=
    algorithm: str  # a=


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One set of a chain, as it stands in the message (RFC 8617 §4.1)."""

    instance: int  # 1..50
    domain: str  # d= of the seal, A-labels, lower case
    selector: str  # s= of the seal
    claims: str = ""  # ARC-Authentication-Results behind "i=N;", unfolded: text of whoever sealed it


@dataclass(frozen=True, slots=True)
class ArcFact:
    """The ARC chain of a message and what became of it (RFC 8617 §5.2)."""

    result: ArcResult
    sets: tuple[ArcSet, ...] = ()  # from instance 1 on; empty unless the chain has passed or is undecided
    oldest_pass: int = 0  # RFC 8617 §5.2: 0 if every AMS verifies, else the lowest instance from which all do
    reason: str = ""
    undecided: bool = False  # it failed only because keys could not be looked up for the moment


@dataclass(frozen=True, slots=True)
class Author:
    """What the From header fields say (RFC 5322 §3.6.2, RFC 9989 §4.2)."""

    domains: tuple[str, ...]  # distinct, A-labels, lower case, in order of appearance
    problem: str = ""  # "" or why the From cannot be used as it stands
    addresses: tuple[str, ...] = ()  # distinct: local part unquoted, domain in A-labels; empty if there is a problem


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """The tags of the record that applies, as discovered or defaulted (RFC 9989 §4.7)."""

    p: Policy
    sp: Policy | None
    np: Policy | None
    adkim: str  # "r" or "s"
    aspf: str
    fo: str
    psd: str  # "y", "n" or "u"
    testing: bool
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    pct: int = 100  # historic (RFC 9989 §9.3) and read for BIMI only; -1: it makes no sense


@dataclass(frozen=True, slots=True)
class DmarcFact:
    """DMARC for one Author Domain."""

    result: DmarcResult
    author_domain: str
    policy_domain: str = ""  # where the record was found
    policy: Policy = Policy.NONE  # what applies after sp, np and t (RFC 9989 §4.7)
    published: PublishedPolicy | None = None
    spf_aligned: bool = False  # SPF passed and is aligned
    dkim_aligned: bool = False  # at least one signature passed and is aligned
    reason: str = ""
    record_error: str = ""  # what was wrong with the records that were found (RFC 9990 §3.1.5)


@dataclass(frozen=True, slots=True)
class DomainTree:
    """An Author Domain among its relatives (RFC 9989 §4.10.2), for checks that build on DMARC."""

    author_domain: str
    organization: str  # the Organizational Domain
    policies: tuple[tuple[str, PublishedPolicy], ...] = ()  # of the Author Domain and the Organizational Domain
    aligned: tuple[str, ...] = ()  # of the signers that were asked about
    failed: str = ""  # why this cannot be told now


@dataclass(frozen=True, slots=True)
class BimiFact:
    """The brand indicator of a message and what became of it (BIMI core draft §7)."""

    result: BimiResult
    domain: str = ""  # of the record that was used, with `selector`
    selector: str = ""
    authority: Authority | None = None
    authority_uri: str = ""  # a=
    indicator_uri: str = ""  # l=
    location: tuple[tuple[str, str], ...] = ()  # what BIMI-Location says: ("l", URI), ("a", URI)
    indicator: bytes = b""  # the SVG, not packed; only with `pass`
    preference: str = ""  # avp= as published: "brand", "personal", "" if absent or invalid
    mark_type: str = ""  # of the mark certificate, such as "Registered Mark"
    reason: str = ""  # for people
    ms: float = field(default=0.0, compare=False)  # that the message waited for it


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """All facts of one message."""

    client: Client
    mail_from: str  # reverse-path as sent, without angle brackets; "" for the null sender
    smtputf8: bool = False
    author: Author = Author(())
    iprev: IprevFact | None = None
    spf: tuple[SpfFact, ...] = ()
    dkim: tuple[DkimFact, ...] = ()
    dmarc: tuple[DmarcFact, ...] = ()
    arc: ArcFact | None = None  # None: not looked at
    bimi: BimiFact | None = None  # None: not looked at
    judged: bool = True  # False: our own users, trusted networks, local mail
    list_id: str = ""  # content of List-Id
    report: bool = False  # it says that it is a DMARC report (RFC 9990 §3.5.2)
    list_post: str = ""  # content of List-Post
    helo: HeloFact | None = None  # None: not asked, because no setting trusts the name
    notes: tuple[str, ...] = ()  # e.g. "12 further signatures were not looked at"
