"""The MX names of a policy as Postfix is told them. Pure.

Security: three names mean something else to Postfix. `match=hostname` is "the name of the MX host, whatever it is",
and the MX records may be forged; `nexthop` and `dot-nexthop` are the recipient domain. A policy that lists one of
them must not get that meaning.

Standards: postconf(5), smtp_tls_policy_maps (the attribute "match").
"""

from __future__ import annotations

from mailcommon.names import is_hostname
from tlspolicyd.facts import Policy

_KEYWORDS = frozenset(("hostname", "nexthop", "dot-nexthop"))  # Postfix compares them whatever their case


def usable_patterns(policy: Policy) -> tuple[str, ...]:
    """The patterns that can be given to Postfix, each once, in the policy's order."""
    return tuple(dict.fromkeys(pattern for pattern in policy.mx if _is_usable(pattern)))


def match_name(pattern: str) -> str:
    """A usable pattern as the attribute "match" takes it: "*.a.example" is ".a.example"."""
    return pattern[1:] if pattern.startswith("*.") else pattern


def _is_usable(pattern: str) -> bool:
    return is_hostname(pattern.removeprefix("*.")) and pattern.lower() not in _KEYWORDS
