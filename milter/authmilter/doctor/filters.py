"""Other milters that are known by name, socket or port, and what they do to a message. Pure."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Does(enum.Enum):
    VERIFIES = "checks what authmilter checks"
    SIGNS_TOO = "checks and signs, as authmilter does"
    CHANGES = "may change the message"
    HARMLESS = "changes nothing"
    UNKNOWN = "is not known here"


@dataclass(frozen=True, slots=True)
class Filter:
    name: str
    does: Does
    pattern: str  # found in the address, in lower case


# the first that fits; a port is that of the program's own manual or of Debian's package
KNOWN = (
    Filter("opendkim", Does.SIGNS_TOO, r"opendkim|:8891\b|:12301\b"),
    Filter("dkimpy-milter", Does.SIGNS_TOO, r"dkimpy"),
    Filter("opendmarc", Does.VERIFIES, r"opendmarc|:8893\b|:54321\b"),
    Filter("openarc", Does.VERIFIES, r"openarc"),
    Filter("pyspf-milter", Does.VERIFIES, r"pyspf|spf-milter|sid-filter"),
    Filter("rspamd", Does.CHANGES, r"rspamd|:11332\b"),
    Filter("amavisd-milter", Does.CHANGES, r"amavis"),
    Filter("mimedefang", Does.CHANGES, r"mimedefang|mailmunge"),
    Filter("spamass-milter", Does.CHANGES, r"spamass"),
    Filter("clamav-milter", Does.CHANGES, r"clamav|clmilter"),
    Filter("milter-greylist", Does.HARMLESS, r"greylist"),
    Filter("milter-regex", Does.HARMLESS, r"milter-regex"),
)


def filter_at(address: str) -> Filter:
    """The filter that a milter's address belongs to, by all that can be told from it."""
    lower = address.lower()
    for known in KNOWN:
        if re.search(known.pattern, lower):
            return known
    return Filter(address, Does.UNKNOWN, "")
