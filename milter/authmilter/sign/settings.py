"""What signing may be told: which identities there are, who gets which, and the form of the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailcommon.names import is_hostname

# RFC 6376 §5.4.1: what readers see, what ties a message to a thread, and what tells mail programs how to show it and
# how to leave a list; besides, fields whose standards want them signed (RFC 8058 §4, RFC 8460 §5.3).
HEADERS = (
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "Content-Language",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Auto-Submitted",
    "BIMI-Selector",
    "TLS-Report-Domain",
    "TLS-Report-Submitter",
)

# RFC 6376 §8.15: one more of each would be shown or obeyed
OVERSIGN = (
    "From",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)

# Fields that a later hop or a mailing list adds to a message that has none (postconf(5): always_add_missing_headers):
# these are oversigned where there is one, and left out where there is none.
ADDED_LATER = frozenset({"date", "message-id", "reply-to", "sender"})

# RFC 6376 §5.4: fields that change or go on the way, or are written anew at each hop
NEVER_SIGNED = frozenset(
    {
        "arc-authentication-results",
        "arc-message-signature",
        "arc-seal",
        "authentication-results",
        "bcc",
        "bimi-indicator",
        "bimi-location",
        "dkim-signature",
        "received",
        "received-spf",
        "resent-bcc",
        "return-path",
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A name under which messages are signed."""

    selector: str
    file: str  # path of the private key
    domain: str = ""  # d= in A-labels; "" is the Author Domain itself


@dataclass(frozen=True, slots=True)
class SignSettings:
    """The operator's choices."""

    identities: Mapping[str, Identity] = field(default_factory=dict)  # by a name of the operator's
    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Pattern of an author's address -> names of identities; see `sign.table`."""

    headers: tuple[str, ...] = HEADERS
    """Names of fields that are signed, each as often as it is there; From always is (RFC 6376 §5.4)."""

    oversign: tuple[str, ...] = OVERSIGN
    """Names of which h= has one more than there are (RFC 6376 §8.15)."""

    relaxed_header: bool = True
    relaxed_body: bool = True

    lifetime: int = 0
    """Seconds from t= to x=; 0 is for ever (RFC 6376 §3.5)."""

    authenticated: str = "any"
    """As whom an authenticated user may write and be signed: "any" address, one in the domain of the envelope "sender",
    or one in the domain of the "login" name."""

    tempfail_without_key: bool = False
    """Whether a message whose key cannot be used is deferred rather than sent unsigned."""

    key_mode: int = 0o640
    """Permission bits that a key file may have at most."""


def is_signing_domain(domain: str) -> bool:
    """Whether d= may be this name in A-labels: verifiers want a host name of two labels or more (RFC 6376 §3.5)."""
    return "." in domain and is_hostname(domain)
