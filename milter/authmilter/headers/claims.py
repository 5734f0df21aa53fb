"""Which incoming header fields pass for ours and have to go (RFC 8601 §5).

A field is ours by its authserv-id: compared without comments, folds, quotes and letter case, in A-labels. What stands
behind the id does not matter: an unknown version or a broken rest is still a claim.

Where the id cannot be told apart, this module asks what another reader might take it for:
- the text ends before the id is complete (an open comment, half an id, nothing at all), or a control character stands
  in or before it: removed, because libmilter gives us a value only up to its first NUL and other programs read on;
- an encoded word (RFC 2047) or broken UTF-8 stands in or before it: read in each way in use, one claim is enough;
- it is followed or preceded by something that does not belong there: removed if our id occurs anywhere in the field, or
  if the field is larger or has more comments than an honest one.
Everything else stays: fields of other hosts may be signed or of use (RFC 8601 §5).

Limits: 200 fields are looked at, what comes after them is removed unread; time is linear in the length of the fields;
no recursion; nothing raises.
"""

from __future__ import annotations

import binascii
import functools
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import idna

from authmilter.bimi.names import RECEIVER_FIELDS
from authmilter.facts import HeaderField
from authmilter.headers import lexer
from mailcommon.names import to_alabel

RESULTS = "Authentication-Results"
# BIMI core §5.6: a receiver removes these from mail of others, whatever else it does
BIMI = RECEIVER_FIELDS
# lower case: every name of which a field may have to be removed
CLAIMING_NAMES = frozenset(name.lower().encode() for name in (RESULTS, *BIMI))

_RESULTS_LOWER = RESULTS.lower().encode()
_MAX_FIELDS = 200  # Authentication-Results fields of one message; real ones have about ten
_MAX_ID = 2_000  # characters; a domain has 253, before its escapes and blanks are undone
_MAX_UNSURE = 16_384  # characters of a field whose id cannot be told apart
_MAX_FOLDED = 4_000  # characters in which look-alikes are mapped: normalization can be slower than linear
_MAX_COMMENTS = 100  # in such a field

_WORD = re.compile(r"""[^\s;()"]+""")
_TOKEN = re.compile(r"""[^\s;()"<>@,:\\/\[\]?=]+""").fullmatch  # RFC 2045 §5.1, and what is not ASCII
_DIGITS = re.compile(r"[0-9]+")
_BLANKS = re.compile(r"\s+")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_NON_ASCII = bytes(range(128, 256))
_ENCODED_WORD = re.compile(r"=\?[^?\s]{1,64}\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)  # RFC 2047 §2


def claimed_fields(fields: Sequence[HeaderField], authserv_ids: Collection[str]) -> list[tuple[str, int]]:
    """The Authentication-Results fields that claim one of `authserv_ids`, highest occurrence first.

    Each is (name, occurrence), counted from 1 among all fields of that name, as Postfix counts for SMFIR_CHGHEADER. An
    id that begins with a dot stands for the name behind the dot and everything below it.
    """
    found = []
    occurrence = 0
    for field in fields:
        # a blank before the colon does not make another name (RFC 5322 §4.5.8)
        if len(field.name) >= len(_RESULTS_LOWER) and field.name.strip().lower() == _RESULTS_LOWER:
            occurrence += 1
            if occurrence > _MAX_FIELDS or claims(field.value, authserv_ids):
                found.append((RESULTS, occurrence))
    found.reverse()
    return found


def stripped_fields(fields: Sequence[HeaderField], names: Collection[str]) -> list[tuple[str, int]]:
    """All fields with one of `names`, as `claimed_fields` gives them, highest occurrence first."""
    wanted = {name.lower().encode(): name for name in names}
    shortest = min(map(len, wanted), default=0)
    count = dict.fromkeys(wanted, 0)
    found = []
    for field in fields:
        if len(field.name) >= shortest and (key := field.name.strip().lower()) in wanted:
            count[key] += 1
            found.append((wanted[key], count[key]))
    return sorted(found, key=lambda pair: -pair[1])


def claims(value: bytes, authserv_ids: Collection[str]) -> bool:
    """True if an Authentication-Results field with this value passes, or might pass, for one of `authserv_ids`."""
    own = _own(tuple(authserv_ids))
    text = lexer.decode(value)
    claim, head = _judge(text, own)
    if claim or _CONTROLS.search(head):
        return True
    return not (head.isascii() and "=?" not in head) and any(_judge(reading, own)[0] for reading in _readings(text))


@dataclass(frozen=True, slots=True)
class _Own:
    """Our ids, ready for comparison."""

    exact: frozenset[str]
    below: tuple[str, ...]  # each begins with a dot
    anywhere: re.Pattern[str]  # one of our ids between characters that no name has
    at_start: re.Pattern[str]  # one of our ids, perhaps a version, and the end of the first part

    def has(self, key: str) -> bool:
        return key in self.exact or any(f".{key}".endswith(suffix) for suffix in self.below)

    def begins_with(self, key: str) -> bool:
        return any(name.startswith(key) for name in self.exact) or any(name[1:].startswith(key) for name in self.below)


@functools.lru_cache(maxsize=16)
def _own(authserv_ids: tuple[str, ...]) -> _Own:
    exact = frozenset(_key(name) for name in authserv_ids if not name.startswith("."))
    below = tuple(f".{_key(name)}" for name in authserv_ids if name.startswith("."))
    named = "|".join(re.escape(form) for name in sorted(exact) for form in _forms(name))
    under = "|".join(re.escape(form) for name in below for form in _forms(name[1:]))
    one = "|".join(
        alternative
        for alternative in (rf"(?<![\w.-])(?:{named})" if named else "", rf"(?<![\w-])(?:{under})" if under else "")
        if alternative
    )
    one = one or r"(?!)"
    return _Own(
        exact,
        below,
        re.compile(rf"(?:{one})(?![\w-]|\.[\w-])"),
        re.compile(rf"(?:{'|'.join(filter(None, (named, under))) or '(?!)'})\.?[0-9]*(?:;|\Z)"),
    )


def _forms(name: str) -> set[str]:
    """`name` in A-labels and in U-labels."""
    try:
        return {name, idna.decode(name).lower()}
    except ValueError:
        return {name}


def _readings(text: str) -> Iterator[str]:
    """Other ways to read a field that has more than ASCII or encoded words in front."""
    if len(text) > _MAX_UNSURE:
        text = text[:_MAX_UNSURE]
    octets = text.encode("utf-8", "surrogateescape")
    if not text.isascii():
        yield octets.decode("latin-1")
        yield octets.translate(None, _NON_ASCII).decode("ascii")
    if "=?" in text:
        yield _ENCODED_WORD.sub(_decode_word, text)


def _decode_word(match: re.Match[str]) -> str:
    """What an encoded word says, read as UTF-8 whatever it names: ids are ASCII in every charset that is in use."""
    encoded = match[2].encode("utf-8", "surrogateescape")
    try:
        octets = binascii.a2b_base64(encoded) if match[1] in "bB" else unquote_to_bytes(encoded.replace(b"=", b"%"))
    except ValueError:
        return match[0]
    return lexer.decode(octets.replace(b"_", b" ") if match[1] in "qQ" else octets)


def _judge(text: str, own: _Own) -> tuple[bool, str]:
    """Whether a field is, or might be, ours, and what was read for it: all of it if the id cannot be told apart."""
    start = lexer.skip_cfws(text, 0)
    if start < 0 or start == len(text):
        return True, ""  # RFC 8601 §2.5: the id is mandatory
    if text[start] == '"':
        found = lexer.read_quoted(text, start)
        if found is None:
            return own.begins_with(_key(text[start + 1 :])) or _occurs(text, own), text
        quoted_string, end = found
        identifier, sound = lexer.unquote(quoted_string), True
    else:
        match = _WORD.match(text, start)
        end = match.end() if match else start
        identifier = text[start:end]
        sound = _TOKEN(identifier) is not None
    key = _key(identifier)
    if own.has(key):
        return True, ""  # RFC 8601 §5: whatever follows
    at = lexer.skip_cfws(text, end)
    if at == len(text) and own.begins_with(key):
        return True, ""  # the text ends inside an id that may become ours
    if at > end and (version := _DIGITS.match(text, at)):
        at = lexer.skip_cfws(text, version.end())  # RFC 8601 §2.2: authres-version
    if sound and at > 0 and (at == len(text) or text[at] == ";"):
        return False, text[:at]
    return _occurs(text, own), text


def _key(identifier: str) -> str:
    """An id in the form in which ids are compared."""
    if len(identifier) > _MAX_ID:
        return identifier
    key = _BLANKS.sub("", identifier)
    if "%" in key:
        key = lexer.decode(unquote_to_bytes(key.encode("utf-8", "surrogateescape")))
    if not key.isascii():
        # characters that are not seen: joiners, direction marks
        key = "".join(c for c in key if unicodedata.category(c) != "Cf")
    key = key.strip(".")
    return to_alabel(key) or key.lower()


def _occurs(text: str, own: _Own) -> bool:
    """True if one of our ids stands anywhere in a field whose id cannot be told apart."""
    if len(text) > _MAX_UNSURE or text.count("(") > _MAX_COMMENTS:
        return True
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text[:_MAX_FOLDED]) + text[_MAX_FOLDED:]
        text = text.replace("\u3002", ".")  # UTS #46: a full stop of other scripts
    text = text.lower()
    if own.anywhere.search(text):
        return True
    bare = lexer.without_comments(text)
    bare = bare.replace('"', "").replace("\\", "")
    if own.at_start.match(_BLANKS.sub("", bare).lstrip(";.")):
        return True
    bare = _BLANKS.sub(" ", bare).replace(" .", ".").replace(". ", ".")
    return own.anywhere.search(bare) is not None
