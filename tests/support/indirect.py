"""Mail that did not come straight from its author: what list servers and forwarders do to a message, and their seals.

The seal is made by dkimpy, which is not ours. It reads `results` with authres and writes them anew.

    through_list(BANK.sign(mail(BANK.address)), LISTS)                          # tag, footer, List-Id, signature
    arc_sealed(message, LISTS, "spf=pass ...; dmarc=pass header.from=bank.example")
"""

from __future__ import annotations

import dkim

from tests.support.dkim_signer import PrivateKey, pem
from tests.support.senders import KEY, SELECTOR, Sender

_SIGNED = [b"from", b"to", b"subject", b"date", b"message-id"]


def through_list(message: bytes, host: Sender) -> bytes:
    """What a list server makes of a message: a tag in the subject, a footer, its own fields and DKIM signature."""
    changed = message.replace(b"Subject: ", b"Subject: [talk] ", 1) + b"-- \r\nto leave the list: ...\r\n"
    fields = f"List-Id: Talk <talk.{host.domain}>\r\nList-Post: <mailto:talk@{host.domain}>\r\n"
    return host.sign(fields.encode() + changed)


def with_footer(message: bytes) -> bytes:
    """What some forwarders make of a message; a signature over the body does not survive it."""
    return message + b"-- \r\nchecked for viruses\r\n"


def results_of(author: str, dmarc: str, arc: str = "") -> str:
    """Results as a sealer may write them, of a message with this Author Domain; `arc`: of the chain that it found."""
    found = f"arc={arc}; " if arc else ""
    return f"{found}spf=none smtp.mailfrom=x@{author}; dmarc={dmarc} (p=reject) header.from={author}"


def arc_sealed(message: bytes, sealer: Sender, results: str, key: PrivateKey = KEY) -> bytes:
    """`message` with one more ARC set on top; cv= is what `results` say of arc."""
    found = f"Authentication-Results: {sealer.host}; {results}\r\n".encode()
    fields = dkim.arc_sign(
        found + message,
        SELECTOR.encode(),
        sealer.domain.encode(),
        pem(key),
        sealer.host.encode(),
        include_headers=_SIGNED,
    )
    assert len(fields) == 3, f"dkimpy did not seal: {results}"
    return b"".join(fields) + message
