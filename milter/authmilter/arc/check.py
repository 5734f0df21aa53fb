"""The ARC chain of one message, from the end of the header to the fact (RFC 8617 §5.2).

    check = ArcCheck(header, bodies, settings, dkim_settings, now)
    for name in check.key_names: resolver.start("TXT", name)
    bodies.update(chunk) ...
    fact = check.finish(resolver)

What DKIM's settings say of keys, clocks, domains, l= and added fields holds for the signatures of a chain too
(RFC 8617 §5.2: validation methods are those of RFC 6376). A key that cannot be looked up makes the chain fail (RFC 8617
§5.2.1); `undecided` says so where nothing else is wrong, since nobody may be refused for that.

Where the standard speaks to sealers only, a validator does not judge them: an ARC-Message-Signature may cover
ARC-Authentication-Results or older signatures, which RFC 8617 §4.1.2 forbids and early sealers did. It may not cover
ARC-Seal, and it has to cover From, as RFC 6376 §5.4 says: else it vouches for nothing that matters.

Limits: 50 sets of 64 KB a field, `max_keys` names of keys, 4 keys tried per signature and 100 for all seals together,
10 message signatures below the newest one. An older message signature with l= counts as failed, so that it costs no
hash of its own.
Security: header and body are hostile. Nothing raises.
"""

from __future__ import annotations

from authmilter.arc import chain as chains
from authmilter.arc.chain import Chain, Link
from authmilter.arc.seal_hash import seal_digests
from authmilter.arc.settings import ArcSettings
from authmilter.dkim import signature as signatures
from authmilter.dkim import verify
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.dkim.signature import Defect, Signature
from authmilter.facts import ArcFact, ArcResult, ArcSet, DkimFact, DkimResult
from mailcommon.dns.resolver import Resolver

MAX_TRIES = 100  # of keys on seals: a name may have several keys, each as slow to verify with as the settings allow
MAX_OLDER = 10  # message signatures below the newest one that are verified for oldest-pass


class ArcCheck:
    """The ARC chain of one message; one use, one thread at a time."""

    def __init__(
        self, header: Header, bodies: Bodies, settings: ArcSettings, dkim_settings: DkimSettings, now: float
    ) -> None:
        """Read the chain, and ask `bodies` for what it signs. `now`: time of receipt in unix seconds."""
        self._header = header
        self._bodies = bodies
        self._dkim_settings = dkim_settings
        self._now = now
        self._chain = chains.read(header, settings.max_sets)
        self._older: list[Link] = []  # newest first
        self._tries_left = MAX_TRIES
        self._fact: ArcFact | None = None
        self.key_names: tuple[str, ...] = ()
        """Names of the TXT records that `finish` will ask for."""
        if not self._chain.links:
            problem = self._chain.problem
            self._fact = _failed(problem) if problem else ArcFact(ArcResult.NONE)
            return
        if problem := self._problem():
            self._fact = _failed(problem)
            return
        self._plan(settings.max_keys)

    @property
    def chain(self) -> Chain:
        """What stands in the header, for whoever adds to it."""
        return self._chain

    def signed_fields(self) -> list[bytes]:
        """The fields of the sets, canonical, in the order in which the next seal signs them (RFC 8617 §5.1.1)."""
        return [
            self._header.canonical(place, relaxed=True)
            for link in self._chain.links
            for place in (link.results_place, link.message_place, link.seal_place)
        ]

    def _problem(self) -> str:
        """What spoils the chain without any key: the newest message signature or a seal that cannot be verified."""
        newest = self._chain.links[-1]
        if defect := self._defect(newest.message):
            return f"ARC-Message-Signature {newest.instance}: {defect.reason}"
        if chains.SEAL in newest.message.signed:
            return f"ARC-Message-Signature {newest.instance}: ARC-Seal is in h="  # RFC 8617 §4.1.2
        for link in reversed(self._chain.links):
            if defect := self._defect(link.seal):
                return f"ARC-Seal {link.instance}: {defect.reason}"
        return ""

    def _defect(self, signature: Signature) -> Defect | None:
        return signature.defect or signatures.not_accepted(signature, self._dkim_settings, self._now)

    def _plan(self, max_keys: int) -> None:
        """Settle which keys and which hashes of the body are needed."""
        links = self._chain.links
        newest = links[-1]
        names = dict.fromkeys([newest.message.key_name, *(link.seal.key_name for link in reversed(links))])
        if len(names) > max_keys:
            self._fact = _failed(f"it needs more than {max_keys} keys")
            return
        self._bodies.want(newest.message.relaxed_body, newest.message.length)
        for link in reversed(links[:-1][-MAX_OLDER:]):
            signature = link.message
            if self._defect(signature) or signature.length is not None or chains.SEAL in signature.signed:
                break  # RFC 8617 §5.2 step 5: there is no need to check older ones
            if len(names) >= max_keys and signature.key_name not in names:
                break
            names[signature.key_name] = None
            self._bodies.want(signature.relaxed_body, None)
            self._older.append(link)
        self.key_names = tuple(names)

    def finish(self, resolver: Resolver) -> ArcFact:
        """End the body and validate. May be called again."""
        if self._fact is None:
            self._fact = self._validate(resolver)
        return self._fact

    def _validate(self, resolver: Resolver) -> ArcFact:
        links = self._chain.links
        newest = links[-1]
        unknown = ""  # RFC 8617 §5.2.1: a failure too, but one that may come of the sender's luck
        found = self._verify_message(newest, resolver)  # RFC 8617 §5.2 step 4
        if found.result is DkimResult.TEMPERROR:
            unknown = f"ARC-Message-Signature {newest.instance}: {found.reason}"
        elif found.result is not DkimResult.PASS:
            return _failed(f"ARC-Message-Signature {newest.instance}: {found.reason or found.result}")
        digests = seal_digests(
            self._header, [(link.results_place, link.message_place, link.seal_place) for link in links]
        )
        for link, digest in zip(reversed(links), reversed(digests), strict=True):  # RFC 8617 §5.2 step 6
            answer = resolver.txt(link.seal.key_name)
            if answer.status.failed:
                unknown = unknown or f"ARC-Seal {link.instance}: looking up the key: {answer.status.value}"
            elif reason := self._misfit(link.seal, answer.records, digest):
                return _failed(f"ARC-Seal {link.instance}: {reason}")
        sets = tuple(ArcSet(link.instance, link.seal.domain, link.seal.selector, link.claims) for link in links)
        if unknown:
            return ArcFact(ArcResult.FAIL, sets, reason=unknown, undecided=True)
        return ArcFact(ArcResult.PASS, sets, self._oldest_pass(resolver))

    def _verify_message(self, link: Link, resolver: Resolver) -> DkimFact:
        signature = link.message
        hashed = self._bodies.digest(signature.relaxed_body, signature.length)
        message = verify.Message(self._header, link.message_place, *hashed)
        return verify.verify(signature, resolver.txt(signature.key_name), message, self._dkim_settings)

    def _misfit(self, seal: Signature, records: tuple[bytes, ...], digest: bytes) -> str:
        """Why no key of `records` verifies a seal, "" if one does."""
        reason = "there is no key"  # RFC 6376 §6.1.2
        for key in verify.usable_keys(records) if records else ():
            if problem := verify.unsuitable(seal, key, self._dkim_settings):
                reason = problem.reason
                continue
            if not self._tries_left:
                return f"more than {MAX_TRIES} keys would have to be tried"
            self._tries_left -= 1
            if key.verify(seal.signature, digest):
                return ""
            reason = "the signature does not fit the sets"
        return reason

    def _oldest_pass(self, resolver: Resolver) -> int:
        """RFC 8617 §5.2 step 5, as far down as `MAX_OLDER` and the limits let it look."""
        oldest = self._chain.links[-1].instance
        for link in self._older:
            if self._verify_message(link, resolver).result is not DkimResult.PASS:
                return oldest
            oldest = link.instance
        return 0 if oldest == 1 else oldest


def _failed(reason: str) -> ArcFact:
    return ArcFact(ArcResult.FAIL, reason=reason)
