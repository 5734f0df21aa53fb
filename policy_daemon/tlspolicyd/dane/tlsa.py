"""One TLSA record: can it authenticate an SMTP server? Pure; nothing raises.

A record that cannot be used still says that the host has TLS (RFC 7672 §2.2).

Standards: RFC 6698 §2.1, RFC 7671 §4, RFC 7672 §3.1.
"""

from __future__ import annotations

from mailcommon.dns.answer import Tlsa

_DIGEST_OCTETS = {1: 32, 2: 64}  # RFC 6698 §2.1.3: SHA-256, SHA-512
_SEQUENCE = 0x30  # DER: a certificate and a public key begin with it
_SHOWN = 64  # octets of a record without digest


def fault(record: Tlsa) -> str:
    """Why `record` cannot be used; "" if it can."""
    if record.usage in (0, 1):
        return f"usage {record.usage} is not for SMTP"  # RFC 7672 §3.1.3: SHOULD be treated as unusable
    if record.usage not in (2, 3):
        return f"usage {record.usage} is unknown"
    if record.selector not in (0, 1):
        return f"selector {record.selector} is unknown"
    if record.mtype == 0:
        return "" if _is_whole_der(record.data) else "is neither a certificate nor a key"
    octets = _DIGEST_OCTETS.get(record.mtype)
    if octets is None:
        return f"matching type {record.mtype} is unknown"
    if len(record.data) != octets:
        return f"has {len(record.data)} octets of a digest of {octets}"
    return ""


def presentation(record: Tlsa) -> str:
    """As in a zone file (RFC 6698 §2.2); long data is cut."""
    data = record.data[:_SHOWN].hex() + ("..." if len(record.data) > _SHOWN else "")
    return f"{record.usage} {record.selector} {record.mtype} {data}"


def _is_whole_der(data: bytes) -> bool:
    """True for one DER sequence that ends where the data ends (X.690 §8.1.3)."""
    if len(data) < 2 or data[0] != _SEQUENCE:
        return False
    first = data[1]
    if first < 0x80:
        return len(data) == 2 + first
    count = first & 0x7F
    return 1 <= count <= 3 and len(data) == 2 + count + int.from_bytes(data[2 : 2 + count], "big")
