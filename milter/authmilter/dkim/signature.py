"""One DKIM-Signature field, read and judged by itself (RFC 6376 §3.5, §6.1.1).

Takes the value of the field, gives a `Signature`. No key, no body; the time only in `not_accepted`.

Diagnostics: a signature that cannot be verified has a `defect`, with the word for Authentication-Results (RFC 8601
§2.7.1); RFC 6376 calls each of them PERMFAIL. What could be read is filled in all the same.

    neutral    the field is not a tag list or is too large; a value breaks the grammar of its tag; a=, c= or q= asks for
               something that is not known here ("syntax errors or not otherwise able to be processed")
    permerror  a required tag is missing; v= is not 1; From is not in h=; i= is not below d=; x= is not after t=
    policy     a=rsa-sha1 (RFC 8301 §3.1); x= has passed; t= has not come; d= is refused by the settings
               ("some aspect of the signature was not acceptable": the standard leaves each of these to the receiver,
               but for the first, where the word is the one that RFC 8601 has for weak algorithms)

Limits: 64 KB per field. Time is linear in the length of the field.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from authmilter.dkim import taglist, values
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimResult
from mailcommon.names import is_subdomain

MAX_FIELD = 65_536  # octets; a signature with a 4096-bit key and a long h= takes 2,000
MAX_B = 1_400  # characters of b= that are kept as text: the base64 of an 8192-bit signature has 1,368

_REQUIRED = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")
_ALGORITHMS = ("rsa-sha256", "ed25519-sha256")  # RFC 8301 §3.1, RFC 8463 §3


@dataclass(frozen=True, slots=True)
class Defect:
    """Why something cannot be used, and the result that it leads to."""

    result: DkimResult
    reason: str


@dataclass(frozen=True, slots=True)
class Signature:
    """The tags of one signature. What could not be read is empty, and then there is a defect."""

    defect: Defect | None
    domain: str = ""  # d=, A-labels, lower case
    selector: str = ""  # s=, A-labels, lower case
    identity: str = ""  # i=, decoded; "@" and d= if absent
    identity_domain: str = ""
    algorithm: str = ""  # a=, lower case
    b: str = ""  # b= without white space, at most MAX_B characters
    signature: bytes = b""  # b= decoded
    body_hash: bytes = b""  # bh= decoded
    relaxed_header: bool = False  # c=
    relaxed_body: bool = False
    length: int | None = None  # l=; None: the whole body
    signed: tuple[bytes, ...] = ()  # h=, lower case, in the order of signing
    timestamp: int | None = None  # t=, unix seconds
    expires: int | None = None  # x=, unix seconds

    @property
    def key_name(self) -> str:
        """The name of the TXT record of the key (RFC 6376 §3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def _neutral(reason: str) -> Defect:
    return Defect(DkimResult.NEUTRAL, reason)


def _permerror(reason: str) -> Defect:
    return Defect(DkimResult.PERMERROR, reason)


def _first_defect(
    tags: dict[bytes, bytes], required: Collection[bytes], broken: list[str], read: Signature
) -> Defect | None:
    """Judge what was read, in the order of RFC 6376 §6.1.1. `broken`: the tags whose value breaks its grammar."""
    missing = [tag.decode() for tag in required if tag not in tags]
    if missing:  # RFC 6376 §6.1.1: signature missing required tag
        return _permerror(f"{missing[0]}= is missing")
    if b"v" in required and tags[b"v"] != b"1":  # RFC 6376 §6.1.1: incompatible version
        return _permerror("v= is not 1")
    if broken:
        return _neutral(f"{broken[0]}= cannot be read")
    if not is_subdomain(read.identity_domain, read.domain):  # RFC 6376 §6.1.1: domain mismatch
        return _permerror("i= is not below d=")
    if b"h" in required and b"from" not in read.signed:  # RFC 6376 §6.1.1: From field not signed
        return _permerror("From is not signed")
    if read.expires is not None and read.timestamp is not None and read.expires <= read.timestamp:
        return _permerror("x= is not after t=")  # RFC 6376 §3.5: x= MUST be greater
    if b"q" in tags and not values.has_dns_txt(tags[b"q"]):
        return _neutral("q= has no known method")
    if read.algorithm == "rsa-sha1":  # RFC 8301 §3.1: MUST NOT be verified
        return Defect(DkimResult.POLICY, "rsa-sha1 is not accepted")
    if read.algorithm not in _ALGORITHMS:
        return _neutral("a= is not known")
    return None


def parse(value: bytes) -> Signature:
    """Read the value of a DKIM-Signature field: all that follows the colon, folds as CRLF and blank."""
    if len(value) > MAX_FIELD:
        return Signature(_neutral("the field is too large"))
    tags = taglist.parse(value)
    if tags is None:
        return Signature(_neutral("the field is not a tag list"))
    return interpret(tags, _REQUIRED)


def interpret(tags: dict[bytes, bytes], required: Collection[bytes]) -> Signature:
    """Read the tags of a signature; `required` are those that it must have.

    What RFC 6376 asks of v= and of From in h= is asked where v= and h= are required.
    """
    algorithm = values.algorithm(tags.get(b"a", b""))
    domain = values.domain(tags.get(b"d", b""))
    selector = values.selector(tags.get(b"s", b""))
    # RFC 6376 §6.1.1: without i= the identity is "@" and the domain
    identity = values.identity(tags[b"i"]) if b"i" in tags else (f"@{domain}", domain) if domain else ("", "")
    names = values.field_names(tags.get(b"h", b""))
    signature = taglist.base64_octets(tags.get(b"b", b""))
    body_hash = taglist.base64_octets(tags.get(b"bh", b""))
    canonicalization = values.canonicalization(tags.get(b"c", b"simple/simple"))
    length = values.number(tags[b"l"]) if b"l" in tags else None
    timestamp = values.time(tags[b"t"]) if b"t" in tags else None
    expires = values.time(tags[b"x"]) if b"x" in tags else None
    always = {"a": algorithm, "d": domain, "s": selector, "h": names, "b": signature, "bh": body_hash}
    optional = {"i": identity, "c": canonicalization, "l": length, "t": timestamp, "x": expires}
    broken = [tag for tag, got in always.items() if got is None and tag.encode() in required]
    broken += [tag for tag, got in optional.items() if got is None and tag.encode() in tags]
    read = Signature(
        defect=None,
        domain=domain or "",
        selector=selector or "",
        identity=identity[0] if identity else "",
        identity_domain=identity[1] if identity else "",
        algorithm=algorithm or "",
        b=taglist.unfold(tags[b"b"])[:MAX_B].decode() if signature is not None else "",
        signature=signature or b"",
        body_hash=body_hash or b"",
        relaxed_header=canonicalization is not None and canonicalization[0],
        relaxed_body=canonicalization is not None and canonicalization[1],
        length=length,
        signed=names or (),
        timestamp=timestamp,
        expires=expires,
    )
    defect = _first_defect(tags, required, broken, read)
    return read if defect is None else replace(read, defect=defect)


def not_accepted(signature: Signature, settings: DkimSettings, now: float) -> Defect | None:
    """Judge what the standard leaves to the receiver; `now` is the time of receipt in unix seconds."""
    if signature.domain in settings.refused_domains:  # RFC 6376 §6.1.1: the list SHOULD be configurable
        return Defect(DkimResult.POLICY, "d= is not accepted as a signer")
    if signature.expires is not None and signature.expires < now - settings.clock_skew:
        return Defect(DkimResult.POLICY, "the signature has expired")  # RFC 6376 §6.1.1: MAY ignore it
    if signature.timestamp is not None and signature.timestamp > now + settings.clock_skew:
        return Defect(DkimResult.POLICY, "the signature is from the future")  # RFC 6376 §3.5: MAY ignore it
    return None
