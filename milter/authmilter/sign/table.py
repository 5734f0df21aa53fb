"""Which identities sign for an author: patterns, the most special first. Pure.

    user@example.org    that address; the local part without letter case
    example.org         every address in that domain, not in those below it
    *.example.org       every address in a domain below it; of several such patterns the longest
    *                   every address

The first kind that fits decides, and all its identities sign.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailcommon.names import to_alabel


def normal_pattern(text: str) -> str:
    """The pattern in A-labels and lower case; raises ValueError with a text for people."""
    if text == "*":
        return text
    wildcard = "*." if text.startswith("*.") else ""
    local, at, name = text.removeprefix(wildcard).rpartition("@")
    domain = to_alabel(name)
    if domain is None or "*" in local or (at and (wildcard or not local)):
        raise ValueError(f'{text!r} is not of the form "user@example.org", "example.org", "*.example.org" or "*"')
    return f"{local.lower()}@{domain}" if at else wildcard + domain


def find(table: Mapping[str, tuple[str, ...]], address: str) -> tuple[str, ...]:
    """The identities for `address`, whose domain is in A-labels; () if no pattern fits."""
    local, _, domain = address.rpartition("@")
    keys = [f"{local.lower()}@{domain}", domain]
    above = domain.partition(".")[2]
    while above:
        keys.append(f"*.{above}")
        above = above.partition(".")[2]
    keys.append("*")
    return next((table[key] for key in keys if key in table), ())
