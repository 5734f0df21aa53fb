"""The one place that makes outside text safe in header fields.

Each function takes any text and returns a piece of a structured header field that cannot end early, open anything or
start a new line: no control characters, no unpaired quote or parenthesis, a bounded length. Nothing here raises.

`utf8` says that the message was sent with SMTPUTF8 (RFC 6531): only then may printable non-ASCII text stand as it is;
otherwise it becomes "?", or is left out where "?" would make a false address. Domains are always written in A-labels.

Two things go further than the grammar asks, for the sake of readers that know less of it than they should:
- Text for people (comments, reasons) loses its parentheses, backslashes, semicolons and double quotes to look-alikes:
  a reader that splits at ";" or does not know quoted pairs finds nothing there.
- "=?" is broken up everywhere: a reader that decodes encoded words (RFC 2047) before it parses finds none.

Limits: 255 octets of one piece before escaping (RFC 5321 §4.5.3.1.2 allows no longer domain, and no longer address).
Standards: RFC 8601 §2.2 (value, pvalue), RFC 2045 §5.1 (token), RFC 5322 §3.2, RFC 5321 §4.1.2, RFC 6532 §3.2.
"""

from __future__ import annotations

import re

from mailcommon.names import is_hostname, to_alabel

MAX_OCTETS = 255

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-"  # RFC 5322 §3.2.3, RFC 6532 §3.2
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+").fullmatch  # RFC 2045 §5.1: no tspecials
_DOT_ATOM = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*").fullmatch
_PLAIN_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/^_`{|}~-]+)*").fullmatch
_QUOTED_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"').fullmatch
_FOR_PEOPLE = str.maketrans({"(": "[", ")": "]", "\\": "/", ";": ",", '"': "'"})


def printable(text: str, utf8: bool = False, limit: int = MAX_OCTETS) -> str:
    """`text` on one line, in printable characters, of about `limit` octets at most; what was cut ends in "..."."""
    if len(text) > limit:
        text = f"{text[: limit - 3]}..."
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if c.isprintable() and (utf8 or c.isascii()) else " " if c in "\t\r\n" else "?" for c in text)
        if utf8 and len(octets := text.encode()) > limit:
            text = octets[: limit - 3].decode("utf-8", "ignore") + "..."
    return text.replace("=?", "= ?") if "=?" in text else text


def people_text(text: str, utf8: bool = False) -> str:
    """`text` for people to read: as `printable`, without anything that structures a header field."""
    text = printable(text, utf8).translate(_FOR_PEOPLE)
    return " ".join(text.split()) if " " in text else text


def comment(text: str, utf8: bool = False) -> str:
    """`text` as a comment with its parentheses (RFC 5322 §3.2.2); "" if it says nothing."""
    text = people_text(text, utf8)
    return f"({text})" if text else ""


def reason(text: str, utf8: bool = False) -> str:
    """`text` as the value of reason= (RFC 8601 §2.2); "" if it says nothing."""
    text = people_text(text, utf8)
    return text if not text or _TOKEN(text) else f'"{text}"'


def quoted(text: str, utf8: bool = False) -> str:
    """`text` as a quoted-string (RFC 5322 §3.2.4)."""
    text = printable(text, utf8)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def value(text: str, utf8: bool = False) -> str:
    """`text` as a token, or a quoted-string where it is none (RFC 8601 §2.2: value)."""
    return text if len(text) <= MAX_OCTETS and _TOKEN(text) else quoted(text, utf8)


def pvalue(text: str, utf8: bool = False) -> str:
    """An address, a domain or any other text as the value of a property (RFC 8601 §2.2: pvalue)."""
    return address(text, utf8) or value(text, utf8)


def address_value(text: str, utf8: bool = False) -> str:
    """An address as a quoted-string, its domain in A-labels; the domain alone if it is too long."""
    found = address(text, utf8)
    if len(found) > MAX_OCTETS:
        found = found.rpartition("@")[2]
    return quoted(found or text, utf8)


def dot_atom_value(text: str) -> str:
    """`text` as a dot-atom, or a quoted-string where it is none (RFC 7208 §9.1: key-value-pair).

    "=" is quoted although atext has it: readers take the text apart at "=".
    """
    return text if len(text) <= MAX_OCTETS and _PLAIN_DOT_ATOM(text) else quoted(text)


def domain_value(text: str) -> str:
    """`text` in A-labels if it is a DNS name, "" if not."""
    return to_alabel(text) or ""


def address(text: str, utf8: bool = False) -> str:
    """`text` as [[local-part] "@"] domain-name (RFC 8601 §2.2: pvalue); "" if it has another form.

    A domain without a local part has two labels or more: a single word may be anything.
    """
    local, at, raw_domain = text.rpartition("@")
    domain = to_alabel(raw_domain)
    if domain is None or not is_hostname(domain):
        return ""
    if not at:
        return domain if "." in domain else ""
    if (local_part := _local_part(local, utf8)) is None:
        return domain
    return f"{local_part}@{domain}"


def _local_part(local: str, utf8: bool) -> str | None:
    """The local part, quoted if it has to be; None if it is empty in quotes or cannot be shown unchanged."""
    if not local:
        return ""
    if len(local) > MAX_OCTETS or not local.isprintable() or "=?" in local or local == '""':
        return None
    # RFC 8601 §2.2 lets UTF-8 in only with SMTPUTF8 mail; a local part has no ASCII form
    if not local.isascii() and not (utf8 and len(local.encode()) <= MAX_OCTETS):
        return None
    if _DOT_ATOM(local) or _QUOTED_STRING(local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
