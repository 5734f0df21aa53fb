"""The logotype extension (RFC 9399 §4.1, once RFC 3709): the indicator inside a mark certificate. Pure.

Only what a mark certificate has is read: the direct subject logo, whose image is a `data:` URI with a gzipped SVG. Its
hashes are over the SVG, as the issuers in practice have them, or over the gzip, as RFC 9399 §7 can be read too; each
must fit one of both. Nothing is ever fetched for it.

Diagnostics: the SVG, unpacked, or what is wrong, for people.
Security: the DER comes from a certificate, which may not have been verified yet; every fault of the parser is caught.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import ClassVar

from asn1crypto import algos, core

from authmilter.bimi.indicator import unpack

_DATA_URI = re.compile(r"data:image/svg\+xml(?:\+gzip)?(?:;[a-z0-9=-]+)*;base64,([A-Za-z0-9+/\s]+={0,2}\s*)", re.ASCII)
_MEDIA_TYPES = ("image/svg+xml", "image/svg+xml+gzip")  # RFC 9399 §7
# The certificate's signature covers the octets, so that a weak hash of them weakens nothing; issuers still write SHA-1
_HASHES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


class _HashAlgAndValue(core.Sequence):
    _fields: ClassVar = [("hash_alg", algos.DigestAlgorithm), ("hash_value", core.OctetString)]


class _Hashes(core.SequenceOf):
    _child_spec = _HashAlgAndValue


class _Uris(core.SequenceOf):
    _child_spec = core.IA5String


class _Details(core.Sequence):
    _fields: ClassVar = [("media_type", core.IA5String), ("logotype_hash", _Hashes), ("logotype_uri", _Uris)]


class _Image(core.Sequence):
    _fields: ClassVar = [("image_details", _Details), ("image_info", core.Sequence, {"optional": True})]


class _Images(core.SequenceOf):
    _child_spec = _Image


class _Data(core.Sequence):
    _fields: ClassVar = [
        ("image", _Images, {"optional": True}),
        ("audio", core.Sequence, {"implicit": 1, "optional": True}),
    ]


class _Reference(core.Sequence):
    _fields: ClassVar = [("ref_struct_hash", _Hashes), ("ref_struct_uri", _Uris)]


class _Info(core.Choice):
    _alternatives: ClassVar = [("direct", _Data, {"implicit": 0}), ("indirect", _Reference, {"implicit": 1})]


class _Others(core.SequenceOf):
    _child_spec = core.Any


class _Extension(core.Sequence):
    _fields: ClassVar = [
        ("community_logos", _Others, {"explicit": 0, "optional": True}),
        ("issuer_logo", _Info, {"explicit": 1, "optional": True}),
        ("subject_logo", _Info, {"explicit": 2, "optional": True}),
        ("other_logos", _Others, {"explicit": 3, "optional": True}),
    ]


def embedded_svg(der: bytes) -> bytes | str:
    """The image in the extension with this content, unpacked, its hashes verified; or what is wrong."""
    try:
        return _read(der)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError):
        return "its logotype extension cannot be read"


def _read(der: bytes) -> bytes | str:
    subject = _Extension.load(der, strict=True)["subject_logo"]
    if isinstance(subject, core.Void):
        return "its logotype extension has no subject logo"
    if subject.name != "direct":
        return "its logotype is somewhere else, not in the certificate"
    images = subject.chosen["image"]
    if isinstance(images, core.Void) or len(images) != 1:
        return "its logotype extension does not have exactly one image"
    details = images[0]["image_details"]
    kind = details["media_type"].native
    if kind.lower() not in _MEDIA_TYPES:
        return f"its logotype is {kind[:40]}, no SVG"
    for uri in details["logotype_uri"]:
        if match := _DATA_URI.fullmatch(uri.native):
            break
    else:
        # BIMI evidence §4.1: "embedded directly in the certificate via a DATA URI"
        return "its logotype has no data: URI with an SVG in base64"
    try:
        octets = base64.b64decode("".join(match[1].split()), validate=True)
    except binascii.Error:
        return "the base64 of its logotype is broken"
    svg = unpack(octets)
    if isinstance(svg, str):
        return f"its logotype cannot be used: {svg}"
    return _verified(svg, octets, details["logotype_hash"])


def _verified(svg: bytes, octets: bytes, hashes: _Hashes) -> bytes | str:
    """RFC 9399 §4.1: every hash that is known must be that of the image."""
    known = 0
    for entry in hashes:
        make = _HASHES.get(entry["hash_alg"]["algorithm"].native)
        if make is None:
            continue
        known += 1
        if entry["hash_value"].native not in (make(svg).digest(), make(octets).digest()):
            return "the hash of its logotype is another one than the extension says"
    return svg if known else "its logotype has no hash of a known kind"
