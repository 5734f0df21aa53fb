"""The ARC sets of one header, read and judged by themselves (RFC 8617 §4.1, §4.2, §5.2 steps 1 to 3). Pure.

Takes the header, gives a `Chain`: no key, no body, no clock.

Diagnostics: a chain that cannot be valid has a `problem`. RFC 8617 knows no degrees: whatever it is, the chain fails.
Limits: 150 fields are read, 64 KB each. Time is linear in their length.
Security: the fields are hostile. What an ARC-Authentication-Results says behind "i=N;" is not looked at: it does not
touch the chain (RFC 8617 §3.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from authmilter.dkim import signature as signatures
from authmilter.dkim import taglist
from authmilter.dkim.header_hash import Header
from authmilter.dkim.signature import Signature
from authmilter.headers import lexer

RESULTS = b"arc-authentication-results"
MESSAGE_SIGNATURE = b"arc-message-signature"
SEAL = b"arc-seal"
_FIELDS = {  # as people know them
    RESULTS: "ARC-Authentication-Results",
    MESSAGE_SIGNATURE: "ARC-Message-Signature",
    SEAL: "ARC-Seal",
}

MAX_SETS = 50  # RFC 8617 §4.2.1
STATUSES = (b"none", b"pass", b"fail")

_MESSAGE_TAGS = (b"a", b"b", b"bh", b"d", b"h", b"s")  # RFC 8617 §4.1.2: those of RFC 6376 §3.5, no v=
_SEAL_TAGS = (b"a", b"b", b"d", b"s")  # RFC 8617 §4.1.3
_DIGITS = re.compile(r"[0-9]+")
_INSTANCE = re.compile(rb"[0-9]{1,2}").fullmatch  # RFC 8617 §3.9: position


@dataclass(frozen=True, slots=True)
class Link:
    """One set: where its fields stand in the header, and its two signatures."""

    instance: int
    results_place: int
    message_place: int
    seal_place: int
    claims: str  # ARC-Authentication-Results behind "i=N;", unfolded
    message: Signature
    seal: Signature


@dataclass(frozen=True, slots=True)
class Chain:
    """What stands in the header."""

    links: tuple[Link, ...] = ()  # from instance 1 on; empty if there is a problem
    problem: str = ""
    highest: int = 0  # highest instance that can be read, 0 if there is none
    ended: bool = False  # the newest seal says cv=fail (RFC 8617 §5.1 step 2)


def instance_of(raw: bytes) -> int | None:
    """Read i=: 1 to 50 (RFC 8617 §4.2.1), else None."""
    number = int(raw) if _INSTANCE(raw) else 0
    return number if 1 <= number <= MAX_SETS else None


def split_results(value: bytes) -> tuple[int, str] | None:
    """Cut the value of an ARC-Authentication-Results into its instance and what stands behind it, unfolded.

    None if it does not begin with "i=N;" (RFC 8617 §4.1.1).
    """
    text = lexer.decode(value)
    at = lexer.skip_cfws(text, 0)
    for expected in ("i", "="):
        if at < 0 or not text.startswith(expected, at):
            return None
        at = lexer.skip_cfws(text, at + 1)
    digits = _DIGITS.match(text, at) if at >= 0 else None
    instance = instance_of(digits[0].encode()) if digits else None
    if instance is None or digits is None:
        return None
    at = lexer.skip_cfws(text, digits.end())
    if at < 0 or not text.startswith(";", at):
        return None
    claims = text[at + 1 :].replace("\r\n", "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return instance, claims.strip(" \t")


def read(header: Header, max_sets: int = MAX_SETS) -> Chain:
    """Collect the sets of a header and check their structure."""
    places = {name: header.places(name) for name in (RESULTS, MESSAGE_SIGNATURE, SEAL)}
    count = sum(map(len, places.values()))
    if not count:
        return Chain()  # RFC 8617 §5.2 step 1: there are none
    if count > 3 * MAX_SETS:
        return Chain(problem=f"there are more than {MAX_SETS} sets", highest=MAX_SETS)
    return _Reader(header, places, max_sets).chain()


class _Reader:
    """The fields by instance; the first problem is kept."""

    def __init__(self, header: Header, places: dict[bytes, list[int]], max_sets: int) -> None:
        self._header = header
        self._max_sets = max_sets
        self._problem = ""
        self._tags: dict[int, dict[bytes, bytes]] = {}  # by place
        self._claims: dict[int, str] = {}
        self._by_instance: dict[bytes, dict[int, int]] = {name: {} for name in places}
        for name, found in places.items():
            for place in found:
                self._take(name, place)

    def _fail(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _take(self, name: bytes, place: int) -> None:
        value = self._header.field(place).value
        instance = None
        if len(value) <= signatures.MAX_FIELD:
            instance = self._instance(name, place, value)
        if instance is None:
            self._fail(f"an {_FIELDS[name]} cannot be read")  # RFC 8617 §5.2 step 3, §4.2.1
        elif instance in self._by_instance[name]:
            self._fail(f"there are two {_FIELDS[name]} with i={instance}")
        else:
            self._by_instance[name][instance] = place

    def _instance(self, name: bytes, place: int, value: bytes) -> int | None:
        if name == RESULTS:
            found = split_results(value)
            if found is None:
                return None
            instance, self._claims[place] = found
            return instance
        tags = taglist.parse(value)
        if tags is None:
            return None
        self._tags[place] = tags
        return instance_of(tags.get(b"i", b""))

    def chain(self) -> Chain:
        highest = max((instance for by in self._by_instance.values() for instance in by), default=0)
        newest = self._by_instance[SEAL].get(highest)
        ended = newest is not None and self._tags[newest].get(b"cv") == b"fail"
        if ended:  # RFC 8617 §5.2 step 2: it stops here
            return Chain(problem=f"set {highest} says that the chain was broken before", highest=highest, ended=True)
        if highest > self._max_sets:
            self._fail(f"there are more than {self._max_sets} sets")
        links = tuple(self._links(range(1, highest + 1))) if not self._problem else ()
        return Chain(() if self._problem else links, self._problem, highest)

    def _links(self, instances: Iterable[int]) -> Iterable[Link]:
        """RFC 8617 §5.2 step 3, and what the signatures say of themselves."""
        for instance in instances:
            missing = [_FIELDS[name] for name, found in self._by_instance.items() if instance not in found]
            if missing:
                self._fail(f"there is no {missing[0]} with i={instance}")
                return
            results, message, seal = (found[instance] for found in self._by_instance.values())
            message_tags, seal_tags = self._tags[message], self._tags[seal]
            self._check_seal(instance, seal_tags)
            # RFC 8617 §4.1.2: v= is ignored, i= is not DKIM's
            message_tags = {tag: value for tag, value in message_tags.items() if tag not in (b"i", b"v")}
            # RFC 8617 §4.1.3: all that is left of DKIM's tags; others mean nothing (RFC 6376 §3.2)
            seal_tags = {tag: value for tag, value in seal_tags.items() if tag in (*_SEAL_TAGS, b"t")}
            yield Link(
                instance,
                results,
                message,
                seal,
                self._claims[results],
                signatures.interpret(message_tags, _MESSAGE_TAGS),
                signatures.interpret(seal_tags, _SEAL_TAGS),
            )

    def _check_seal(self, instance: int, tags: dict[bytes, bytes]) -> None:
        if b"h" in tags:  # RFC 8617 §4.1.3
            self._fail(f"ARC-Seal {instance} has h=")
        wanted = b"none" if instance == 1 else b"pass"
        status = tags.get(b"cv", b"")
        if status != wanted:
            said = status.decode() if status in STATUSES else "cannot be read"
            self._fail(f"cv= of ARC-Seal {instance} is not {wanted.decode()}, it {'is ' * (status in STATUSES)}{said}")
