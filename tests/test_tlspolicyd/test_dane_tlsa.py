"""Which TLSA records can authenticate an SMTP server (RFC 7672 section 3.1, RFC 7671 section 4)."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from mailcommon.dns.answer import Tlsa
from tlspolicyd.dane.tlsa import fault, presentation

_KEY = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.a.example")])
_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_CERTIFICATE = (
    x509.CertificateBuilder().subject_name(_NAME).issuer_name(_NAME).public_key(_KEY.public_key()).serial_number(1)
    .not_valid_before(_START).not_valid_after(_START + datetime.timedelta(days=1)).sign(_KEY, hashes.SHA256())
)  # fmt: skip
CERTIFICATE = _CERTIFICATE.public_bytes(serialization.Encoding.DER)
PUBLIC_KEY = _KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

GOOD = [
    Tlsa(3, 1, 1, bytes(32)),
    Tlsa(3, 0, 1, bytes(32)),
    Tlsa(2, 0, 2, bytes(64)),
    Tlsa(2, 1, 2, bytes(64)),
    Tlsa(2, 0, 0, CERTIFICATE),
    Tlsa(3, 1, 0, PUBLIC_KEY),
]
BAD = [
    (Tlsa(0, 0, 1, bytes(32)), "usage 0 is not for SMTP"),
    (Tlsa(1, 1, 1, bytes(32)), "usage 1 is not for SMTP"),
    (Tlsa(4, 1, 1, bytes(32)), "usage 4 is unknown"),
    (Tlsa(3, 2, 1, bytes(32)), "selector 2 is unknown"),
    (Tlsa(3, 1, 3, bytes(32)), "matching type 3 is unknown"),
    (Tlsa(3, 1, 255, bytes(32)), "matching type 255 is unknown"),
    (Tlsa(3, 1, 1, bytes(31)), "has 31 octets of a digest of 32"),
    (Tlsa(3, 1, 1, bytes(33)), "has 33 octets of a digest of 32"),
    (Tlsa(3, 1, 1, b""), "has 0 octets of a digest of 32"),
    (Tlsa(3, 1, 2, bytes(32)), "has 32 octets of a digest of 64"),
    (Tlsa(2, 0, 0, b""), "is neither a certificate nor a key"),
    (Tlsa(2, 0, 0, CERTIFICATE[:-1]), "is neither a certificate nor a key"),
    (Tlsa(2, 0, 0, CERTIFICATE + b"\0"), "is neither a certificate nor a key"),
    (Tlsa(3, 1, 0, b"\x30\x80\0\0"), "is neither a certificate nor a key"),
    (Tlsa(254, 254, 254, b""), "usage 254 is unknown"),  # a record too short for its numbers
]


@pytest.mark.parametrize("record", GOOD, ids=presentation)
def test_usable(record: Tlsa) -> None:
    assert fault(record) == ""


@pytest.mark.parametrize(("record", "why"), BAD, ids=[why for _, why in BAD])
def test_unusable(record: Tlsa, why: str) -> None:
    assert fault(record) == why


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=70))
def test_any_record_has_an_answer(usage: int, selector: int, mtype: int, data: bytes) -> None:
    record = Tlsa(usage, selector, mtype, data)
    if not fault(record):
        assert usage in (2, 3)
        assert selector in (0, 1)
        assert mtype in (0, 1, 2)
    assert presentation(record).isprintable()
    assert len(presentation(record)) < 200
