"""What is known of a recipient domain's TLS policy: frozen values from the look-ups, read by decide and render.

No I/O, no clock. Text from outside (policy lines, reasons) is made safe by `render` and by mailcommon.log.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mode(enum.StrEnum):
    """RFC 8461 §3.2."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class Failure(enum.StrEnum):
    """Why there is no usable policy although one is signalled (RFC 8460 §4.3; Postfix's policy_failure)."""

    FETCH = "sts-policy-fetch-error"
    INVALID = "sts-policy-invalid"
    WEBPKI = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class Policy:
    """One MTA-STS policy (RFC 8461 §3.2)."""

    mode: Mode
    mx: tuple[str, ...]  # patterns, lower-case A-labels, "*." in front where the policy has it
    max_age: int  # seconds, 0..31557600
    lines: tuple[str, ...] = ()  # the policy as published, line by line, for the reports


@dataclass(frozen=True, slots=True)
class StsFact:
    """What MTA-STS says about a domain now."""

    domain: str
    policy: Policy | None = None  # the unexpired one
    id: str = ""  # of the record that belongs to it
    fetched_at: float = 0.0  # unix seconds
    expires_at: float = 0.0
    cached: bool = False  # True if no fetch was needed for this answer
    signalled: bool = False  # a TXT record asks for MTA-STS
    failure: Failure | None = None  # the newest try failed and there is no unexpired policy
    unreadable: bool = False  # an enforce policy is known to exist and cannot be read (store down or damaged)
    reason: str = ""  # for people
    lines: tuple[str, ...] = ()  # with Failure.INVALID: the beginning of what was published, for the reports


class Tlsa(enum.StrEnum):
    """What the TLSA look-up of one MX host came to (RFC 7672 §2.2)."""

    USABLE = "usable"  # secure, and at least one record that can be used
    UNUSABLE = "unusable"  # secure, but no record that can be used: TLS without authentication
    NONE = "none"  # securely or insecurely none
    FAILED = "failed"  # bogus or failing: Postfix skips this host


@dataclass(frozen=True, slots=True)
class MxHost:
    name: str  # A-labels, lower case
    preference: int
    secure: bool  # its addresses are signed, or the alias that leads to them (RFC 7672 §2.2.2)
    tlsa: Tlsa
    records: tuple[str, ...] = ()  # "3 1 1 abcd...", presentation form
    reason: str = ""
    address: bool = True  # False: it has none for certain, so that no mail goes there


@dataclass(frozen=True, slots=True)
class DaneFact:
    """DANE for SMTP of a domain (RFC 7672)."""

    enabled: bool = True  # False: by setting, or the resolver does not validate
    mx_failed: bool = False  # the MX look-up itself failed
    null_mx: bool = False  # RFC 7505: takes no mail
    hosts: tuple[MxHost, ...] = ()
    expires_in: int = 0  # seconds that this holds: the least TTL
    reason: str = ""
    mx_secure: bool = False  # the MX records are signed (with implicit_mx: the addresses of the domain)
    implicit_mx: bool = False  # RFC 5321 §5.1: no MX record, so the domain is its own and only host


@dataclass(frozen=True, slots=True)
class Facts:
    domain: str
    sts: StsFact
    dane: DaneFact


class Source(enum.StrEnum):
    MTA_STS = "mta-sts"
    DANE = "dane"
    NONE = "none"


class Level(enum.StrEnum):
    """Postfix's TLS security levels that we answer with (postconf(5), smtp_tls_policy_maps)."""

    SECURE = "secure"
    DANE = "dane"
    DANE_ONLY = "dane-only"
    NOT_FOUND = ""  # the site's default applies
    TEMP = "temp"  # defer: the policy map cannot say


class SiteLevel(enum.StrEnum):
    """The site's own smtp_tls_security_level (postconf(5)), which holds where nothing else is said."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    DANE = "dane"
    DANE_ONLY = "dane-only"
    VERIFY = "verify"
    SECURE = "secure"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True, slots=True)
class Decision:
    domain: str
    level: Level
    source: Source
    rule: str  # the word of the decision table
    reason: str  # for people
    sts: StsFact | None = None  # what the TLSRPT attributes are made of
