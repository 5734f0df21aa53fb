"""One more ARC set on a message from outside, for hosts that pass mail on (RFC 8617 §5.1).

    sealing = sealer.begin(check, bodies)
    bodies.update(chunk) ...
    sealed = sealing.finish(fields, fact, claims, now)

The set says what this host found: ARC-Authentication-Results has the text of our Authentication-Results, and cv= is the
result of the validation. ARC-Message-Signature signs what a signature of ours would sign, and DKIM-Signature fields.

Diagnostics: a message that gets no set says why in `Sealed.unsealed`; nothing is lost or deferred for that:

    the newest seal says cv=fail       RFC 8617 §5.1 step 2
    there are 50 sets                  RFC 8617 §4.2.1
    a key could not be looked up       RFC 8617 §5.2.1 would have cv=fail, for all who come after us; left to the next
                                       host, the chain may still pass (sealing is never a duty, RFC 8617 §5.1.4)
    the private key cannot be used
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

from authmilter.arc.chain import MAX_SETS
from authmilter.arc.check import ArcCheck
from authmilter.arc.seal_hash import seal_digest
from authmilter.arc.settings import SealSettings
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header, relaxed_field
from authmilter.facts import ArcFact, ArcResult, HeaderField
from authmilter.sign import table
from authmilter.sign.field import as_received, signed_value
from authmilter.sign.key import PrivateKey
from authmilter.sign.signer import MAX_SAME, Signer
from mailcommon.names import to_alabel

RESULTS = "ARC-Authentication-Results"
MESSAGE_SIGNATURE = "ARC-Message-Signature"
SEAL = "ARC-Seal"
_DKIM = b"dkim-signature"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What came of sealing one message."""

    fields: tuple[tuple[str, str], ...] = ()  # (name, value) from the top, folds as LF and TAB
    instance: int = 0
    status: str = ""  # cv=
    unsealed: str = ""  # why a message that was to be sealed is not


NOTHING = Sealed()


class Sealer:
    """The settings and the key in force; shared by all threads."""

    def __init__(self, settings: SealSettings, key: PrivateKey | None, signer: Signer) -> None:
        """`key`: None if its file cannot be used. `signer` knows which fields are worth signing."""
        self.settings = settings
        self.key = key
        self.signer = signer
        self.asks_recipients = "*" not in settings.recipients
        """Whether it depends on the recipients what is sealed."""

    def covers(self, recipient: str) -> bool:
        """Whether mail for this address is to be sealed."""
        local, _, name = recipient.rpartition("@")
        domain = to_alabel(name)
        return domain is not None and bool(table.find(self.settings.recipients, f"{local.strip(chr(34))}@{domain}"))

    def begin(self, check: ArcCheck, bodies: Bodies) -> Sealing:
        """The header has come: see what can be done, and ask for the hash of the body. `check`: of this message."""
        if check.chain.ended:  # RFC 8617 §5.1 step 2
            return Sealing(self, check, bodies, Sealed(unsealed="the chain was broken before"))
        instance = check.chain.highest + 1  # RFC 8617 §5.1 step 3
        if instance > MAX_SETS:
            return Sealing(self, check, bodies, Sealed(unsealed=f"there are {MAX_SETS} sets already"))
        if self.key is None:
            return Sealing(self, check, bodies, Sealed(unsealed=f"{self.settings.file} cannot be used"))
        bodies.want(True, None)
        return Sealing(self, check, bodies, Sealed(instance=instance))


class Sealing:
    """The set of one message while it comes in; one use."""

    def __init__(self, sealer: Sealer, check: ArcCheck, bodies: Bodies, so_far: Sealed) -> None:
        self._sealer = sealer
        self._check = check
        self._bodies = bodies
        self._so_far = so_far

    def finish(self, fields: Sequence[HeaderField], fact: ArcFact, claims: str, now: float) -> Sealed:
        """Seal. `fields`: the header from the top as the next hop will see it, without the new set.

        `fact`: what the validation came to. `claims`: the value of our Authentication-Results. `now`: unix seconds.
        """
        key, instance = self._sealer.key, self._so_far.instance
        if key is None or not instance:
            return self._so_far
        if fact.undecided:
            return Sealed(unsealed=fact.reason)
        results = f"i={instance}; {claims}"
        message = self._message_signature(Header(fields), key, instance, now)
        # RFC 8617 §5.1.2: a broken chain has no order that all would agree on, so only the new set is signed
        before = [] if fact.result is ArcResult.FAIL else self._check.signed_fields()
        for name, value in ((RESULTS, results), (MESSAGE_SIGNATURE, message)):
            before.append(relaxed_field(*as_received(name.encode(), value)))
        tags = [*self._tags(key, instance, now), ("cv", fact.result.value)]
        seal = signed_value(SEAL.encode(), tags, key, lambda field: seal_digest(before, field))
        # RFC 8617 §5.1 step 4: made in the order AAR, AMS, AS; trace fields: the last one is on top
        own = ((SEAL, seal), (MESSAGE_SIGNATURE, message), (RESULTS, results))
        return replace(self._so_far, fields=own, status=fact.result.value)

    def _tags(self, key: PrivateKey, instance: int, now: float) -> list[tuple[str, str]]:
        settings = self._sealer.settings
        return [
            ("i", str(instance)),
            ("a", key.algorithm),
            ("d", settings.domain),
            ("s", settings.selector),
            ("t", str(int(now))),
        ]

    def _message_signature(self, header: Header, key: PrivateKey, instance: int, now: float) -> str:
        # RFC 8617 §4.1.2: DKIM-Signature fields SHOULD be signed, Authentication-Results and ARC fields MUST NOT
        names = [*self._sealer.signer.names(header), *([_DKIM] * min(len(header.places(_DKIM)), MAX_SAME))]
        body_hash, _ = self._bodies.digest(True, None)
        tags = [
            *self._tags(key, instance, now),
            ("c", "relaxed/relaxed"),
            ("h", b":".join(names).decode("ascii")),
            ("bh", base64.b64encode(body_hash).decode()),
        ]
        return signed_value(MESSAGE_SIGNATURE.encode(), tags, key, lambda field: header.digest_of(names, True, field))
