"""The evidence document (BIMI evidence §3.3): PEM in, the mark certificate and those of its issuers out. Pure.

Limits: ten certificates; the caller bounds the octets. Order does not matter, one mark certificate there must be.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

MAX_CERTIFICATES = 10

# what the library raises for certificates and lists that are malformed, mostly when a part of them is looked at
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds."""

    leaf: x509.Certificate
    issuers: tuple[x509.Certificate, ...]


def read_document(pem: bytes) -> Document | str:
    """The certificates of a file, or what is wrong with it."""
    count = pem.count(b"-----BEGIN CERTIFICATE-----")
    if not count:
        return "there is no certificate in PEM"
    if count > MAX_CERTIFICATES:
        return f"there are {count} certificates, at most {MAX_CERTIFICATES} are taken"
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        leaves = [certificate for certificate in certificates if not is_authority(certificate)]
    except UNREADABLE:
        return "a certificate cannot be read"
    if not leaves:
        return "there are only certificates of authorities"
    if len(set(leaves)) > 1:
        return (
            f"there are {len(leaves)} certificates that are no authority's"  # BIMI evidence §3.3: "more than one VMC"
        )
    issuers = dict.fromkeys(certificate for certificate in certificates if certificate not in leaves)
    return Document(leaves[0], tuple(issuers))


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it says that it is one; raises what is UNREADABLE."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
