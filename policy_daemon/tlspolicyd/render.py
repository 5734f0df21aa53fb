"""A decision -> the socketmap reply that Postfix reads. Pure. The one place where outside text goes into a policy line.

Takes the `Decision`, whose policy (names, lines) and reasons come from strangers' DNS and web servers. Returns the
octets of the reply without the netstring around them:

    OK secure match=mx.a.example:.b.example servername=hostname
    OK dane-only
    NOTFOUND_                       with a blank at its end
    TEMP a reason in plain ASCII

The map `policy-tlsrpt` (Postfix 3.10 and newer) adds what TLS reports are made of; Postfix 3.9 and older refuse the
whole line for it. The attributes belong to a policy of type sts (TLSRPT_README: an error with any other), so they go
with `secure` alone: with `dane` and `dane-only` Postfix reports the TLSA records that it used itself, and without a
policy there is no line to carry them.

Security: Postfix splits a line at blanks, commas and line ends outside of braces, and takes a brace that closes too
early as the end of the group: the next word would be an attribute of its own. So names are written only if they are
host names, and a line of the policy only if it is printable and has no brace. What cannot be written is left out, which
never makes the line weaker: fewer names match, fewer lines are reported.

Limits: a reply has at most 100,000 octets (socketmap_table(5)). If the whole does not fit, the lines of the policy go
first, then its patterns (a part of them would make Postfix refuse hosts that the policy allows), then the last names.
"""

from __future__ import annotations

from mailcommon.names import is_hostname
from tlspolicyd import netstring
from tlspolicyd.facts import Decision, Level, StsFact
from tlspolicyd.mx_names import match_name, usable_patterns
from tlspolicyd.socketmap import NOT_FOUND

MAX_REPLY = netstring.LIMIT  # octets, socketmap_table(5)

_MAX_REASON = 200  # characters: Postfix logs no more
_ROOM_FOR_NAMES = MAX_REPLY - 1000  # octets; the rest is for the words around them and policy_domain
# a name that no public CA can certify (RFC 6761 §6.4), where a line must have one and must not match
_UNMATCHABLE = "unusable-policy.invalid"


def render(decision: Decision, tlsrpt: bool) -> bytes:
    """The reply for `decision`; `tlsrpt`: the map takes the attributes of Postfix 3.10."""
    level = decision.level
    if level is Level.NOT_FOUND:
        return NOT_FOUND
    if level is Level.SECURE and decision.sts is not None and decision.sts.policy is not None:
        return _secure(decision, decision.sts, tlsrpt)
    if level in (Level.DANE, Level.DANE_ONLY):
        return f"OK {level.value}".encode()
    return temp(decision.reason)  # also `secure` with nothing that could be secured: never a weaker answer


def policy_line(reply: bytes) -> str | None:
    """The line that Postfix gets as the policy, or None if the reply has none."""
    return reply[3:].decode("ascii") if reply.startswith(b"OK ") else None


def temp(reason: str) -> bytes:
    """TEMP: Postfix defers and logs `reason`."""
    text = "".join(char if " " <= char <= "~" else "?" for char in reason[:_MAX_REASON])
    return f"TEMP {text.strip() or 'no policy can be told now'}".encode()


def _secure(decision: Decision, sts: StsFact, tlsrpt: bool) -> bytes:
    assert sts.policy is not None
    patterns = _fitting(usable_patterns(sts.policy))
    if not patterns and not tlsrpt:
        # an empty match= makes Postfix refuse the whole line and log something that nobody understands
        return temp(decision.reason)
    names = ":".join(map(match_name, patterns)) or _UNMATCHABLE
    line = f"OK secure match={names} servername=hostname"
    return (_with_report(line, decision.domain, sts, patterns) if tlsrpt else line).encode()


def _fitting(patterns: tuple[str, ...]) -> tuple[str, ...]:
    room = _ROOM_FOR_NAMES
    for count, pattern in enumerate(patterns):
        room -= len(pattern) + 1
        if room < 0:
            return patterns[:count]
    return patterns


def _with_report(line: str, domain: str, sts: StsFact, patterns: tuple[str, ...]) -> str:
    """`line` and as much of the attributes as fits."""
    assert sts.policy is not None
    if not is_hostname(domain):  # Postfix would refuse the whole line
        return line
    head = f" policy_type=sts policy_domain={domain}"
    # Postfix 3.10.5 and newer compare the MX name with these (RFC 8461 §4.1)
    hosts = "".join([f" mx_host_pattern={pattern}" for pattern in patterns])
    lines = [text.replace("\t", " ").strip() for text in sts.policy.lines]
    strings = "".join([f" {{ policy_string = {text} }}" for text in lines if _is_writable(text)])
    # RFC 8460 §4.3.2.2; it makes Postfix fail every host, so it never goes with a policy that can be obeyed
    failure = "" if patterns or sts.failure is None else f" policy_failure={sts.failure.value}"
    for parts in ((hosts, strings, failure), (hosts, failure), (failure,)):
        whole = line + head + "".join(parts)
        if len(whole) <= MAX_REPLY:
            return whole
    return line


def _is_writable(text: str) -> bool:
    """True for one printable ASCII line that Postfix's parser gives back as it is (but for runs of blanks)."""
    return bool(text) and text.isascii() and text.isprintable() and "{" not in text and "}" not in text
