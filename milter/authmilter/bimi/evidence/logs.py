"""Certificate Transparency (RFC 6962): the timestamps in a mark certificate, and the logs that signed them.

`parse_logs` reads a log list in the JSON form that the browsers' lists have (version 3): every "key" of a log in it.
Pure. Limits: 32 timestamps of one certificate.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp

_MAX = 32
_SKEW = 86_400  # seconds that a log's clock may be ahead of ours

Logs = Mapping[bytes, "ec.EllipticCurvePublicKey | rsa.RSAPublicKey"]


def parse_logs(text: str) -> Logs:
    """The keys by log id (RFC 6962 §3.2); raises ValueError with a text for people."""
    try:
        found = dict(_keys(json.loads(text)))
    except (ValueError, TypeError, AttributeError, KeyError, UnsupportedAlgorithm, binascii.Error) as fault:
        raise ValueError(f"is no list of logs in JSON: {fault}") from fault
    if not found:
        raise ValueError("names no log")
    return found


def _keys(data: Any) -> Iterator[tuple[bytes, Any]]:
    for operator in data["operators"]:
        for log in (*operator.get("logs", ()), *operator.get("tiled_logs", ())):
            der = base64.b64decode(log["key"], validate=True)
            key = serialization.load_der_public_key(der)
            if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
                yield hashlib.sha256(der).digest(), key


def timestamps(leaf: x509.Certificate) -> list[SignedCertificateTimestamp]:
    """The timestamps in a certificate (RFC 6962 §3.3)."""
    try:
        value = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    except x509.ExtensionNotFound:
        return []
    return list(value)[:_MAX]


def refusal(leaf: x509.Certificate, issuer: x509.Certificate, logs: Logs | None, now: float) -> str:
    """Why the timestamps do not prove that the certificate was logged, "" if they do; `now` in unix seconds.

    BIMI evidence §5.1 step 4. Without `logs` there must be one, and nothing is said about who signed it.
    """
    found = timestamps(leaf)
    if not found:
        return "it has no timestamp of a transparency log"
    if logs is None:
        return ""
    reasons = [reason for each in found if (reason := _refusal(each, leaf, issuer, logs, now))]
    return "" if len(reasons) < len(found) else reasons[0]


def _refusal(
    each: SignedCertificateTimestamp, leaf: x509.Certificate, issuer: x509.Certificate, logs: Logs, now: float
) -> str:
    key = logs.get(each.log_id)
    if key is None:
        return f"its timestamp is of a log that is not in ct_log_list: {each.log_id.hex()[:16]}"
    if _milliseconds(each) / 1000 > now + _SKEW:
        return "its timestamp is from the future"
    signed = _signed(each, leaf, issuer)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(each.signature, signed, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(each.signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return "the signature of its timestamp is wrong"
    return ""


def _milliseconds(each: SignedCertificateTimestamp) -> int:
    """RFC 6962 §3.2: the timestamp as it was signed; the library gives a time in UTC without saying so."""
    since = each.timestamp.replace(tzinfo=datetime.UTC) - datetime.datetime.fromtimestamp(0, datetime.UTC)
    return round(since / datetime.timedelta(milliseconds=1))


def _signed(each: SignedCertificateTimestamp, leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """What the log signed (RFC 6962 §3.2): the certificate as it was before the timestamps were put in."""
    spki = issuer.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = leaf.tbs_precertificate_bytes
    return b"".join(
        (
            b"\x00\x00",  # v1, certificate_timestamp
            _milliseconds(each).to_bytes(8, "big"),
            b"\x00\x01",  # precert_entry
            hashlib.sha256(spki).digest(),
            len(body).to_bytes(3, "big"),
            body,
            len(each.extension_bytes).to_bytes(2, "big"),
            each.extension_bytes,
        )
    )
