"""A bounce (RFC 3464) of a report: which delivery it is about, so that a destination that always fails is rested.

Limits: the first 1 MB of a message is read.
Security: whoever writes to the bounce address can say anything; what counts is a token or a report id, which only the
destination knows, and all that a lie does is to rest that destination.
Diagnostics: the values of `Bounce`.
"""

from __future__ import annotations

import email
import email.policy
import enum
from collections.abc import Iterator
from email.message import EmailMessage, Message

from mailcommon.outbox.headers import clean
from mailcommon.outbox.mail import of_message_id
from mailcommon.outbox.outbox import Outbox

MAX_BYTES = 1 << 20


class Bounce(enum.Enum):
    """What became of a message to the bounce address."""

    TAKEN = "taken"  # a report of ours has failed for good
    OTHER = "other"  # a delay, an answer of a person, a bounce of something else


def take_bounce(outbox: Outbox, content: bytes, now: float) -> Bounce:
    """Read one message; raises StoreFault."""
    message = email.message_from_bytes(content[:MAX_BYTES], policy=email.policy.compat32)
    token, note = _status(message)
    if not note:
        return Bounce.OTHER
    if token and outbox.bounced(token, note, now):
        return Bounce.TAKEN
    for part in message.walk():
        if part.get_content_type() in ("message/rfc822", "text/rfc822-headers"):
            named = of_message_id(_message_id(part))
            if named and outbox.bounced_mail(*named, note, now):
                return Bounce.TAKEN
    return Bounce.OTHER


def _status(message: Message | EmailMessage) -> tuple[str, str]:
    """The envelope id and what was said, "" for both unless something has failed for good."""
    for part in message.walk():
        if part.get_content_type() != "message/delivery-status":
            continue
        token = note = ""
        for fields in _blocks(part):
            token = token or str(fields.get("Original-Envelope-Id", ""))
            if str(fields.get("Action", "")).strip().lower() == "failed":
                said = fields.get("Diagnostic-Code") or fields.get("Status") or "bounced"
                note = clean(str(said))
        return token.strip(), note
    return "", ""


def _blocks(part: Message) -> Iterator[Message]:
    payload = part.get_payload()
    if isinstance(payload, list):
        yield from (each for each in payload if isinstance(each, Message))


def _message_id(part: Message) -> str:
    payload = part.get_payload()
    if isinstance(payload, list) and payload and isinstance(payload[0], Message):
        return str(payload[0].get("Message-ID", ""))
    text = payload if isinstance(payload, str) else ""
    return str(email.message_from_string(text).get("Message-ID", ""))
