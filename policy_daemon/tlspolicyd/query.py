"""What Postfix asks: a socketmap key read into the domain whose policy is wanted.

smtp(8) sends its next-hop as it has it, then the parents of that with a dot in front (postconf(5),
smtp_tls_policy_maps). Only a mail domain that is resolved by MX can have a policy.

No I/O; nothing here raises. The key is outside text: it may be anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailcommon.names import is_hostname, to_alabel

POLICY = "policy"
POLICY_TLSRPT = "policy-tlsrpt"
MAPS = (POLICY, POLICY_TLSRPT)

SMTP = 25
# the services whose names Postfix sends as they stand in its transport table; IANA, Service Names and Port Numbers
_PORTS = {"smtp": SMTP, "submission": 587, "submissions": 465, "smtps": 465, "ssmtp": 465, "urd": 465, "lmtp": 24}
_SERVICE = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9])*")  # RFC 6335 §5.1
_MAX_SERVICE = 15  # characters, RFC 6335 §5.1


@dataclass(frozen=True, slots=True)
class Query:
    """One request. `domain` is None for a key that can have no policy: the answer to it is NOTFOUND."""

    map: str
    key: str
    domain: str | None  # A-labels, lower case, no trailing dot
    port: int = SMTP  # where Postfix will connect to; that of an unknown service is taken for 25

    @property
    def known_map(self) -> bool:
        """Whether there is a map of this name; if not, the answer is PERM."""
        return self.map in MAPS

    @property
    def tlsrpt(self) -> bool:
        """Whether the answer may carry the attributes of Postfix 3.10 and newer."""
        return self.map == POLICY_TLSRPT


def read_query(map_name: str, key: str) -> Query:
    """Read `key` as "domain" or "domain:port"; everything else has no domain.

    That is: ".parent" (RFC 8461 §3.4: a policy is never inherited), "[host]" and "[host]:port" (no MX look-up is made),
    address literals, the empty key and what cannot be a host name.
    """
    name, colon, service = key.partition(":")
    port = _port(service) if colon else SMTP
    domain = to_alabel(name)
    # a last label that is a number makes an IPv4 address (RFC 1123 §2.1)
    if port is None or domain is None or not is_hostname(domain):
        return Query(map_name, key, None)
    return Query(map_name, key, domain, port)


def _port(service: str) -> int | None:
    """A port number, or that of a service; None if it is neither a number nor a name."""
    if service.isascii() and service.isdigit():
        return int(service) if len(service) <= 5 and 0 < int(service) < 65536 else None
    if len(service) > _MAX_SERVICE or _SERVICE.fullmatch(service) is None:
        return None
    return _PORTS.get(service.lower(), SMTP)
