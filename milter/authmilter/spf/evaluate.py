"""check_host() of RFC 7208: identity and client address in, one `SpfFact` out.

pyspf evaluates the record; this module gives it our resolver and mends what it leaves open: DNS failure of PTR names
(RFC 7208 §5.5), the explanation only after a fail (§6.2), local parts that are not ASCII (RFC 8616 §4), the deadline.

Limits: 10 terms that cost a look-up, 10 MX names, 10 PTR names (RFC 7208 §4.6.4), `max_void_lookups`, `seconds` in all.
Security: MAIL FROM, HELO and every record are hostile. No result is an exception; a fault inside pyspf is a permerror.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import spf

from authmilter.facts import SpfFact, SpfResult
from authmilter.spf import macros
from authmilter.spf.record import plain
from mailcommon.dns.answer import Mx
from mailcommon.dns.resolver import Resolver
from mailcommon.names import to_alabel

# A term whose name cannot be asked for: it matches nothing and is no void look-up.
_NO_MATCH = "\x00.no-match"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOCAL_PART_LETTERS = frozenset("sl")
_NAMED_BY_TERM = re.compile(rb"(?:^| )[+?~-]?(include:|redirect=|a:|mx:)([^ /%]+)(?=[ /]|$)", re.IGNORECASE)
_BARE_MX = re.compile(rb"(?:^| )[+?~-]?mx(?=[ /]|$)", re.IGNORECASE)
_BARE_A = re.compile(rb"(?:^| )[+?~-]?a(?=[ /]|$)", re.IGNORECASE)
_MAX_EXPLANATION = 400


@dataclass(frozen=True, slots=True)
class SpfLimits:
    """Bounds of one check_host()."""

    max_void_lookups: int = 2  # RFC 7208 §4.6.4
    seconds: float = 20.0  # RFC 7208 §4.6.4: at least 20 s, then temperror


@dataclass(frozen=True, slots=True)
class _Deferred:
    """Stands for an explanation until the result is known to be fail (RFC 7208 §6.2)."""

    spec: str
    domain: str


class _Query(spf.query):  # type: ignore[misc]  # pyspf has no types
    """pyspf's evaluation over our resolver."""

    def __init__(
        self,
        ip: str,
        sender: str,
        helo: str,
        receiver: str,
        resolver: Resolver,
        limits: SpfLimits,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(i=ip, s=sender, h=helo, receiver=receiver)
        # RFC 5321 §4.1.2: the last @ divides; a quoted local part may have more of them
        self.l, _, self.o = sender.rpartition("@")
        self.d = self.o
        self._resolver = resolver
        self._limits = limits
        self._clock = clock
        self._until = clock() + limits.seconds
        self._started = 0
        self._ascii_local_part = self.l.isascii()
        self.prob = ""
        self.undecided = False

    def dns(self, name: Any, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:  # noqa: ARG002 - pyspf's signature
        """Records of `qtype` at `name` as pyspf wants them; raises spf.TempError, spf.PermError."""
        name = str(name)
        if name == _NO_MATCH or not name:
            return []
        if name.endswith("."):
            name = name[:-1]
        if any(not 0 < len(label) < 64 for label in name.split(".")):
            return []
        if self._clock() > self._until:
            raise spf.TempError(f"no result within {self._limits.seconds:g} s")
        answer = self._resolver.query(qtype, name.lower())
        if answer.status.failed:
            if qtype == "PTR":  # RFC 7208 §5.5: an error of the PTR look-up means no match
                self.undecided = True
                return []
            raise spf.TempError(f"DNS {answer.status.value} for {qtype} {name}")
        records: list[Any]
        if qtype == "TXT":
            for record in answer.records:
                self._start_terms(record, name)
            records = [(record,) for record in answer.records]
        elif qtype == "MX":
            records = [(mx.preference, mx.host) for mx in answer.records if isinstance(mx, Mx) and mx.host]
        else:
            records = list(answer.records)
        if not records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > self._limits.max_void_lookups:  # RFC 7208 §4.6.4
                raise spf.PermError(f"more than {self._limits.max_void_lookups} void look-ups")
        return records

    def _start_terms(self, record: bytes, domain: str) -> None:
        """Ask at once for what the terms name, so that a chain waits for its depth and not for its length."""
        if not spf.RE_SPF.match(record):
            return
        wanted = [(kind.lower(), target.decode("ascii", "replace")) for kind, target in _NAMED_BY_TERM.findall(record)]
        if _BARE_MX.search(record):
            wanted.append((b"mx:", domain))
        if _BARE_A.search(record):
            wanted.append((b"a:", domain))
        types = {b"mx:": "MX", b"a:": self.A}
        for kind, target in wanted:
            if self._started >= spf.MAX_LOOKUP:  # RFC 7208 §4.6.4: no more than evaluation may ask for
                return
            self._started += 1
            self._resolver.start(types.get(kind, "TXT"), target.rstrip(".").lower())

    def dns_spf(self, domain: str) -> str | None:
        """The SPF record at `domain`, None if there is none."""
        if domain == _NO_MATCH:
            return "v=spf1 ?all"
        record: str | None = super().dns_spf(domain)
        if record is None:
            return None
        try:
            return plain(record)
        except macros.MacroError as fault:
            raise spf.PermError(str(fault)) from None

    def validated_ptrs(self) -> list[str]:
        """PTR names of the client that lead back to it (RFC 7208 §5.5)."""
        names: list[str] = self.dns_ptr(self.i)
        good = []
        for name in names[: spf.MAX_PTR]:  # RFC 7208 §4.6.4: the first 10 only
            try:
                addresses = self.dns_a(name, self.A)
            except spf.TempError:
                self.undecided = True
                continue  # RFC 7208 §5.5: this name is skipped
            if self.cidrmatch(addresses, self.cidrmax):
                good.append(name)
        return good

    def expand_domain(self, arg: str) -> str:
        """A domain-spec with its macros expanded (RFC 7208 §7.1); raises spf.PermError."""
        if not macros.ends_in_domain(_parse(arg)):
            raise spf.PermError("not a domain-spec", arg)
        return self.expand(arg)

    def expand(self, s: str, stripdot: bool = True) -> str:
        """Macro expansion (RFC 7208 §7): of a domain-spec, or with `stripdot` False of an explanation."""
        pieces = _parse(s)
        letters = macros.letters(pieces)
        if wrong := letters - (macros.IN_DOMAINS if stripdot else macros.IN_EXPLANATIONS):
            raise spf.PermError(f"macro letter {', '.join(sorted(wrong))} is not allowed", s)
        if stripdot and not self._ascii_local_part and letters & _LOCAL_PART_LETTERS:
            return _NO_MATCH  # RFC 8616 §4: %{s} and %{l} of a non-ASCII local part match nothing
        try:
            expanded = macros.expand(pieces, self._letter)
        except macros.MacroError as fault:
            raise spf.PermError(str(fault), s) from None
        return macros.shorten(expanded.removesuffix(".")) if stripdot else expanded

    def _letter(self, letter: str) -> str:
        return str(self.getp() if letter == "p" else getattr(self, letter))

    def get_explanation(self, spec: str) -> Any:
        """Called by pyspf for every exp=; the text is fetched only if it comes to that (RFC 7208 §6.2)."""
        return _Deferred(spec, self.d) if spec else None

    def explanation(self, text: Any) -> str:
        """The domain's own words for a fail, "" if it has none or they cannot be had (RFC 7208 §6.2)."""
        if not isinstance(text, _Deferred):
            return ""
        self.d = text.domain
        try:
            found = super().get_explanation(text.spec)
        except (spf.TempError, spf.PermError):
            return ""
        # RFC 7208 §6.2: US-ASCII only
        return str(found)[:_MAX_EXPLANATION] if found and str(found).isascii() else ""


def _parse(text: str) -> tuple[macros.Piece, ...]:
    try:
        return macros.parse(text)
    except macros.MacroError as fault:
        raise spf.PermError(str(fault), text) from None


def check_host(
    *,
    scope: str,
    ip: str,
    mail_from: str,
    helo: str,
    receiver: str,
    resolver: Resolver,
    limits: SpfLimits = SpfLimits(),
    clock: Callable[[], float] = time.monotonic,
) -> SpfFact:
    """Evaluate SPF for one identity (RFC 7208 §4).

    `scope` "mfrom" checks MAIL FROM, or postmaster@HELO for the null sender (§2.4); "helo" checks HELO (§2.3). `ip` is
    the client's address as text, `receiver` this host's name for explanations, `clock` gives seconds for the deadline.
    """
    identity = helo if scope == "helo" else mail_from or f"postmaster@{helo}"
    sender = f"postmaster@{helo}" if scope == "helo" else identity
    if _CONTROL.search(identity):
        return SpfFact(scope, SpfResult.PERMERROR, "", identity, reason="control characters in the identity")
    local, _, raw_domain = sender.rpartition("@")
    domain = to_alabel(raw_domain)
    # RFC 7208 §4.3: malformed, single-label, address literal -> none
    if domain is None or "." not in domain:
        return SpfFact(scope, SpfResult.NONE, "", identity, reason="no usable domain name")
    # RFC 7208 §4.3: no local part means postmaster
    query = _Query(ip, f"{local or 'postmaster'}@{domain}", helo, receiver, resolver, limits, clock)
    try:
        word, _code, text = query.check()
        result = SpfResult(word)
    except Exception as fault:  # noqa: BLE001 - a fault of the library on a hostile record must not stop the message
        return SpfFact(
            scope, SpfResult.PERMERROR, domain, identity, reason=f"cannot be evaluated: {type(fault).__name__}"
        )
    reason = explanation = ""
    if result in (SpfResult.PERMERROR, SpfResult.TEMPERROR):
        reason = str(query.prob) + (f": {query.mech[-1]}" if query.mech else "")
    elif result is SpfResult.FAIL:
        explanation = query.explanation(text)
    undecided = query.undecided and result is not SpfResult.PASS
    return SpfFact(scope, result, domain, identity, str(query.mechanism or ""), reason, explanation, undecided)
