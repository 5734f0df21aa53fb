"""A private certification authority: good certificates, and one of each kind that must not be accepted.

    ca = PrivateCa()
    ca.write_roots(tmp_path / "ca.pem")                      # what a client trusts
    good = ca.issue("mta-sts.a.example")                     # key and chain, with an intermediate
    bad = ca.issue("mta-sts.a.example", flaw="expired")

Everything is made in memory with EC keys: an authority takes some milliseconds, a certificate less than one.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# flaw -> what is wrong with the certificate
FLAWS = {
    "expired": "ended yesterday",
    "not-yet-valid": "begins in two days",
    "wrong-name": "for another name",
    "cn-only": "the name in the subject's common name only, no subjectAltName",
    "cn-right-san-wrong": "the name in the common name, another in subjectAltName",
    "ip-only": "the address 127.0.0.1 in subjectAltName, no name",
    "self-signed": "signed with its own key",
    "unknown-ca": "from an authority that nobody trusts",
    "sha1": "signed with SHA-1",
    "weak-key": "RSA with 1024 bits",
    "partial-wildcard": "the wildcard is a part of the left-most label: m*.a.example for mta-sts.a.example",
    "inner-wildcard": "the wildcard is not the left-most label: mta-sts.*.example",
    "deep-wildcard": "the wildcard would have to stand for two labels: *.example for mta-sts.a.example",
    "wrong-usage": "for TLS clients only",
    "missing-intermediate": "the chain lacks the certificate between the root and this one",
    "leaf-as-ca": "signed by a certificate that is no authority",
}

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a TLS server needs."""

    key: bytes  # PEM
    chain: bytes  # PEM, the server's own first

    def write(self, path: Path) -> Path:
        """Key and chain in one file, as Postfix and ssl take it; gives `path` back."""
        path.write_bytes(self.key + self.chain)
        path.chmod(0o600)
        return path

    def server_context(self) -> ssl.SSLContext:
        """For a server; it takes weak certificates too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(self.write(Path(folder) / "server.pem"))
        return context

    @property
    def der(self) -> bytes:
        """The server's own certificate."""
        return x509.load_pem_x509_certificates(self.chain)[0].public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: _Key


class PrivateCa:
    """A root, an intermediate below it, and what they sign."""

    def __init__(self, name: str = "Gatepost Test") -> None:
        """`name` is in the subjects."""
        root_key = ec.generate_private_key(ec.SECP256R1())
        root_name = _subject(f"{name} Root")
        root = _authority_builder(root_name, root_name, root_key, 1).sign(root_key, hashes.SHA256())
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _authority_builder(_subject(f"{name} Intermediate"), root_name, key, 0)
        self._root = _Authority(root, root_key)
        self._intermediate = _Authority(builder.sign(root_key, hashes.SHA256()), key)
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def roots(self) -> bytes:
        """The root in PEM."""
        return _pem(self._root.certificate)

    def write_roots(self, path: Path) -> Path:
        """The root in a file for a client's `ca_file`; gives `path` back."""
        path.write_bytes(self.roots)
        return path

    def issue(self, *names: str, flaw: str = "") -> Credentials:
        """A certificate for `names` ("*.a.example" is one), the main one first, with a flaw of `FLAWS` or none."""
        if flaw and flaw not in FLAWS:
            raise ValueError(f"no such flaw: {flaw}")
        key: _Key = self._leaf_key
        if flaw == "weak-key":
            key = rsa.generate_private_key(65537, 1024)
        signer, chain = self._signer(names[0], flaw)
        now = datetime.datetime.now(datetime.UTC)
        begins = {"not-yet-valid": now + 2 * _DAY, "expired": now - 30 * _DAY}.get(flaw, now - _DAY)
        ends = {"expired": now - _DAY}.get(flaw, now + 30 * _DAY)
        with_name = flaw in ("cn-only", "cn-right-san-wrong")
        subject = _subject(names[0]) if with_name else _subject("Server")
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if flaw == "self-signed" else signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(flaw), critical=False)
        )
        if flaw != "cn-only":
            builder = builder.add_extension(_alternative_names(names, flaw), critical=False)
        certificate = builder.sign(key if flaw == "self-signed" else signer.key, hashes.SHA256())
        if flaw == "sha1":
            certificate = with_sha1(certificate, signer.key)
        return Credentials(_key_pem(key), _pem(certificate) + chain)

    def _signer(self, name: str, flaw: str) -> tuple[_Authority, bytes]:
        """Who signs, and what stands behind the certificate in the chain."""
        if flaw == "self-signed":
            return self._intermediate, b""
        if flaw == "unknown-ca":
            other = PrivateCa("Somebody Else")
            return other._intermediate, _pem(other._intermediate.certificate)
        chain = _pem(self._intermediate.certificate)
        if flaw == "sha1":
            key = rsa.generate_private_key(65537, 2048)
            builder = _authority_builder(_subject("RSA Intermediate"), self._root.certificate.subject, key, 0)
            authority = _Authority(builder.sign(self._root.key, hashes.SHA256()), key)
            return authority, _pem(authority.certificate)
        if flaw == "missing-intermediate":
            return self._intermediate, b""
        if flaw == "leaf-as-ca":
            leaf = x509.load_pem_x509_certificates(self.issue(name).chain)[0]
            return _Authority(leaf, self._leaf_key), _pem(leaf) + chain
        return self._intermediate, chain


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _authority_builder(subject: x509.Name, issuer: x509.Name, key: _Key, below: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 60 * _DAY)
        .not_valid_after(now + 60 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(flaw: str) -> x509.ExtendedKeyUsage:
    if flaw == "wrong-usage":
        return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _alternative_names(names: tuple[str, ...], flaw: str) -> x509.SubjectAlternativeName:
    if flaw == "ip-only":
        return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    label, _, rest = names[0].partition(".")
    _, _, last = rest.partition(".")
    instead = {
        "wrong-name": "other.invalid",
        "cn-right-san-wrong": "other.invalid",
        "partial-wildcard": f"{label[0]}*.{rest}",
        "inner-wildcard": f"{label}.*.{last}" if last else f"{label}.*",
        "deep-wildcard": f"*.{last}" if last else "*",
    }
    shown = (instead[flaw],) if flaw in instead else names
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in shown])


_SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")  # OID 1.2.840.113549.1.1.11
_SHA1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")  # OID 1.2.840.113549.1.1.5, of the same length
_SHA1_DIGEST_INFO = bytes.fromhex("3021300906052b0e03021a05000414")  # RFC 8017 §9.2 note 1


def with_sha1(certificate: x509.Certificate, key: _Key) -> x509.Certificate:
    """The same, signed with SHA-1, which the library refuses to do: the signature is computed here."""
    assert isinstance(key, rsa.RSAPrivateKey)
    signed = certificate.tbs_certificate_bytes.replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    numbers = key.private_numbers()
    size = key.key_size // 8
    digest = _SHA1_DIGEST_INFO + hashlib.sha1(signed).digest()
    padded = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest  # RFC 8017 §9.2
    signature = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
    whole = certificate.public_bytes(serialization.Encoding.DER)
    whole = whole.replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA).replace(certificate.signature, signature)
    return x509.load_der_x509_certificate(whole)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
