"""Key records: every tag, every defect, both encodings of RSA keys, sizes."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.dkim import key as keys
from authmilter.facts import DkimResult
from tests.support import dkim_signer

RSA = dkim_signer.make_key()
ED = dkim_signer.make_key("ed25519")
P = dkim_signer.public_base64(RSA)
PE = dkim_signer.public_base64(ED)


@pytest.mark.parametrize(
    ("record", "kind", "bits"),
    [
        (f"v=DKIM1; k=rsa; p={P}", "rsa", 2048),
        (f"p={P}", "rsa", 2048),  # DKIM-24: v= is optional
        (f"k=RSA;p={P};", "rsa", 2048),
        (f" v = DKIM1 ; p = {P} ", "rsa", 2048),
        (f"v=DKIM1; p={P[:50]} {P[50:]}", "rsa", 2048),
        (f"v=DKIM1; n=a note=3B; p={P}; zz=1", "rsa", 2048),
        (f"v=DKIM1; p={dkim_signer.public_base64(RSA, pkcs1=True)}", "rsa", 2048),  # DKIM-31
        (f"v=DKIM1; k=ed25519; p={PE}", "ed25519", 256),  # DKIM-33
        (f"v=DKIM1; h=sha1:sha256; p={P}", "rsa", 2048),
        (f"v=DKIM1; h=x : SHA256; p={P}", "rsa", 2048),
        (f"v=DKIM1; s=*; p={P}", "rsa", 2048),
        (f"v=DKIM1; s=tlsrpt : email; p={P}", "rsa", 2048),
        (f"v=DKIM1; s=x:*; p={P}", "rsa", 2048),
        (f"v=DKIM1; p={dkim_signer.public_base64(dkim_signer.make_key(bits=1024))}", "rsa", 1024),
        (f"v=DKIM1; p={dkim_signer.public_base64(dkim_signer.make_key(bits=512))}", "rsa", 512),
    ],
)
def test_usable_records(record: str, kind: str, bits: int) -> None:
    key = keys.parse(record.encode())
    assert (key.defect, key.malformed, key.kind, key.bits) == (None, False, kind, bits)


@pytest.mark.parametrize(
    ("flags", "testing", "strict"),
    [
        ("", False, False),
        ("t=y; ", True, False),
        ("t=s; ", False, True),
        ("t=y:s; ", True, True),
        ("t= s : Y ; ", True, True),
        ("t=x:ys; ", False, False),
        ("t=; ", False, False),
    ],
)
def test_flags(flags: str, testing: bool, strict: bool) -> None:
    key = keys.parse(f"v=DKIM1; {flags}p={P}".encode())
    assert (key.testing, key.strict) == (testing, strict)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "v=spf1 -all",
        "v=spf1 include:example.net; p=x",
        "v=DMARC1; p=none",
        "google-site-verification=abc def",
        "any text",
        f"p={P}; v=DKIM1",  # DKIM-24: v= not first
        f"k=rsa; v=DKIM1; p={P}",
        f"v=DKIM1.0; p={P}",
        f"v=dkim1; p={P}",
        f"v=DKIM2; p={P}",
        f"v=; p={P}",
        f"v=DKIM1; p={P}; p={P}",  # DKIM-1
        f"v=DKIM1\\; p={P}",
        f"v=DKIM1;; p={P}",
        "v=DKIM1",  # DKIM-25: p= missing
        "v=DKIM1; k=rsa",
        "v=DKIM1; n=note; x-y",
        f"v=DKIM1; P={P}",
        "v=DKIM1; p=!!!!",
        "v=DKIM1; p=QUJD",
        f"v=DKIM1; p={P}QUJD",
        f"v=DKIM1; p={P[:-8]}",
        f"v=DKIM1; k=ed25519; p={P}",
        f"v=DKIM1; k=rsa; p={PE}",
        f"v=DKIM1; k=ed25519; p={base64.b64encode(b'x' * 31).decode()}",
        f"v=DKIM1; k=ed25519; p={base64.b64encode(b'x' * 33).decode()}",
        f"v=DKIM1; p={P}\n",
        f"v=DKIM1; p={P}; n={'x' * 8192}",
    ],
)
def test_records_that_are_passed_over(record: str) -> None:
    key = keys.parse(record.encode())
    assert key.malformed
    assert key.public is None
    assert key.defect is not None
    assert key.defect.result is DkimResult.PERMERROR


def spki(public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | dsa.DSAPublicKey) -> str:
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def test_keys_of_other_kinds_are_not_taken_for_rsa() -> None:
    assert keys.parse(f"p={spki(ec.generate_private_key(ec.SECP256R1()).public_key())}".encode()).malformed
    # RFC 8463 §4: an Ed25519 key is not wrapped
    wrapped = ED.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert keys.parse(b"k=ed25519; p=" + base64.b64encode(wrapped)).malformed
    assert keys.parse(b"k=rsa; p=" + base64.b64encode(wrapped)).malformed


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        ("v=DKIM1; p=", DkimResult.PERMERROR, "the key is revoked"),  # DKIM-25
        ("v=DKIM1; k=ed25519; p= ; t=s", DkimResult.PERMERROR, "the key is revoked"),
        (f"v=DKIM1; h=sha1; p={P}", DkimResult.PERMERROR, "the key does not allow sha256"),  # DKIM-26
        (f"v=DKIM1; h=; p={P}", DkimResult.PERMERROR, "the key does not allow sha256"),
        (f"v=DKIM1; h=sha2567; p={P}", DkimResult.PERMERROR, "the key does not allow sha256"),
        (f"v=DKIM1; k=x25519; p={P}", DkimResult.PERMERROR, "the type of the key is not known"),
        (f"v=DKIM1; k=; p={P}", DkimResult.PERMERROR, "the type of the key is not known"),
        (f"v=DKIM1; k=\xff; p={P}", DkimResult.PERMERROR, "the type of the key is not known"),
        (f"v=DKIM1; s=tlsrpt; p={P}", DkimResult.PERMERROR, "the key is not for mail"),  # DKIM-28
        (f"v=DKIM1; s=; p={P}", DkimResult.PERMERROR, "the key is not for mail"),
        (f"v=DKIM1; s=emails; p={P}", DkimResult.PERMERROR, "the key is not for mail"),
        ("v=DKIM1; p=" + "QUJD" * 1000, DkimResult.POLICY, "the key is too long"),  # DKIM-32
        (
            f"p={spki(rsa.RSAPublicNumbers((1 << 64) + 1, (1 << 2047) + 1).public_key())}",
            DkimResult.POLICY,
            "the exponent of the key is too large",  # RFC 6376 §8.13
        ),
    ],
)
def test_records_that_cannot_be_used(record: str, result: DkimResult, reason: str) -> None:
    key = keys.parse(record.encode("latin-1"))
    assert not key.malformed
    assert key.defect is not None
    assert (key.defect.result, key.defect.reason) == (result, reason)
    assert not key.verify(b"x" * 256, b"y" * 32)


@pytest.mark.parametrize("private", [RSA, ED], ids=["rsa", "ed25519"])
def test_verifying(private: dkim_signer.PrivateKey) -> None:
    key = keys.parse(dkim_signer.dns_record(private).encode())
    digest = hashlib.sha256(b"data").digest()
    made = dkim_signer.raw_signature(private, b"data")
    assert key.verify(made, digest)
    for wrong in (b"", made[:-1], made + b"\0", bytes(len(made)), made[:-1] + bytes([made[-1] ^ 1]), b"\xff" * 5000):
        assert not key.verify(wrong, digest)
    assert not key.verify(made, hashlib.sha256(b"Data").digest())


def test_parsed_keys_are_remembered() -> None:
    record = dkim_signer.dns_record(RSA).encode()
    assert keys.parse(record) is keys.parse(bytes(bytearray(record)))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_answered(record: bytes) -> None:
    assert keys.parse(record).public is None


@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["rsa", "ed25519"]))
def test_any_key_octets_are_answered(octets: bytes, kind: str) -> None:
    key = keys.parse(f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode()}".encode())
    key.verify(octets, b"\0" * 32)


@settings(deadline=None)
@given(st.integers(0, 293), st.integers(0, 255))
def test_damaged_keys_are_answered(place: int, octet: int) -> None:
    der = bytearray(base64.b64decode(P))
    der[place] = octet
    key = keys.parse(b"p=" + base64.b64encode(der))
    key.verify(b"\x01" * 256, b"\0" * 32)


def test_large_records_are_cheap() -> None:
    started = time.process_time()
    for unit in (b"a=1;", b"p=A", b"t=y:", b";", b"\xff"):
        keys.parse(unit * (1_000_000 // len(unit)))
        keys.parse((b"v=DKIM1; t=" + unit * 8000)[:8192])
    assert time.process_time() - started < 0.2
