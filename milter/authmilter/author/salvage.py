"""The domains that somebody might see in a From field that cannot be parsed.

A message with such a field is suspicious already (RFC 9989 §11.5). What is found here only lets policies be evaluated
besides, so that it may be too much, and it need not be complete.

Limits: 128 KB of text, 20,000 matches, 1,000 different names. Linear in the length of the text.
"""

from __future__ import annotations

import binascii
import re

from authmilter.author.tokens import without_comments
from mailcommon.names import to_alabel

_MAX_TEXT = 128 * 1024
_MAX_MATCHES = 20_000
_MAX_NAMES = 1_000
_MAX_ENCODED = 200

_AFTER_AT = re.compile(r"@[ \t]*+([\w.\-\u0080-\ud7ff\ue000-\U0010ffff]++)")
_NO_LETTER = re.compile(r"[^\w.\-]")
_NOISE = re.compile(r"[\x00-\x1f\x7f\\\"']+")
_ENCODED = re.compile(r"=\?[^?\s]{1,60}+\?([bBqQ])\?([^?]*+)\?=")


def scan_domains(text: str, max_domains: int) -> dict[str, None]:
    """Every usable domain with a dot that follows an "@" in `text`, in order; at most `max_domains` + 1."""
    text = text[:_MAX_TEXT]
    plain = _NOISE.sub("", without_comments(text))
    plain = ".".join(stripped for part in plain.split(".") if (stripped := part.strip(" \t")))
    readings = [text]
    if plain != text:
        readings.append(plain)
    if "=?" in text:
        readings.append(_ENCODED.sub(_decoded, text, count=_MAX_ENCODED))
    domains: dict[str, None] = {}
    for reading in readings:
        _scan(reading, domains, max_domains)
    return domains


def _scan(text: str, domains: dict[str, None], max_domains: int) -> None:
    seen: set[str] = set()
    for count, match in enumerate(_AFTER_AT.finditer(text)):
        written = match[1]
        if written in seen:
            continue
        if count >= _MAX_MATCHES or len(seen) >= _MAX_NAMES or len(domains) > max_domains:
            return
        seen.add(written)
        # where the whole is no name, what stands before the first sign that is neither letter nor digit may be one
        domain = to_alabel(written.strip(".-")) or to_alabel(_NO_LETTER.split(written, 1)[0].strip(".-"))
        if domain and "." in domain and not domain[domain.rfind(".") + 1 :].isdigit():
            domains[domain] = None


def _decoded(match: re.Match[str]) -> str:
    """What an encoded word displays (RFC 2047 §4), in the charsets that are supersets of ASCII."""
    try:
        text = match[2].encode("ascii")
        raw = binascii.a2b_base64(text) if match[1] in "bB" else binascii.a2b_qp(text, header=True)
    except ValueError:
        return ""
    return raw.decode("utf-8", "replace")
