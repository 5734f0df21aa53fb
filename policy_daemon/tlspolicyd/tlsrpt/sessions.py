"""What is known of one SMTP session's TLS: frozen values, made by `datagram` and `log_lines`, counted by `counts`.

No I/O. Text in them comes from strangers (EHLO replies, policies); it is cut and without control characters, and goes
into JSON or through mailcommon.log only.

Standards: RFC 8460 §4.3 (result types), §4.4 (fields).
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from mailcommon.names import to_alabel

MAX_TEXT = 500  # characters of one text of a stranger


class PolicyType(enum.StrEnum):
    """RFC 8460 §4.4: `policy-type`."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class Result(enum.StrEnum):
    """RFC 8460 §4.3: `result-type`."""

    NO_STARTTLS = "starttls-not-supported"
    HOST_MISMATCH = "certificate-host-mismatch"
    NOT_TRUSTED = "certificate-not-trusted"
    EXPIRED = "certificate-expired"
    VALIDATION = "validation-failure"
    STS_FETCH = "sts-policy-fetch-error"
    STS_INVALID = "sts-policy-invalid"
    STS_WEBPKI = "sts-webpki-invalid"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """The policy that held for a session (RFC 8460 §4.4, §4.5)."""

    type: PolicyType
    domain: str  # A-labels; for DANE the TLSA base domain
    strings: tuple[str, ...] = ()  # the policy line by line, or one TLSA record each
    mx: tuple[str, ...] = ()  # patterns of an MTA-STS policy


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that went wrong in a session; "" is not known. Equal ones are counted together."""

    result: Result
    sending_ip: str = ""
    mx: str = ""  # A-labels
    helo: str = ""
    ip: str = ""
    info: str = ""  # URI
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One session, with one policy that was applied to it. A session with two policies makes two of these."""

    domain: str  # whose report it goes into, A-labels: the next hop of the mail
    policy: AppliedPolicy
    failed: bool  # the final result: no TLS that satisfies the policy
    failures: tuple[Failure, ...] = ()
    record: str = ""  # the TLSRPT record as the sender saw it, "" if it does not say


def clean(text: str, most: int = MAX_TEXT) -> str:
    """`text` on one line, at most `most` characters, without what I-JSON and terminals must not have.

    RFC 7493 §2.1: no surrogates and no noncharacters.
    """
    kept = text[:most]
    if kept.isascii() and kept.isprintable():
        return kept
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in kept)


def clean_name(text: str) -> str:
    """A host name as A-labels, "" if it is none."""
    return to_alabel(text) or ""


def clean_ip(text: str) -> str:
    """An address in the form of RFC 5952 or dotted quads (RFC 8460 §4.4), "" if it is none."""
    try:
        return str(ipaddress.ip_address(text[:64]))
    except ValueError:
        return ""


def helo_name(reply: str) -> str:
    """The name in the reply to EHLO: Postfix gives the whole reply, with all its lines and codes."""
    first = reply.lstrip().split("\n", 1)[0].rstrip("\r")
    if first[:3].isdigit() and first[3:4] in ("-", " "):  # RFC 5321 §4.1.1.1: ehlo-ok-rsp
        first = first[4:]
    return clean(first.strip().partition(" ")[0], 255)
