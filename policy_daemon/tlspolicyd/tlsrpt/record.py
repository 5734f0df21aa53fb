"""The TLSRPT record of a domain (RFC 8460 §3): TXT records in, the places that reports go to out. No I/O.

Diagnostics: `select` never raises; without places there is a reason, for people.
Limits: records of 5,000 octets; 50 URIs are looked at, the first ten good ones kept; a URI has at most 500 characters.
Security: the owner of a domain may name any address and any host. What comes out has a form that can be written into a
header or a request without escaping; where an HTTPS host may be is judged where it is connected to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from mailcommon.names import is_hostname, to_alabel

_MAX_RECORD = 5000  # octets
_MAX_URIS = 50
_MAX_PLACES = 10
_MAX_URI = 500  # characters

_VERSION = re.compile(rb"v=TLSRPTv1[ \t]*(?:;|\Z)")
# RFC 8460 §3: field-delim; a value may have any "=" but no control characters
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=(.*)\Z", re.DOTALL)
_LOCAL_PART = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z"
)  # RFC 5322 §3.2.3: dot-atom
_URI_TEXT = re.compile(r"[!-~]+\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a report goes: exactly one of both is there."""

    mailto: str = ""  # an address, plain ASCII, without quoting
    https: str = ""  # a URI, plain ASCII

    def __str__(self) -> str:
        return self.https or f"mailto:{self.mailto}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a domain says about reports."""

    places: tuple[Place, ...] = ()
    reason: str = ""  # why there is none
    ignored: tuple[str, ...] = ()  # URIs that cannot be used, as they stand in the record


def record_name(domain: str) -> str:
    """Where the record of `domain` (A-labels) is."""
    return f"_smtp._tls.{domain}"


def select(records: Sequence[bytes]) -> Wanted:
    """The places that the one TLSRPT record among the TXT records names, in its order."""
    # RFC 8460 §3: those that do not begin with "v=TLSRPTv1;" are discarded
    ours = [record for record in records if _VERSION.match(record)]
    if not ours:
        return Wanted(reason="no TLSRPT record")
    if len(ours) > 1:
        # RFC 8460 §3: "If the number of resulting records is not one, ... does not implement TLSRPT"
        return Wanted(reason="more than one TLSRPT record")
    if len(ours[0]) > _MAX_RECORD:
        return Wanted(reason=f"the TLSRPT record has more than {_MAX_RECORD} octets")
    return read(ours[0])


def read(record: bytes) -> Wanted:
    """The places that one record names."""
    text = record.decode("utf-8", "replace")
    for part in text.split(";")[1:]:
        match = _FIELD.match(part.strip(" \t"))
        if match is None or match[1] != "rua":  # RFC 8460 §3: unknown fields are ignored; "rua" is case-sensitive
            continue
        return _read_uris(match[2])
    return Wanted(reason="the TLSRPT record names no place (rua)")


def _read_uris(value: str) -> Wanted:
    uris = [uri.strip(" \t") for uri in value.split(",")[:_MAX_URIS]]
    places: dict[Place, None] = {}
    ignored = []
    for uri in uris:
        place = _place(uri)
        if place is None:
            ignored.append(uri[:_MAX_URI])
        elif len(places) < _MAX_PLACES:
            places[place] = None
    reason = "" if places else "the TLSRPT record names no place that can be used"
    return Wanted(tuple(places), reason, tuple(ignored))


def _place(uri: str) -> Place | None:
    # RFC 8460 §3: "," "!" and ";" must be percent-encoded
    if len(uri) > _MAX_URI or _URI_TEXT.match(uri) is None or "!" in uri:
        return None
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "mailto":
        address = _address(rest)
        return Place(mailto=address) if address else None
    return Place(https=uri) if scheme.lower() == "https" and _is_https(uri) else None


def _address(text: str) -> str:
    """The address of a mailto URI (RFC 6068 §2), "" if it cannot be used: one address, plainly written."""
    local, at, domain = unquote(text.partition("?")[0], errors="replace").rpartition("@")
    name = to_alabel(domain)
    if not at or not name or "." not in name or not is_hostname(name) or len(local) > 64:
        return ""
    # one that begins so would be an option or a path to some program on its way
    return f"{local}@{name}" if _LOCAL_PART.match(local) and local[0] not in "-/|" else ""


def _is_https(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    # a password would be shown to nobody but ourselves; a host is a name, so that its certificate can be checked
    plain = parts.username is None and parts.password is None and not parts.fragment
    return bool(plain and port != 0 and parts.hostname and "." in parts.hostname and is_hostname(parts.hostname))
