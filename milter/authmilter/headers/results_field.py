"""The value of Authentication-Results (RFC 8601): facts in, text out. Pure.

One method a line, in the order iprev, auth, spf, dkim, arc, dmarc, bimi. Properties are those of the IANA registry
"Email Authentication Property Types", those of bimi of its draft; what else people want to know stands in comments and
reason=.

Limits: 16 KB; results above that are left out and a comment says how many.
Security: every piece of text goes through `headers.escape`.
Standards: RFC 8601 §2.2, §2.7; RFC 6008 §3 (header.b); RFC 7208 §9.2; RFC 8617 §6; RFC 9989 §9.1; RFC 5322
§2.1.1 (lines).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from authmilter.bimi import names as bimi_names
from authmilter.facts import (
    ArcFact,
    ArcResult,
    BimiFact,
    BimiResult,
    DkimFact,
    DmarcFact,
    DmarcResult,
    IprevFact,
    IprevResult,
    MessageFacts,
    SpfFact,
)
from authmilter.headers import escape
from authmilter.headers.fold import fold

NAME = "Authentication-Results"
MAX_OCTETS = 16_000  # of the whole value
_MIN_B = 8  # RFC 6008 §3: characters of b=
_HASH_DIGITS = 16  # BIMI core §7.7: "the final 8 (at least) characters"
_MAX_B = 200  # a line has to stay below 998 octets, and signatures that agree in so much are copies

_ALGORITHM = re.compile(r"[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20})?").fullmatch
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}").fullmatch

Entry = Sequence[str]  # the words of one result

# results that come again with the next message of the same sender
_remember = lru_cache(maxsize=1024)


def render_results(authserv_id: str, facts: MessageFacts, note: str = "") -> str:
    """The field value, folded with LF and TAB, without a leading blank.

    `note` is a comment on the dmarc result: what was done with the message. Mail that was not judged has only auth=.
    """
    entries = _entries(facts, note)
    left_out = _shorten(entries)
    # RFC 8601 §2.5: the authserv-id is first; without a version it means 1 (§2.6)
    name = escape.domain_value(authserv_id) or escape.value(authserv_id)
    # RFC 8601 §2.2: no-result is "none"; a semicolon stands before each result and nowhere else
    lines: list[Entry] = [(f"{name};",)] if entries else [(f"{name};", "none")]
    lines += [(*entry[:-1], f"{entry[-1]};") for entry in entries[:-1]]
    lines += entries[-1:]
    notes = [f"{left_out} results left out"] if left_out else []
    if comment := escape.comment(", ".join((*notes, *facts.notes[:5])), facts.smtputf8):
        lines.append((comment,))
    return fold(lines, NAME)


def _entries(facts: MessageFacts, note: str) -> list[Entry]:
    utf8 = facts.smtputf8
    entries: list[Entry] = []
    if facts.judged and facts.iprev:
        entries.append(_iprev(facts.iprev, utf8))
    if facts.client.auth_user:
        # RFC 8601 §2.7.4: what the MTA authenticated; AUTH= of MAIL FROM says nothing
        user = facts.client.auth_user
        # a login name without "@" is no domain, and its letter case may matter
        text = escape.pvalue(user, utf8) if "@" in user else escape.value(user, utf8)
        entries.append((*_entry("auth", "pass", facts.client.auth_method, "", utf8), f"smtp.auth={text}"))
    if not facts.judged:
        return entries
    entries += [_spf(fact, utf8) for fact in facts.spf]
    shown = unique_prefixes([fact.b for fact in facts.dkim])
    entries += [_dkim(fact, b, utf8) for fact, b in zip(facts.dkim, shown, strict=True)]
    if facts.arc:
        entries.append(_arc(facts.arc, facts.client.ip, utf8))
    entries += [_dmarc(fact, note, utf8) for fact in facts.dmarc]
    if facts.author.problem and not facts.dmarc:
        # RFC 9989 §11.5: a From that cannot be evaluated must not look like mail without a policy
        entries.append(_entry("dmarc", DmarcResult.PERMERROR, note, facts.author.problem, utf8))
    if facts.bimi:
        entries.append(bimi_entry(facts.bimi, utf8))
    return entries


def _entry(method: str, result: str, comment: str, reason: str, utf8: bool) -> list[str]:
    """The words that every result begins with; RFC 8601 §2.2: reason= stands before the properties."""
    words = [f"{method}={result}"]
    if comment and (text := escape.comment(comment, utf8)):
        words.append(text)
    if reason and (text := escape.reason(reason, utf8)):
        words.append(f"reason={text}")
    return words


@_remember
def _iprev(fact: IprevFact, utf8: bool) -> Entry:
    reason = "" if fact.result is IprevResult.PASS else fact.reason
    words = _entry("iprev", fact.result, "", reason, utf8)
    if fact.ip:
        words.append(f"policy.iprev={escape.value(fact.ip)}")  # RFC 8601 §2.7.3
    if name := escape.comment(fact.name, utf8):
        words.append(name)
    return tuple(words)


@_remember
def _spf(fact: SpfFact, utf8: bool) -> Entry:
    comment = f"mechanism {fact.mechanism}" if fact.mechanism else ""
    words = _entry("spf", fact.result, comment, fact.reason, utf8)
    if fact.identity:
        # RFC 8601 §2.7.2; for the null sender the identity is postmaster@HELO (RFC 7208 §2.4)
        words.append(f"smtp.{'helo' if fact.scope == 'helo' else 'mailfrom'}={escape.pvalue(fact.identity, utf8)}")
    return tuple(words)


def _dkim(fact: DkimFact, b: str, utf8: bool) -> Entry:
    about = [f"{fact.key_bits}-bit key"] if fact.key_bits else []
    if fact.testing:
        about.append("testing")
    words = _entry("dkim", fact.result, ", ".join(about), fact.reason, utf8)
    # RFC 8601 §2.7.1; a value that does not have the form of its tag is left out
    if domain := escape.domain_value(fact.domain):
        words.append(f"header.d={domain}")
    if identity := escape.address(fact.identity, utf8):
        words.append(f"header.i={identity}")
    if selector := escape.domain_value(fact.selector):
        words.append(f"header.s={selector}")
    if _ALGORITHM(fact.algorithm):
        words.append(f"header.a={fact.algorithm}")
    if _BASE64(b):
        words.append(f"header.b={escape.value(b)}")
    return words


def _arc(fact: ArcFact, ip: str, utf8: bool) -> Entry:
    passed = fact.sets if fact.result is ArcResult.PASS else ()
    chain = ", ".join(f"i={one.instance} {one.domain}" for one in reversed(passed))
    return _arc_words(fact.result, chain, fact.reason, ip, fact.oldest_pass, utf8)


@_remember  # of the texts: the sets can be large
def _arc_words(result: ArcResult, chain: str, reason: str, ip: str, oldest_pass: int, utf8: bool) -> Entry:
    # RFC 8617 §5.2 wants every result written, "none" too: whoever seals the message takes smtp.remote-ip from here
    words = _entry("arc", result, chain, reason, utf8)
    if result is ArcResult.PASS:
        words.append(f"header.oldest-pass={oldest_pass}")
    if ip:
        # RFC 8617 §6; last: an IPv6 address is quoted, and there are readers that lose a property which stands so
        # before another one
        words.append(f"smtp.remote-ip={escape.value(ip)}")
    return tuple(words)


@_remember
def _dmarc(fact: DmarcFact, note: str, utf8: bool) -> Entry:
    published = fact.published
    about = ""
    if published:
        # RFC 9989 §9.1 registers no property for these
        tags = [
            f"{tag}={policy}"
            for tag, policy in (("p", published.p), ("sp", published.sp), ("np", published.np))
            if policy
        ]
        if published.testing:
            tags.append("t=y")
        if fact.policy_domain and fact.policy_domain != fact.author_domain:
            tags.append(f"at {fact.policy_domain}")
        about = " ".join(tags)
    comment = ", ".join(text for text in (about, note) if text)
    words = _entry("dmarc", fact.result, comment, "" if fact.result is DmarcResult.PASS else fact.reason, utf8)
    if domain := escape.domain_value(fact.author_domain):
        words.append(f"header.from={domain}")
    if published and fact.result in (DmarcResult.PASS, DmarcResult.FAIL):
        words.append(f"policy.dmarc={fact.policy}")  # RFC 9989 §9.1: after sp, np and t were applied
    return tuple(words)


def bimi_entry(fact: BimiFact, utf8: bool = False) -> Entry:
    """The words of bimi= (BIMI core §7.7)."""
    # BIMI core §7.7: a comment says why
    about = ", ".join(text for text in (fact.mark_type, fact.reason) if text)
    words = _entry(bimi_names.METHOD, fact.result, about, "", utf8)
    if fact.result not in (BimiResult.PASS, BimiResult.FAIL, BimiResult.TEMPERROR) and fact.authority is None:
        return tuple(words)
    if domain := escape.domain_value(fact.domain):
        words.append(f"{bimi_names.DOMAIN_PROPERTY}={domain}")
    if selector := escape.domain_value(fact.selector):
        words.append(f"{bimi_names.SELECTOR_PROPERTY}={selector}")
    if fact.authority:
        words.append(f"{bimi_names.AUTHORITY_PROPERTY}={fact.authority}")
    if fact.result is BimiResult.PASS and fact.indicator:
        digest = hashlib.sha256(fact.indicator).hexdigest()
        words.append(f"{bimi_names.INDICATOR_HASH_PROPERTY}={digest[-_HASH_DIGITS:]}")
    if fact.result is BimiResult.PASS and fact.preference:
        words.append(f"{bimi_names.PREFERENCE_PROPERTY}={fact.preference}")
    # quoted values last: some readers stop at the first one
    for name, uri in (
        (bimi_names.AUTHORITY_URI_PROPERTY, fact.authority_uri),
        (bimi_names.INDICATOR_URI_PROPERTY, fact.indicator_uri),
    ):
        if uri and len(uri) <= escape.MAX_OCTETS and "=?" not in uri:  # half of a URI is worse than none
            words.append(f"{name}={escape.quoted(uri)}")
    return tuple(words)


def unique_prefixes(signatures: Sequence[str]) -> list[str]:
    """For each b= the shortest beginning of 8 characters or more that no other one has (RFC 6008 §3)."""
    if len(signatures) == 1:
        return [signatures[0][:_MIN_B]]
    ordered = sorted({text[:_MAX_B] for text in signatures})
    lengths = dict.fromkeys(ordered, _MIN_B)
    for before, after in pairwise(ordered):
        needed = 1 + next(
            (place for place, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before)
        )
        lengths[before] = max(lengths[before], needed)
        lengths[after] = max(lengths[after], needed)
    return [text[: lengths[text[:_MAX_B]]] for text in signatures]


def _shorten(entries: list[Entry]) -> int:
    """Take results out until the rest fits, signatures first and from the end; how many were taken."""
    sizes = [_size(entry) for entry in entries]
    excess = sum(sizes) - MAX_OCTETS + 2_000  # room for the id and the notes
    if excess <= 0:
        return 0
    order = sorted(range(len(entries)), key=lambda place: (entries[place][0].startswith("dkim="), place), reverse=True)
    taken = set()
    for place in order:
        if excess <= 0:
            break
        taken.add(place)
        excess -= sizes[place]
    entries[:] = [entry for place, entry in enumerate(entries) if place not in taken]
    return len(taken)


def _size(words: Iterable[str]) -> int:
    return sum(len(word.encode()) + 2 for word in words)
