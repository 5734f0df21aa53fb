"""DKIM signatures for one message of ours (RFC 6376 §5).

    signing = signer.begin(author, client, mail_from)
    signing.body(chunk) ...
    made = signing.finish(fields, now)

Who signs: every address of a From that can be read is looked for in the table, and all identities found sign, so that
each Author Domain of ours is aligned for DMARC. Sender and the envelope play no part (RFC 6376 §2.2 leaves the identity
to the signer; RFC 9989 §4.4 looks at the From only).

Limits: 8 signatures per message, 50 fields of one name. The body is hashed as it comes and never kept.
Security: a message whose From nobody can read is not signed (RFC 6376 §8.15: verifiers would each see another one).
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from authmilter.dkim.body_hash import BodyHash
from authmilter.dkim.header_hash import Header
from authmilter.facts import Author, Client, HeaderField, Signed
from authmilter.sign import table
from authmilter.sign.field import signed_value
from authmilter.sign.key import PrivateKey
from authmilter.sign.keyring import Keyring
from authmilter.sign.settings import ADDED_LATER, SignSettings, is_signing_domain
from mailcommon.names import to_alabel

MAX_SIGNATURES = 8
MAX_SAME = 50  # times that a name stands in h=; more fields of one name are not signed
FIELD = "DKIM-Signature"


@dataclass(frozen=True, slots=True)
class Made:
    """What came of signing one message."""

    fields: tuple[tuple[str, str], ...] = ()  # (name, value) from the top, folds as LF and TAB
    signed: tuple[Signed, ...] = ()
    unsigned: str = ""  # why a message for which there is an identity has no signature by it; "" if it has
    missing_key: bool = False  # that reason is a key that cannot be used


NOTHING = Made()


@dataclass(frozen=True, slots=True)
class _Task:
    domain: str
    selector: str
    key: PrivateKey


class Signer:
    """The settings and keys in force; shared by all threads."""

    def __init__(self, settings: SignSettings, keys: Keyring) -> None:
        self.settings = settings
        self._keys = keys
        self.active = bool(settings.table)
        """Whether anything is ever signed."""
        self._names = tuple(dict.fromkeys(name.lower() for name in ("from", *settings.headers, *settings.oversign)))
        self._oversigned = {"from", *(name.lower() for name in settings.oversign)}

    def begin(self, author: Author, client: Client, mail_from: str, unproven: Collection[str] = ()) -> Signing:
        """Choose who signs a message of ours; `mail_from` is the reverse-path.

        `unproven`: Author Domains for which nobody signs, see `sign.sent_on`.
        """
        found = {
            (name, address.rpartition("@")[2]): None
            for address in author.addresses
            for name in table.find(self.settings.table, address)
        }
        if author.problem:
            return Signing(self, (), Made(unsigned=f"not signed: {author.problem}"))
        tasks: dict[tuple[str, str], _Task] = {}
        reason, missing = "", False
        for name, domain in found:
            if domain in unproven:
                reason = f"not signed for {domain}: this message came from outside, and DMARC did not pass then"
                continue
            if not self._may(domain, client, mail_from):
                reason = f"not signed for {domain}: it is not the domain of the {self.settings.authenticated}"
                continue
            identity = self.settings.identities[name]
            if not is_signing_domain(identity.domain or domain):
                reason = f"not signed for {domain}: it cannot be d= of a signature"
                continue
            key = self._keys.keys.get(identity.file)
            if key is None:
                reason, missing = f"not signed by {name}: {self._keys.faults.get(identity.file, 'no key')}", True
                continue
            task = _Task(identity.domain or domain, identity.selector, key)
            tasks.setdefault((task.domain, task.selector), task)
        return Signing(self, tuple(tasks.values())[:MAX_SIGNATURES], Made(unsigned=reason, missing_key=missing))

    def _may(self, domain: str, client: Client, mail_from: str) -> bool:
        """Whether `authenticated` lets this client be an author in `domain`."""
        wanted = self.settings.authenticated
        if wanted == "any" or not client.auth_user:
            return True
        proof = mail_from if wanted == "sender" else client.auth_user
        return "@" in proof and to_alabel(proof.rpartition("@")[2]) == domain

    def names(self, header: Header) -> list[bytes]:
        """h= for this header: each name as often as it is there, and once more if it is oversigned."""
        names: list[bytes] = []
        for name in self._names:
            octets = name.encode()
            count = len(header.places(octets))
            extra = name in self._oversigned and (count > 0 or name not in ADDED_LATER)
            names += [octets] * min(count + extra, MAX_SAME)
        return names


class Signing:
    """The signatures of one message while it comes in; one use."""

    def __init__(self, signer: Signer, tasks: tuple[_Task, ...], made: Made) -> None:
        self._signer = signer
        self._tasks = tasks
        self._made = made
        self._body = BodyHash(signer.settings.relaxed_body, {None}) if tasks else None

    def body(self, chunk: bytes) -> None:
        """Take the next octets of the body, lines ended by CRLF, cut anywhere."""
        if self._body:
            self._body.update(chunk)

    def finish(self, fields: Sequence[HeaderField], now: float) -> Made:
        """Sign. `fields`: the header from the top as the next hop will see it; `now`: unix seconds, for t=."""
        if not self._body:
            return self._made
        self._body.close()
        settings = self._signer.settings
        header = Header(fields)
        names = self._signer.names(header)
        words = {True: "relaxed", False: "simple"}
        common = [
            ("c", f"{words[settings.relaxed_header]}/{words[settings.relaxed_body]}"),
            ("t", str(int(now))),
            *([("x", str(int(now) + settings.lifetime))] if settings.lifetime else []),
            ("h", b":".join(names).decode("ascii")),
            ("bh", base64.b64encode(self._body.digest(None)).decode()),
        ]
        values = []
        for task in self._tasks:
            # RFC 6376 §3.5; no l=: whatever is added to the body breaks the signature (RFC 6376 §8.2)
            tags = [("v", "1"), ("a", task.key.algorithm), ("d", task.domain), ("s", task.selector), *common]
            values.append(
                signed_value(
                    FIELD.encode(),
                    tags,
                    task.key,
                    lambda field: header.digest_of(names, settings.relaxed_header, field),
                )
            )
        return Made(
            tuple((FIELD, value) for value in values),
            tuple(Signed(task.domain, task.selector, task.key.algorithm) for task in self._tasks),
            self._made.unsigned,
            self._made.missing_key,
        )
