"""The one place that makes outside text fit for a report's header, and that puts a letter together."""

from __future__ import annotations

import email.policy
import re
from collections.abc import Sequence
from email.message import EmailMessage

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_MAX = 400  # characters

# Everything is 7-bit: no host on the way needs to change what is signed. Body lines are short; header lines are not
# folded below the 998 octets of RFC 5322 §2.1.1, because folding would write long names as encoded words.
POLICY = email.policy.SMTP.clone(cte_type="7bit", max_line_length=76)
WIRE = POLICY.clone(max_line_length=998)


def clean(text: str, limit: int = _MAX) -> str:
    """`text` on one line of printable ASCII, at most `limit` characters: for a header field, a note, a terminal."""
    return _UNPRINTABLE.sub(" ", text[: 4 * limit]).strip()[:limit]


def letter(
    *, sender: str, subject: str, text: str, attachment: bytes, media_type: str, filename: str, report_type: str = ""
) -> EmailMessage:
    """A message with a text for people and one attachment in base64.

    sender: an address, or a name with one. media_type: such as "application/gzip". report_type: makes it a
    multipart/report (RFC 6522 §3), else it is multipart/mixed. `text` is ours; `subject` and `filename` are cleaned.
    """
    message = EmailMessage(POLICY)
    message["From"] = clean(sender)
    message["Subject"] = clean(subject)
    message.set_content(text, cte="7bit" if text.isascii() else "base64")
    main, sub = media_type.split("/", 1)
    message.add_attachment(attachment, maintype=main, subtype=sub, cte="base64", filename=clean(filename))
    if report_type:
        as_report(message, report_type)
    return message


def as_report(message: EmailMessage, report_type: str) -> None:
    """Make a multipart message one of type multipart/report (RFC 6522 §3)."""
    boundary = message.get_boundary()
    message.replace_header("Content-Type", f'multipart/report; report-type="{report_type}"')
    if boundary:
        message.set_boundary(boundary)


def set_fields(message: EmailMessage, fields: Sequence[tuple[str, str]]) -> None:
    """Header fields with clean values; those of the same names go."""
    for name, value in fields:
        del message[name]
        message[name] = clean(value)
