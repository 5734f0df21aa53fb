"""What a DNS query came to, as one value.

The whole tree sees DNS through `Answer`; dnspython's messages and exceptions end in the resolver modules.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Status(enum.Enum):
    OK = "ok"  # at least one record of the type asked for
    NODATA = "nodata"  # the name exists, the type does not
    NXDOMAIN = "nxdomain"  # the name does not exist (RFC 8020)
    SERVFAIL = "servfail"  # any other RCODE, a lame or malformed answer, a CNAME loop
    TIMEOUT = "timeout"  # no answer within the deadline
    BOGUS = "bogus"  # the resolver says that DNSSEC validation failed (RFC 8914 §4.7 and neighbours)

    @property
    def failed(self) -> bool:
        """True if the answer says nothing about the name: try again later."""
        return self in (Status.SERVFAIL, Status.TIMEOUT, Status.BOGUS)


@dataclass(frozen=True, slots=True)
class Mx:
    preference: int  # 0..65535
    host: str  # A-labels, lower case, no trailing dot; "" for the null MX (RFC 7505)


@dataclass(frozen=True, slots=True)
class Tlsa:
    usage: int
    selector: int
    mtype: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """`records` is empty unless `status` is OK."""

    status: Status
    records: tuple[T_co, ...] = ()
    ttl: int = 0  # seconds that this may be reused
    secure: bool = False  # the resolver set AD (RFC 4035 §3.2.3)
    detail: str = ""  # for people: RCODE, server, what was wrong
    # The name asked for is an alias (CNAME). With status NXDOMAIN the name at the end of the chain does not exist
    # (RFC 6604 §3), but the name asked for does (RFC 8020 §2).
    alias: bool = False
