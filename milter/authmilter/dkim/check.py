"""All signatures of one message, from the end of the header to the facts (RFC 6376 §6.1).

    check = DkimCheck(fields, settings, now)
    for name in check.key_names: resolver.start("TXT", name)
    check.body(chunk) ...
    facts = check.finish(resolver)

Limits: `max_signatures` are verified; where there are more, the d= of the first 100 are read to choose among them, and
the rest is only counted. The body is hashed as `Bodies` says.
Security: header and body are hostile. Nothing raises; a bad signature does not touch the others (RFC 6376 §6.1).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from authmilter.dkim import signature as signatures
from authmilter.dkim import taglist, values, verify
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.dkim.signature import Signature
from authmilter.facts import DkimFact, DkimResult, HeaderField
from mailcommon.dns.resolver import Resolver
from mailcommon.names import is_subdomain

FIELD = b"dkim-signature"
MAX_SCANNED = 100  # fields whose d= is read to choose among more than max_signatures
MAX_SCANNED_SIZE = 8_192  # octets; a larger field is not preferred to others


def choose(header: Header, fields: Sequence[HeaderField], limit: int, prefer: Collection[str]) -> list[int]:
    """Give the indices of the signatures to verify, from the top.

    `prefer`: domains in A-labels; signatures of these, of names above and of names below them come first, since only
    they can be aligned with an Author Domain (RFC 9989 §4.4). Else the upper ones are taken: they were added last.
    """
    places = header.places(FIELD)
    if len(places) <= limit:
        return list(places)
    if not prefer:
        return places[:limit]

    def is_other(place: int) -> bool:
        value = fields[place].value
        tags = taglist.parse(value) if len(value) <= MAX_SCANNED_SIZE else None
        domain = values.domain(tags.get(b"d", b"")) if tags else None
        return domain is None or not any(is_subdomain(domain, name) or is_subdomain(name, domain) for name in prefer)

    return sorted(sorted(places[: max(limit, MAX_SCANNED)], key=is_other)[:limit])


class DkimCheck:
    """The DKIM signatures of one message; one use, one thread at a time."""

    def __init__(
        self,
        fields: Sequence[HeaderField],
        settings: DkimSettings,
        now: float,
        prefer: Collection[str] = (),
        *,
        header: Header | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        """Read the signatures.

        `fields`: the whole header from the top, as received. `now`: time of receipt in unix seconds.
        `prefer`: Author Domains, for the choice among too many signatures.
        `header`, `bodies`: of the same message, if others work on them too; who made `bodies` may feed it.
        """
        self._settings = settings
        self._header = header or Header(fields)
        self._bodies = bodies or Bodies()
        places = choose(self._header, fields, max(settings.max_signatures, 1), prefer)
        self.skipped = len(self._header.places(FIELD)) - len(places)
        """How many signatures were not looked at."""
        self._signatures: list[tuple[int, Signature]] = []
        self._facts: dict[int, DkimFact] = {}
        for place in places:
            read = signatures.parse(fields[place].value)
            defect = read.defect or signatures.not_accepted(read, settings, now)
            if defect is None:
                self._bodies.want(read.relaxed_body, read.length)
            else:
                self._facts[place] = verify.fact(read, defect.result, defect.reason)
            self._signatures.append((place, read))
        self._result: tuple[DkimFact, ...] | None = None
        live = [read for place, read in self._signatures if place not in self._facts]
        self.key_names = tuple(dict.fromkeys(read.key_name for read in live))
        """Names of the TXT records that `finish` will ask for."""
        self.domains = tuple(dict.fromkeys(read.domain for read in live))
        """The d= that may still pass, each once."""

    @property
    def wants_body(self) -> bool:
        """False as soon as no further octet of the body matters."""
        return self._bodies.wants_body

    def body(self, chunk: bytes) -> None:
        """Take the next octets of the body, lines ended by CRLF, cut anywhere."""
        self._bodies.update(chunk)

    def finish(self, resolver: Resolver) -> tuple[DkimFact, ...]:
        """End the body and judge: one fact per signature from the top, or one with `none`. May be called again."""
        if self._result is None:
            facts = [self._facts.get(place) or self._verify(place, read, resolver) for place, read in self._signatures]
            # RFC 8601 §2.7.1: none
            self._result = tuple(facts) or (DkimFact(DkimResult.NONE, reason="the message is not signed"),)
        return self._result

    def _verify(self, place: int, read: Signature, resolver: Resolver) -> DkimFact:
        message = verify.Message(self._header, place, *self._bodies.digest(read.relaxed_body, read.length))
        return verify.verify(read, resolver.txt(read.key_name), message, self._settings)
