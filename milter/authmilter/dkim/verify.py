"""The verdict on one signature, once the body and the key are there (RFC 6376 §6.1.2, §6.1.3).

Takes a signature without defect, what DNS said about its key, and the hashes of the message; gives a `DkimFact`. Pure.

Diagnostics (RFC 8601 §2.7.1), the first that holds:

    fail       the body hash differs and DNS did not answer: no answer could make it pass
    temperror  DNS did not answer (RFC 6376 §6.1.2: TEMPFAIL)
    permerror  no key record, or it is malformed, revoked, not for mail, not for this hash or algorithm; t=s and i= is
               below d=; l= is larger than the body
    policy     an RSA key that is shorter or longer than allowed; a key whose private half others have (by setting)
    fail       the body hash differs; the signature does not fit the header
    policy     verified, but octets beyond l= or a second Subject, ... are not signed
    pass       verified

With t=y in the key a fail is neutral and says so: it may not count against the message (RFC 6376 §3.6.1). Of several
key records the one with the best result counts (RFC 6376 §6.1.2).

Limits: 16 key records are read, 4 keys are tried; they are sorted first: the order of the answer does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authmilter.dkim import key as keys
from authmilter.dkim.header_hash import Header
from authmilter.dkim.settings import DkimSettings
from authmilter.dkim.signature import Defect, Signature
from authmilter.facts import DkimFact, DkimResult
from mailcommon.dns.answer import Answer

MAX_RECORDS = 16
MAX_KEYS = 4

# RFC 5322 §3.6 and RFC 2045 §3 allow these once, and readers show or obey any one of several
ONCE = (b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"content-type")

_BEST_FIRST = (DkimResult.PASS, DkimResult.POLICY, DkimResult.NEUTRAL, DkimResult.FAIL, DkimResult.PERMERROR)


@dataclass(frozen=True, slots=True)
class Message:
    """What a message has for one signature."""

    header: Header
    place: int  # index of the signature's field
    body_hash: bytes  # of the canonical body, up to l=
    body_length: int  # octets of the canonical body


def fact(signature: Signature, result: DkimResult, reason: str = "", key: keys.Key | None = None) -> DkimFact:
    """Give the fact about a signature."""
    return DkimFact(
        result=result,
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        algorithm=signature.algorithm,
        b=signature.b,
        key_bits=key.bits if key else 0,
        testing=key.testing if key else False,
        reason=reason,
        signed=tuple(name.decode("ascii") for name in signature.signed),
    )


def usable_keys(records: Sequence[bytes]) -> list[keys.Key]:
    """Give the keys to try, those that are no key records left out unless there is nothing else."""
    # RFC 6376 §6.1.2: the order of several records means nothing
    ordered = sorted(records, key=lambda record: (not record.startswith(b"v=DKIM1"), record))[:MAX_RECORDS]
    parsed = [keys.parse(record) for record in ordered]
    return [key for key in parsed if not key.malformed][:MAX_KEYS] or parsed[:1]


def added_field(signature: Signature, header: Header) -> str:
    """Give the name of a field that h= covers fewer times than it occurs, or "" (RFC 6376 §8.15)."""
    for name in ONCE:
        count = len(header.places(name))
        if count > 1 and 0 < signature.signed.count(name) < count:
            return name.decode().title()
    return ""


def unsuitable(signature: Signature, key: keys.Key, settings: DkimSettings) -> Defect | None:
    """Say why this key cannot serve this signature (RFC 6376 §6.1.2)."""
    if key.defect is not None:
        return key.defect
    if signature.algorithm != f"{key.kind}-sha256":  # RFC 6376 §6.1.2: inappropriate key algorithm
        return Defect(DkimResult.PERMERROR, "the type of the key does not fit a=")
    if key.strict and signature.identity_domain != signature.domain:  # RFC 6376 §3.6.1: t=s
        return Defect(DkimResult.PERMERROR, "the key does not allow i= below d=")
    if key.kind == "rsa" and key.bits < max(settings.min_rsa_bits, 1024):  # RFC 8301 §3.2: never less than 1024
        return Defect(DkimResult.POLICY, f"the key has only {key.bits} bits")
    if key.kind == "rsa" and key.bits > settings.max_rsa_bits:
        return Defect(DkimResult.POLICY, f"the key has {key.bits} bits")
    if settings.compromised and key.public and (known := settings.compromised.reason(key.public)):
        return Defect(DkimResult.POLICY, known)
    return None


def _try_key(signature: Signature, key: keys.Key, message: Message, settings: DkimSettings) -> DkimFact:
    problem = unsuitable(signature, key, settings)
    if problem is not None:
        return fact(signature, problem.result, problem.reason, key)
    if signature.length is not None and signature.length > message.body_length:  # RFC 6376 §3.5: l=
        return fact(signature, DkimResult.PERMERROR, "l= is larger than the body", key)
    if signature.body_hash != message.body_hash:
        return _failed(signature, "the body hash differs", key)
    digest = message.header.digest(signature.signed, signature.relaxed_header, message.place)
    if not key.verify(signature.signature, digest):
        return _failed(signature, "the signature does not fit the header", key)
    return _verified(signature, key, message, settings)


def _failed(signature: Signature, reason: str, key: keys.Key) -> DkimFact:
    if key.testing:  # RFC 6376 §3.6.1: not different from unsigned mail
        return fact(signature, DkimResult.NEUTRAL, f"{reason}, and the key is in test mode", key)
    return fact(signature, DkimResult.FAIL, reason, key)


def _verified(signature: Signature, key: keys.Key, message: Message, settings: DkimSettings) -> DkimFact:
    beyond = 0 if signature.length is None else message.body_length - signature.length
    partial = f"{beyond} octets of the body are not signed" if beyond else ""
    if partial and not settings.accept_partial_body:  # RFC 6376 §8.2: it does not vouch for what is shown
        return fact(signature, DkimResult.POLICY, partial, key)
    added = added_field(signature, message.header)
    extra = f"one {added} field is not signed" if added else ""
    if extra and not settings.accept_added_fields:  # RFC 6376 §8.15
        return fact(signature, DkimResult.POLICY, extra, key)
    testing = "the key is in test mode" if key.testing else ""
    passed = fact(signature, DkimResult.PASS, ", ".join(filter(None, (testing, partial, extra))), key)
    return replace(passed, partial=bool(partial or extra))


def verify(signature: Signature, answer: Answer[bytes], message: Message, settings: DkimSettings) -> DkimFact:
    """Judge a signature that has no defect by the answer for its key and the hashes of the message."""
    if answer.status.failed:
        if signature.body_hash != message.body_hash:
            return fact(signature, DkimResult.FAIL, "the body hash differs")
        return fact(signature, DkimResult.TEMPERROR, f"looking up the key: {answer.status.value}")
    if not answer.records:  # RFC 6376 §6.1.2: no key for signature
        return fact(signature, DkimResult.PERMERROR, "there is no key")
    best: DkimFact | None = None
    for key in usable_keys(answer.records):
        tried = _try_key(signature, key, message, settings)
        if best is None or _BEST_FIRST.index(tried.result) < _BEST_FIRST.index(best.result):
            best = tried
        if best.result is DkimResult.PASS:
            break
    assert best is not None
    return best
