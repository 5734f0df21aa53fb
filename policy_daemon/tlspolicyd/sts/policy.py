"""The MTA-STS policy text (RFC 8461 §3.2): the body of the HTTPS answer in, a `Policy` or a reason out; and its use.

No I/O; nothing here raises. A text that breaks the grammar in a field that we use, or that is not "name: value" line by
line, gives no policy: the caller treats it like a failed fetch (RFC 8461 §3.3). What an unknown field has for a value
does not matter.
Limits: 64 KB, 2,000 lines, 300 mx patterns of 16,000 characters in all; what is kept of the lines for the reports is
32,000 characters, so that an answer to Postfix (at most 100,000 octets) can hold all of it. Time is linear.
Security: `mx` has host names only, `lines` has no line with a control character, a brace or anything outside ASCII,
since Postfix's parser of policy lines counts braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailcommon.names import is_hostname, to_alabel
from tlspolicyd.facts import Mode, Policy

MAX_OCTETS = 65_536  # RFC 8461 §3.3: "a suggested maximum policy size 64 kilobytes"
MAX_AGE = 31_557_600  # seconds, a year (RFC 8461 §3.2)
MAX_PATTERNS = 300  # the largest mail providers publish a dozen
MAX_PATTERN_TEXT = 16_000  # characters of all patterns
MAX_KEPT = 32_000  # characters of all lines kept, each with _LINE_COST on top
_MAX_LINES = 2_000
_MAX_NOTES = 10
_MAX_SHOWN = 2_000  # octets of a text that is no policy
_MAX_SHOWN_LINES = 20
_LINE_COST = 24  # what Postfix's policy line needs around one line

_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
)  # RFC 8461 §3.2 sts-policy-ext-name; the known names are such too
_DIGITS = re.compile(r"[0-9]{1,10}")  # RFC 8461 §3.2 sts-policy-max-age-value
_HARMLESS = re.compile(r"[\x20-\x7a\x7c\x7e]+")
_BLANK = " \t"
_SINGLE = ("version", "mode", "max_age")
_MODES = {mode.value: mode for mode in Mode}  # RFC 8461 §3.2: %s"enforce" and so on, in lower case only


@dataclass(frozen=True, slots=True)
class Reading:
    """What a policy text came to."""

    policy: Policy | None
    reason: str = ""  # why there is none, for people
    notes: tuple[str, ...] = ()  # what was passed over or mended, for people


def shown(body: bytes) -> tuple[str, ...]:
    """The beginning of a text that is no policy, line by line, as far as it can be shown; at most 2,000 characters."""
    lines = (line.strip(b"\r \t") for line in body[:_MAX_SHOWN].split(b"\n")[:_MAX_SHOWN_LINES])
    texts = (line.decode("ascii", "replace").replace("\t", " ") for line in lines)
    return tuple(text for text in texts if _HARMLESS.fullmatch(text))


class _Invalid(Exception):
    """Ends the reading inside this module; the text is the reason."""


class _Notes(list[str]):
    def add(self, note: str) -> None:
        if len(self) < _MAX_NOTES:
            self.append(note)


def parse(body: bytes) -> Reading:
    """The policy in `body`, or why there is none."""
    notes = _Notes()
    try:
        return Reading(_parse(body, notes), notes=tuple(notes))
    except _Invalid as invalid:
        return Reading(None, str(invalid), tuple(notes))


def _parse(body: bytes, notes: _Notes) -> Policy:
    if len(body) > MAX_OCTETS:
        raise _Invalid(f"the policy has more than {MAX_OCTETS} octets")
    if body.count(b"\n") > _MAX_LINES:
        raise _Invalid(f"the policy has more than {_MAX_LINES} lines")
    fields: dict[str, str] = {}
    patterns: dict[str, None] = {}
    lines: list[str] = []
    room = MAX_KEPT
    # Octets that are no UTF-8 only matter in fields that are used, and there they match nothing
    for name, value in _fields(body.decode("utf-8", "surrogateescape")):
        if name == "mx":
            pattern = _pattern(value, notes)
            if pattern:
                patterns[pattern] = None
            if len(patterns) > MAX_PATTERNS:
                raise _Invalid(f"the policy has more than {MAX_PATTERNS} mx patterns")
        elif name in _SINGLE:
            fields.setdefault(name, value)  # RFC 8461 §3.2: "all entries except for the first SHALL be ignored"
        line = f"{name}: {value}".replace("\t", " ")
        room -= len(line) + _LINE_COST
        if room < 0:
            notes.add("the policy is too long to be shown whole in reports")
        elif _HARMLESS.fullmatch(line) is None:
            room += len(line) + _LINE_COST
            notes.add(f"a line {name} is left out of reports: it has a brace, a control character or is not ASCII")
        else:
            lines.append(line)
    mode, max_age = _single(fields)
    if sum(map(len, patterns)) > MAX_PATTERN_TEXT:
        raise _Invalid(f"the mx patterns have more than {MAX_PATTERN_TEXT} characters")
    if not patterns and mode is not Mode.NONE:
        raise _Invalid(f"mode {mode} without an mx that a host could match")  # RFC 8461 §3.2
    return Policy(mode, tuple(patterns), max_age, tuple(lines))


def _fields(text: str) -> Iterable[tuple[str, str]]:
    """Name and value of each line. Only LF ends a line: str.splitlines knows more ends than RFC 8461 §3.2 has."""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r").rstrip(_BLANK)  # RFC 8461 §3.2: *WSP, then LF or CRLF
        if not line:
            continue  # Deviates from RFC 8461 §3.2: a blank line, as editors leave at the end, does no harm
        name, colon, value = line.partition(":")
        if not colon or _NAME.fullmatch(name) is None:
            what = "begins with a byte order mark" if line.startswith("\ufeff") else 'is not "name: value"'
            raise _Invalid(f"line {number} of the policy {what}")
        yield name, value.lstrip(_BLANK)


def _single(fields: dict[str, str]) -> tuple[Mode, int]:
    for name in _SINGLE:
        if name not in fields:
            raise _Invalid(f"the policy has no {name}")  # RFC 8461 §3.2: "required once"
    if fields["version"] != "STSv1":
        raise _Invalid(f"version {_shown(fields['version'])} is not STSv1")
    mode = _MODES.get(fields["mode"])
    if mode is None:
        raise _Invalid(f"mode {_shown(fields['mode'])} is none of enforce, testing, none")
    if _DIGITS.fullmatch(fields["max_age"]) is None:
        raise _Invalid(f"max_age {_shown(fields['max_age'])} is not 1 to 10 digits")
    # RFC 8461 §3.2 (erratum 7282): "maximum value of 31557600", while the grammar has ten digits
    return mode, min(int(fields["max_age"]), MAX_AGE)


def _pattern(value: str, notes: _Notes) -> str:
    """The pattern in A-labels, lower case; "" if no MX host can match it; raises _Invalid if it is none."""
    star = value.startswith("*.")  # RFC 8461 §3.2: ["*."] Domain
    name = to_alabel(value[2:] if star else value)
    if name is None or not (is_hostname(name) or is_hostname(f"{name}x")):  # letters, digits, hyphens at least
        raise _Invalid(f"mx {_shown(value)} is not a host name")
    if not is_hostname(name):
        notes.add(f"mx {name} is an address, which no MX host can match")  # RFC 5321 §5.1: an MX has a name
        return ""
    pattern = f"*.{name}" if star else name
    if not value.isascii():
        # Deviates from RFC 8461 §3.2: "not the Unicode-encoded U-label"; there is one thing only that it can mean
        notes.add(f"mx {_shown(value)} is not in A-labels; taken as {pattern}")
    return pattern


def _shown(value: str) -> str:
    """The start of a value from outside, in ASCII, for a reason."""
    return ascii(value[:60])


def match_mx(patterns: Iterable[str], host: str) -> bool:
    """True if the MX host name `host` matches one of a policy's `mx` patterns, in whatever case, dot at the end or not.

    RFC 8461 §4.1: the asterisk stands for the whole left-most label, one and no more.
    """
    name = to_alabel(host)
    if name is None:
        return False
    wildcard = f"*.{name.partition('.')[2]}"
    return any(pattern in (name, wildcard) for pattern in patterns)
