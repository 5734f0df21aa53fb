"""Certificate revocation lists (RFC 5280 §6.3): where they are, and what one says about a certificate. Pure.

Limits: the caller bounds the octets of a list. Indirect lists and such for some reasons only are not understood.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from authmilter.bimi.evidence.document import UNREADABLE

_HASHES = ("sha256", "sha384", "sha512")


class Standing(enum.Enum):
    """What a list says."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # the list cannot be used


@dataclass(frozen=True, slots=True)
class Ruling:
    standing: Standing
    reason: str = ""
    until: float = 0.0  # unix seconds: a new list is to be had then


def locations(certificate: x509.Certificate) -> tuple[str, ...]:
    """The URLs of the lists of a certificate's issuer, http and https only (RFC 5280 §4.2.1.13)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    names = [
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    return tuple(name for name in names if name.lower().startswith(("http://", "https://")))


def judge(octets: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: float) -> Ruling:
    """What a list in DER or PEM says about a certificate at the time `now` (unix seconds)."""
    try:
        pem = octets.lstrip().startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(octets) if pem else x509.load_der_x509_crl(octets)
        if problem := _problem(crl, issuer, now):
            return Ruling(Standing.UNKNOWN, problem)
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        until = crl.next_update_utc.timestamp() if crl.next_update_utc else now
    except (InvalidSignature, *UNREADABLE):
        return Ruling(Standing.UNKNOWN, "it cannot be read")
    if entry is not None:
        return Ruling(Standing.REVOKED, f"it was revoked on {entry.revocation_date_utc:%F}", until)
    return Ruling(Standing.GOOD, "", until)


def _problem(crl: x509.CertificateRevocationList, issuer: x509.Certificate, now: float) -> str:
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    if crl.issuer != issuer.subject:
        return "it is of another issuer"
    algorithm = crl.signature_hash_algorithm
    if algorithm is None or algorithm.name not in _HASHES:
        return "it is signed with a weak hash"
    if not crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]  # another kind of key raises TypeError
        return "its signature is wrong"
    if crl.last_update_utc > at or crl.next_update_utc is None or crl.next_update_utc < at:
        return "it is out of date"
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.IssuingDistributionPoint):
            if value.indirect_crl or value.only_some_reasons or value.only_contains_attribute_certs:
                return "it is not for all certificates of the issuer"
        elif extension.critical:
            return "it has a critical extension that is not known here"  # RFC 5280 §5.2
    return ""
