"""Domain names as mail uses them: A-labels, lower case, without a trailing dot.

Nothing here raises or looks anything up. What comes from outside goes through `to_alabel` once; the other functions
take what it returned.

Limits: names over 512 characters are refused before any work is done on them.
Standards: RFC 1035 §2.3.4 (sizes), RFC 5890 §2.3 (labels), RFC 5891 §5 (lookup), UTS #46 (mapping).
"""

from __future__ import annotations

import functools
import ipaddress
import re

import idna

_MAX_INPUT = 512  # characters; UTS #46 may drop some (soft hyphens), so this is above 253
_DNS_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")  # RFC 1035 §2.3.4: labels of 63 octets or less
_LDH_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_NAME = 253  # characters without the trailing dot, which makes 255 octets (RFC 1035 §2.3.4)


def to_alabel(domain: str) -> str | None:
    """`domain` in A-labels, lower case, with one trailing dot removed; None if it cannot be a mail or DNS name.

    Underscores are allowed (RFC 8552). U-labels are mapped by UTS #46 (non-transitional) and checked as RFC 5891 §5
    wants for lookup. A label that begins with "xn--" need not decode: it is a DNS name whatever it displays as.
    """
    if len(domain) > _MAX_INPUT:
        return None
    return _to_alabel(domain)


@functools.lru_cache(maxsize=8192)
def _to_alabel(domain: str) -> str | None:
    mapped = domain.lower() if domain.isascii() else _map(domain)
    if mapped is None:
        return None
    mapped = mapped.removesuffix(".")
    if len(mapped) > _MAX_NAME or _DNS_NAME.fullmatch(mapped) is None:
        return None
    return mapped


def _map(domain: str) -> str | None:
    """The name with every U-label made an A-label; ASCII labels are left to the caller's check."""
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False, transitional=False)
        return ".".join(
            label.lower() if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split(".")
        )
    except (ValueError, IndexError):  # idna's own errors are UnicodeErrors, which are ValueErrors
        return None


def is_hostname(name: str) -> bool:
    """True for letters, digits and hyphens only, and a last label that is not a number (RFC 1123 §2.1)."""
    lower = name.lower()
    if not lower.isascii() or len(lower) > _MAX_NAME or _LDH_NAME.fullmatch(lower) is None:
        return False
    return not lower[lower.rfind(".") + 1 :].isdigit()


def labels(domain: str) -> list[str]:
    """The labels from left to right; none for the empty name."""
    return domain.split(".") if domain else []


def parent(domain: str) -> str | None:
    """The name without its first label; None if it has only one."""
    return domain.partition(".")[2] or None


def is_subdomain(name: str, of: str) -> bool:
    """True if `name` is `of` or below it, at a label boundary, whatever the case; nothing is below the empty name."""
    if not of:
        return False
    name, of = name.lower(), of.lower()
    return name == of or name.endswith("." + of)


@functools.lru_cache(maxsize=8192)
def _reverse_name(ip: str) -> str:
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.reverse_pointer


def reverse_name(ip: str) -> str:
    """The name under in-addr.arpa or ip6.arpa that has the PTR records of `ip`; "" if `ip` is not an address."""
    if len(ip) > _MAX_INPUT:
        return ""
    return _reverse_name(ip)
