"""What a domain publishes for a private key, and what is wrong with what it has published (RFC 6376 §3.6). Pure.

Security: records come from DNS; of their text nothing is repeated.
"""

from __future__ import annotations

import hashlib

from authmilter.dkim import key as records
from authmilter.sign.key import PrivateKey
from mailcommon.dns.answer import Answer, Status

STRING = 255  # octets of one string of a TXT record (RFC 1035 §3.3)

_PROBE = hashlib.sha256(b"does the record belong to the key?").digest()


def record_text(key: PrivateKey) -> str:
    """The text of the key record (RFC 6376 §3.6.1)."""
    return f"v=DKIM1; k={key.kind}; p={key.public_base64()}"


def zone_line(name: str, key: PrivateKey) -> str:
    """The record in zone-file form (RFC 1035 §5.1), its text cut into strings."""
    text = record_text(key)
    strings = [f'"{text[start : start + STRING]}"' for start in range(0, len(text), STRING)]
    return f"{name}. 3600 IN TXT " + (strings[0] if len(strings) == 1 else "( " + "\n\t".join(strings) + " )")


def judge(key: PrivateKey, answer: Answer[bytes]) -> tuple[bool, str]:
    """Whether what was looked up fits the key, and in words what was found."""
    if answer.status.failed:
        return False, f"DNS does not answer now ({answer.status.value}): nothing can be said"
    if not answer.records:
        why = "there is no such name" if answer.status is Status.NXDOMAIN else "the name has no TXT record"
        return False, f"not published: {why}"
    read = [records.parse(record) for record in answer.records]
    usable = [one for one in read if not one.malformed]
    if not usable:
        reason = read[0].defect.reason if read[0].defect else ""
        return False, f"the TXT record is no key: {reason}"
    if len(usable) > 1:
        # RFC 6376 §3.6.2.2: the results are undefined
        return False, f"{len(usable)} key records are published under this name, verifiers take any one of them"
    published = usable[0]
    if published.defect:
        return False, published.defect.reason
    if published.kind != key.kind:
        return False, f"the record has k={published.kind}, the key in the file is {key.kind}"
    if not published.verify(key.sign(_PROBE), _PROBE):
        return False, f"another {published.kind} key is published ({published.bits} bits) than the one in the file"
    if published.testing:
        return False, "the key is published in test mode (t=y): verifiers treat the mail as unsigned"
    rest = f", and {len(read) - 1} TXT records that are no keys" if len(read) > 1 else ""
    return True, f"good ({key.kind}, {key.bits} bits){rest}"
