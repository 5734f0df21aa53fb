"""Parameters of main.cf that authmilter rests on, one row each. Pure.

Standards: postconf(5), MILTER_README.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from authmilter.doctor.facts import Mail
from mailcommon.doctor.findings import Finding, main_cf, mend_by, note, right
from mailcommon.doctor.postfix import Postfix

_ANSWER_SECONDS = 90.0  # authmilter waits for DNS for 60 seconds at the end of a message, and one look-up more
_SHORT_LIMIT = 102_400  # Postfix's own header_size_limit
_OUR_HEADER = 4 << 20  # octets of header beyond which authmilter refuses a message


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter, what is good, and what it should be."""

    id: str
    parameter: str
    good: Callable[[str, Postfix], bool]
    wanted: Callable[[str], str]  # from what it is
    why: str  # what comes of a bad one
    level_note: bool = False  # worth a note only
    by_hand: str = ""  # a note that says this, where the site's own value would be lost by setting it
    signing: bool = False  # only where mail is signed


def _macros(*needed: str) -> Callable[[str, Postfix], bool]:
    return lambda value, _: set(needed) <= set(re.split(r"[,\s]+", value))


def _with_macros(*needed: str) -> Callable[[str], str]:
    def wanted(value: str) -> str:
        known = re.split(r"[,\s]+", value) if value else []
        return " ".join([*known, *(name for name in needed if name not in known)])

    return wanted


def _at_least(seconds: float) -> Callable[[str, Postfix], bool]:
    def good(value: str, _: Postfix) -> bool:
        found = Postfix((), {"it": value}).seconds("it")
        return found is None or found >= seconds

    return good


def _number_at_least(least: int) -> Callable[[str, Postfix], bool]:
    return lambda value, _: not value.isdigit() or int(value) >= least


def _always(value: str) -> Callable[[str], str]:
    return lambda _: value


ROWS = (
    Row(
        "default-action",
        "milter_default_action",
        # shutdown, the default of Postfix 3.8 and newer, hangs up: the sender comes again
        lambda value, _: value in ("tempfail", "shutdown"),
        _always("tempfail"),
        "this happens to mail while authmilter does not answer",
    ),
    Row(
        "milter-protocol",
        "milter_protocol",
        lambda value, _: value.split()[:1] == ["6"],
        _always("6"),
        "older protocols lose the space after a header's colon, and DKIM signatures with it",
    ),
    Row(
        "content-timeout",
        "milter_content_timeout",
        _at_least(_ANSWER_SECONDS),
        _always("300s"),
        "authmilter may wait for DNS for longer at the end of a message",
    ),
    Row(
        "command-timeout",
        "milter_command_timeout",
        _at_least(10.0),
        _always("30s"),
        "a busy host needs longer for an answer",
    ),
    Row(
        "reject-nul",
        "message_reject_characters",
        lambda value, _: r"\0" in value,
        lambda value: value + r"\0",
        "the milter protocol ends a header at a NUL byte: what stands behind it is delivered unseen",
    ),
    Row(
        "bare-newline",
        "smtpd_forbid_bare_newline",
        lambda value, _: value.lower() in ("yes", "normalize", "reject", "note"),
        _always("normalize"),
        "a bare LF may end a message: one authenticated message smuggles in another",
    ),
    Row(
        "mail-macros",
        "milter_mail_macros",
        _macros("i", "{auth_type}", "{auth_authen}"),
        _with_macros("i", "{auth_type}", "{auth_authen}"),
        "authmilter cannot tell your own users from strangers",
    ),
    Row(
        "end-macros",
        "milter_end_of_data_macros",
        _macros("i"),
        _with_macros("i"),
        "the log lacks the queue id",
    ),
    Row(
        "soft-bounce",
        "soft_bounce",
        lambda value, _: value.lower() != "yes",
        _always("no"),
        "refused mail comes again and again: good for a trial of a new setup, and for nothing else",
        level_note=True,
    ),
    Row(
        "header-size",
        "header_size_limit",
        _number_at_least(_SHORT_LIMIT),
        _always(str(_SHORT_LIMIT)),
        "longer header fields are cut, and signatures over them fail",
    ),
    Row(
        "header-tokens",
        "header_address_token_limit",
        _number_at_least(10_240),
        _always("10240"),
        "long lists of addresses are cut, and signatures over them fail",
    ),
    Row(
        "line-length",
        "smtp_line_length_limit",
        lambda value, _: not value.isdigit() or int(value) == 0 or int(value) >= 998,
        _always("998"),
        "smtp(8) breaks longer lines after they were signed",
        signing=True,
    ),
    Row(
        "generic-maps",
        "smtp_generic_maps",
        lambda value, _: not value,
        _always(""),
        "smtp(8) rewrites addresses after they were signed",
        signing=True,
        by_hand="move what rewrites From: and other signed fields to canonical_maps, which does it before",
    ),
    Row(
        "smtp-header-checks",
        "smtp_header_checks",
        lambda value, _: not value,
        _always(""),
        "smtp(8) changes the header after it was signed",
        signing=True,
        by_hand="move what changes signed fields to header_checks, which does it before",
    ),
    Row(
        "bounces-unsigned",
        "internal_mail_filter_classes",
        lambda value, _: "bounce" in value,
        lambda value: f"{value}, bounce" if value else "bounce",
        "bounces are not signed",
        level_note=True,
        signing=True,
    ),
)


def judge_parameters(mail: Mail) -> tuple[Finding, ...]:
    """Each row against what is in force."""
    found: list[Finding] = []
    for row in ROWS:
        if row.signing and not mail.signs:
            continue
        if not mail.postfix.knows(row.parameter):
            if row.id == "bare-newline":
                found.append(_too_old(mail.postfix))
            continue
        value = mail.postfix.get(row.parameter)
        if row.good(value, mail.postfix):
            continue
        text = f"{row.parameter} is {value or 'empty'}"
        fix = main_cf(row.parameter, row.wanted(value))
        if row.level_note or row.by_hand:
            found.append(note(row.id, text, row.why, row.by_hand or f"{row.parameter} = {row.wanted(value)}"))
        else:
            found.append(mend_by(row.id, text, row.why, fix))
    if not any(finding.fixes for finding in found):
        found.insert(0, right("parameters", "main.cf has what the milter protocol needs"))
    return (*found, *_limits(mail), *_network(mail))


def _too_old(postfix: Postfix) -> Finding:
    return note(
        "bare-newline",
        f"Postfix {postfix.version_text} does not know smtpd_forbid_bare_newline",
        "a bare LF may end a message (SMTP smuggling)",
        "Postfix 3.7.10, 3.8.5, 3.9 or newer",
    )


def _limits(mail: Mail) -> tuple[Finding, ...]:
    limit = mail.postfix.number("header_size_limit")
    if limit is None or limit <= _OUR_HEADER:
        return ()
    return (
        note(
            "header-size-large",
            f"header_size_limit is {limit}",
            f"authmilter refuses a message whose header has more than {_OUR_HEADER} octets",
        ),
    )


def _network(mail: Mail) -> tuple[Finding, ...]:
    """Clients that Postfix relays for and authmilter takes for strangers."""
    known = {_bare(each) for each in mail.trusted}
    words = re.split(r"[,\s]+", mail.postfix.get("mynetworks"))
    others = [word for word in words if re.match(r"[\[\d]", word) and _bare(word) not in known | _LOOPBACK]
    if not others:
        return ()
    return (
        note(
            "networks-differ",
            f"mynetworks has {', '.join(others)}, and [trust] networks does not",
            "their mail is judged as that of strangers and not signed",
            "add them to [trust] networks in authmilter.toml if they are yours",
        ),
    )


_LOOPBACK = {"127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104", "127.0.0.1/32", "127.0.0.1", "::1"}


def _bare(network: str) -> str:
    return network.replace("[", "").replace("]", "")
