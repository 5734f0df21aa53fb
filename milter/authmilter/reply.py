"""SMTP replies of ours, and the one place that makes outside text safe in them.

The way of `%`: Sendmail takes the text of a milter's reply as a format, so the milter protocol has it doubled.
libmilter's smfi_setreply and pymilter's C part pass the text on as it is; pymilter's `setreply` raises ValueError for
an odd number of `%` in a row; Postfix makes one `%` of two (src/milter/milter8.c) and drops a single one. So it is
doubled here: `Reply.text` is what the client sees, `Reply.milter_text` is what goes to `setreply`. The reason of a
quarantine is not undone by Postfix and takes `safe_reply_text` as it is.

Limits: 400 characters, because a reply line has 512 octets (RFC 5321 §4.5.3.1.5) and libmilter takes 980 doubled ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_TEXT = 400

_CODE = re.compile(r"[45][0-5][0-9]").fullmatch
_ENHANCED = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}").fullmatch


def safe_reply_text(text: str) -> str:
    """`text` on one line, in printable ASCII, of at most 400 characters; what was cut ends in "..."."""
    text = text[: 4 * MAX_TEXT]
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if c.isascii() and c.isprintable() else " " if c in "\t\r\n" else "?" for c in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


@dataclass(frozen=True, slots=True)
class Reply:
    """A negative reply; ValueError if the codes are none or contradict each other. The text is made safe."""

    code: str  # "550"
    enhanced: str  # "5.7.26" (RFC 3463)
    text: str

    def __post_init__(self) -> None:
        # Postfix takes a reply of two classes for a fault of the milter
        if not (_CODE(self.code) and _ENHANCED(self.enhanced) and self.code[0] == self.enhanced[0]):
            raise ValueError(f"no reply codes: {self.code!r} {self.enhanced!r}")
        object.__setattr__(self, "text", safe_reply_text(self.text))

    @property
    def milter_text(self) -> str:
        """The text as the milter protocol wants it."""
        return self.text.replace("%", "%%")

    def __str__(self) -> str:
        """The reply as the client sees it."""
        return f"{self.code} {self.enhanced} {self.text}"
