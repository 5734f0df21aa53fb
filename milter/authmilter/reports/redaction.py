"""What is taken out of a failed message's header before anybody else sees it (RFC 6590). Pure.

Local parts of addresses become a keyed hash: the same person has the same word in all reports of this host, and nobody
without the key can find out who it is. Fields that name our users, or that say what a message is about, are left out.
Limits: lines of 900 characters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

# of a redacted header; everything else says who got it or what it is about
_KEPT = {
    "arc-authentication-results",
    "arc-message-signature",
    "arc-seal",
    "authentication-results",
    "content-type",
    "date",
    "dkim-signature",
    "from",
    "list-id",
    "message-id",
    "mime-version",
    "received",
    "received-spf",
    "reply-to",
    "sender",
}
# each word is looked at once, from its beginning to its end: a header of one long word takes no longer than another
_WORD = r"(?<![^\s<>@,;:()\"\[\]=])[^\s<>@,;:()\"\[\]=]++"
_LOCAL = re.compile(rf'(?:{_WORD}|"[^"\n]*+")(?=@)')
_ADDRESS = re.compile(rf'(?:{_WORD}|"[^"\n]*+")@(?:{_WORD}|\[[^\]\s]*+\])')
_NAME = re.compile(r'\([^()]*+\)|"[^"]*+"(?!@)')  # of a person: comments and quoted words
_LOGIN = re.compile(r"\b(authenticated (?:sender|user|as)[:=\s]\s*)[^\s();]+", re.IGNORECASE)
_FOR = re.compile(r"\bfor\s+<?[^\s;>]*>?")  # in Received: one of our users
_MAX_LINE = 900  # RFC 5322 §2.1.1 allows 998
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\t]")


def redact_local(address: str, key: bytes) -> str:
    """Local parts in a text replaced by words of eight letters and digits (RFC 6590 §3)."""
    return _LOCAL.sub(lambda match: _word(match[0], key), address)


def redact_header(header: str, key: bytes) -> str:
    """The fields of a header that may be shown, with local parts and display names taken out."""
    shown = []
    for field in re.split(r"\n(?![ \t])", header.rstrip("\n")):
        name = field.partition(":")[0].strip().lower()
        if name not in _KEPT:
            continue
        if name in ("from", "sender", "reply-to"):
            # addresses alone: names stand in front of them, behind them, between them, on lines of their own
            field = f"{field.partition(':')[0]}: " + ", ".join(
                f"<{address}>" for address in _ADDRESS.findall(_NAME.sub(" ", field.partition(":")[2]))
            )
        elif name == "received":
            field = _LOGIN.sub(r"\1redacted", _FOR.sub("for <redacted>", field))
        shown.append(redact_local(field, key))
    return plain("\n".join(shown))


def plain(header: str) -> str:
    """A header in printable ASCII with short lines, and with web addresses that nobody can click on (RFC 9991 §7.3)."""
    lines = []
    for line in header.rstrip("\n").split("\n"):
        text = re.sub(r"\bhttp(s?)://", r"hxxp\1://", _UNPRINTABLE.sub("?", line), flags=re.IGNORECASE)
        lines += [text[:_MAX_LINE], *(f" {text[at : at + _MAX_LINE]}" for at in range(_MAX_LINE, len(text), _MAX_LINE))]
    return "".join(f"{line}\n" for line in lines if line)


def _word(text: str, key: bytes) -> str:
    digest = hmac.digest(key, text.lower().encode("utf-8", "surrogateescape"), hashlib.sha256)
    return base64.b32encode(digest[:5]).decode().lower()
