"""The way from a mark certificate to a root that the operator trusts (RFC 5280 §6.1). Pure.

The authorities' part of the path is validated by `cryptography`. The last step is done here, since that library takes
no certificate with a critical extension that it does not know, and those of common marks have one.

Diagnostics: the chain, the mark certificate first and the root last, or what is wrong, for people.
Limits: the library's own bound on the depth of paths. Name constraints are not evaluated: an authority with some is
refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from authmilter.bimi.evidence.document import UNREADABLE
from authmilter.bimi.names import LOGOTYPE, MARK_USAGE, PILOT

Chain = tuple[x509.Certificate, ...]

_UNDERSTOOD = frozenset(
    (
        "2.5.29.15",  # key usage
        "2.5.29.17",  # subject alternative name
        "2.5.29.19",  # basic constraints
        "2.5.29.31",  # CRL distribution points
        "2.5.29.32",  # certificate policies
        "2.5.29.37",  # extended key usage
        LOGOTYPE,
        PILOT,
    )
)
_HASHES = ("sha256", "sha384", "sha512")
_MIN_RSA_BITS = 2048


def find_path(
    leaf: x509.Certificate, issuers: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: float
) -> Chain | str:
    """The chain of a mark certificate at the time `now` (unix seconds)."""
    if not roots:
        return "this host trusts no root of mark certificates ([bimi] ca_file)"
    if unknown := _unknown_extension(leaf):
        return f"it has a critical extension that is not known here: {unknown}"
    if weak := _weakness(leaf):
        return weak
    signers = [each for each in (*issuers, *roots) if _signed_by(leaf, each)]
    if not signers:
        return f"its issuer is not in the document: {leaf.issuer.rfc4514_string()[:200]}"
    reason = ""
    for signer in dict.fromkeys(signers):
        found = _authorities(signer, issuers, roots, now)
        if not isinstance(found, str):
            return (leaf, *found)
        reason = reason or found
    return reason


def _signed_by(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _authorities(
    signer: x509.Certificate, issuers: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: float
) -> Chain | str:
    """The path from the issuing authority to a root; an authority is the end of that path, so its rules are here."""
    ours = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
        .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
        .require_not_present(x509.NameConstraints)
    )
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(datetime.datetime.fromtimestamp(now, datetime.UTC))
        .extension_policies(ee_policy=ours, ca_policy=ours)
        .build_client_verifier()
    )
    try:
        chain = tuple(verifier.verify(signer, [each for each in issuers if each != signer]).chain)
    except VerificationError as fault:
        if not any(root.subject == signer.issuer or _has_issuer(root, issuers) for root in roots):
            return "none of the roots in ca_file stands behind it"
        return f"the chain of its issuers is not valid: {_first_words(str(fault))}"
    for below, authority in enumerate(chain):
        limit = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if limit is not None and limit < below:
            return "an authority above it may not have so many below it"  # RFC 5280 §4.2.1.9
    if not has_usage(signer):
        # BIMI evidence §4.4: the immediate issuer "MUST also contain" it
        return "its issuer is not an authority for mark certificates (extended key usage)"
    return chain


def _has_issuer(root: x509.Certificate, issuers: Sequence[x509.Certificate]) -> bool:
    return any(each.issuer == root.subject for each in issuers)


def _is_authority(_policy: Policy, _certificate: x509.Certificate, value: x509.BasicConstraints) -> None:
    if not value.ca:
        raise ValueError("not an authority")


def _signs_certificates(_policy: Policy, _certificate: x509.Certificate, value: x509.KeyUsage) -> None:
    if not value.key_cert_sign:
        raise ValueError("an authority that may not sign certificates")


def has_usage(certificate: x509.Certificate) -> bool:
    """Whether it is for brand indicators (BIMI evidence §4.4)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return any(each.dotted_string == MARK_USAGE for each in usage)


def _unknown_extension(leaf: x509.Certificate) -> str:
    """RFC 5280 §4.2: a critical extension that is not understood makes the certificate unusable."""
    return next(
        (
            each.oid.dotted_string
            for each in leaf.extensions
            if each.critical and each.oid.dotted_string not in _UNDERSTOOD
        ),
        "",
    )


def _weakness(leaf: x509.Certificate) -> str:
    try:
        algorithm = leaf.signature_hash_algorithm
        key = leaf.public_key()
    except UNREADABLE:
        return "its key or its signature is of a kind that is not known here"
    if algorithm is None or algorithm.name not in _HASHES:
        return f"it is signed with {algorithm.name if algorithm else 'an unknown hash'}"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return f"its RSA key has only {key.key_size} bits"
    return ""


def _first_words(text: str) -> str:
    text = text.removeprefix("validation failed: ").partition(" (encountered")[0]
    return "".join(character if character.isprintable() else " " for character in text[:200])
