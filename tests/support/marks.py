"""A private authority for mark certificates: good ones (VMC, CMC), and one of each kind that must not be accepted.

    ca = MarkCa()
    ca.write_roots(tmp_path / "marks.pem")              # for [bimi] ca_file
    ca.write_logs(tmp_path / "logs.json")               # for [bimi] ct_log_list
    pem = ca.issue("a.example", svg=LOGO)               # an evidence document: certificate and issuer
    pem = ca.issue("a.example", svg=LOGO, flaw="expired")
    ca.crl()                                            # the list of the issuer, with what was revoked by then

The timestamps in the certificates are signed by a transparency log of its own. All in memory.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.support.certificates import with_sha1

CRL_URL = "https://crl.marks.example/issuer.crl"

LOGO = b"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps" viewBox="0 0 100 100">
  <title>A Example</title>
  <rect width="100" height="100" fill="#1b4f8a"/>
  <circle cx="50" cy="50" r="34" fill="#ffffff"/>
  <path d="M50 24 L73 70 L27 70 Z" fill="#e2452f"/>
</svg>
"""
OTHER_LOGO = LOGO.replace(b"#e2452f", b"#2fa84f")

# flaw -> what is wrong with the certificate or the document
FLAWS = {
    "no-usage": "no extended key usage",
    "wrong-usage": "for TLS servers",
    "issuer-without-usage": "the issuer is no authority for mark certificates",
    "issuer-may-not-sign": "the issuer's key may not sign certificates",
    "constrained-issuer": "the issuer is constrained to names, and these are others",
    "from-the-root": "signed by the root itself",
    "expired": "ended yesterday",
    "not-yet-valid": "begins in two days",
    "issuer-expired": "the issuer's certificate ended yesterday",
    "no-names": "no subject alternative name",
    "no-logotype": "no logotype extension",
    "broken-logotype": "the logotype extension is no DER",
    "indirect-logotype": "the logotype is a reference",
    "two-logos": "two images in the logotype",
    "remote-logotype": "the logotype's URI is https",
    "png-logotype": "the logotype says that it is a PNG",
    "bad-base64": "the data: URI is not base64",
    "altered-logotype": "the octets are others than the hash is of",
    "unknown-hash": "the hash is MD5",
    "bomb": "the logotype unpacks to 20 MB",
    "bad-svg": "the logotype's SVG has a script",
    "no-timestamp": "no timestamp of a transparency log",
    "foreign-log": "the timestamp is of an unknown log",
    "wrong-timestamp": "the timestamp's signature is wrong",
    "future-timestamp": "the timestamp is from next year",
    "no-list": "no place of a revocation list",
    "unknown-critical": "a critical extension that nobody knows",
    "sha1": "signed with SHA-1",
    "weak-key": "an RSA key of 1024 bits",
    "unknown-ca": "from an authority that nobody trusts",
    "self-signed": "signed with its own key",
    "missing-issuer": "the document lacks the issuer",
    "extra-leaf": "the document has a second mark certificate",
    "only-authorities": "the document has no mark certificate",
    "huge-chain": "the document has a dozen certificates",
    "not-pem": "the document is no PEM",
    "cut-pem": "the document ends in the middle of a certificate",
    "server-certificate": "a certificate for a web server, logotype and all left out",
    "long-path": "two authorities below a root that allows one",
    "not-an-authority": "signed by a certificate that is no authority",
}

_DAY = datetime.timedelta(days=1)
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_LOGOTYPE = ObjectIdentifier("1.3.6.1.5.5.7.1.12")
_MARK_TYPE = ObjectIdentifier("1.3.6.1.4.1.53087.1.13")
_PILOT = ObjectIdentifier("1.3.6.1.4.1.53087.4.1")
_USAGE = ObjectIdentifier("1.3.6.1.5.5.7.3.31")
_TIMESTAMPS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: _Key


class MarkCa:
    """A root, an issuer below it, a log, and what they sign."""

    def __init__(
        self, name: str = "Gatepost Test", crl_url: str = CRL_URL, now: datetime.datetime | None = None
    ) -> None:
        """`name` is in the subjects; `now` is the time around which certificates are valid."""
        self.now = now or datetime.datetime.now(datetime.UTC)
        self.crl_url = crl_url
        self._name = name
        self._root = self._authority(f"{name} Verified Mark Root", None, usage=False)
        self._issuer = self._authority(f"{name} Verified Mark CA", self._root, below=0)
        self._log_key = ec.generate_private_key(ec.SECP256R1())
        self._revoked: list[int] = []

    @property
    def roots(self) -> bytes:
        """The root in PEM."""
        return _pem(self._root.certificate)

    def write_roots(self, path: Path) -> Path:
        """The root in a file; gives `path` back."""
        path.write_bytes(self.roots)
        return path

    def log_list(self) -> str:
        """The log as a list in JSON."""
        der = _spki(self._log_key)
        log = {"description": "test", "log_id": base64.b64encode(hashlib.sha256(der).digest()).decode()}
        log["key"] = base64.b64encode(der).decode()
        return json.dumps({"version": "1", "operators": [{"name": self._name, "logs": [log]}]})

    def write_logs(self, path: Path) -> Path:
        """The log list in a file; gives `path` back."""
        path.write_text(self.log_list())
        return path

    def issue(
        self,
        *names: str,
        svg: bytes = LOGO,
        flaw: str = "",
        mark_type: str = "Registered Mark",
        hash_name: str = "sha256",
        hash_of_gzip: bool = False,
        pilot: bool = False,
    ) -> bytes:
        """An evidence document in PEM for `names` (dNSName), with a flaw of `FLAWS` or none."""
        if flaw and flaw not in FLAWS:
            raise ValueError(f"no such flaw: {flaw}")
        signer, chain = self._signer(flaw)
        leaf = self._leaf(names, svg, flaw, mark_type, hash_name, hash_of_gzip, pilot, signer)
        document = b"" if flaw == "only-authorities" else _pem(leaf)
        if flaw == "extra-leaf":
            document += self.issue("other.example", svg=svg)
        if flaw == "missing-issuer":
            return document
        if flaw == "huge-chain":
            chain += b"".join(_pem(self._authority(f"Filler {n}", self._root).certificate) for n in range(10))
        document += chain
        if flaw == "not-pem":
            return leaf.public_bytes(serialization.Encoding.DER)
        return document[: len(document) // 3] if flaw == "cut-pem" else document

    def revoke(self, document: bytes) -> None:
        """From now on the first certificate of a document is in the list."""
        self._revoked.append(x509.load_pem_x509_certificates(document)[0].serial_number)

    def crl(self, flaw: str = "") -> bytes:
        """The issuer's list in DER. flaw: "expired", "wrong-signature", "wrong-issuer", or none."""
        end = self.now - _DAY if flaw == "expired" else self.now + 7 * _DAY
        name = self._root.certificate.subject if flaw == "wrong-issuer" else self._issuer.certificate.subject
        builder = x509.CertificateRevocationListBuilder().issuer_name(name)
        builder = builder.last_update(self.now - 2 * _DAY).next_update(end)
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.now - _DAY).build()
            builder = builder.add_revoked_certificate(entry)
        key = self._root.key if flaw == "wrong-signature" else self._issuer.key
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _authority(
        self,
        name: str,
        signer: _Authority | None,
        *,
        below: int | None = None,
        usage: bool = True,
        ends: datetime.timedelta = 300 * _DAY,
        ca: bool = True,
        with_rsa: bool = False,
        signs: bool = True,
        only: str = "",
    ) -> _Authority:
        key: _Key = rsa.generate_private_key(65537, 2048) if with_rsa else ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        issuer = signer.certificate.subject if signer else subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - 400 * _DAY)
            .not_valid_after(self.now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=below if ca else None), critical=True)
            .add_extension(_key_usage(ca and signs), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([_USAGE]), critical=False)
        if only:
            builder = builder.add_extension(x509.NameConstraints([x509.DNSName(only)], None), critical=True)
        return _Authority(builder.sign(signer.key if signer else key, hashes.SHA256()), key)

    def _signer(self, flaw: str) -> tuple[_Authority, bytes]:
        """Who signs, and what stands behind the certificate in the document."""
        if flaw == "unknown-ca":
            other = MarkCa("Somebody Else", self.crl_url, self.now)
            return other._issuer, _pem(other._issuer.certificate)
        if flaw == "long-path":
            middle = self._authority("Constrained", self._root, below=0)
            lowest = self._authority("Too Deep", middle, below=0)
            return lowest, _pem(lowest.certificate) + _pem(middle.certificate)
        made = {
            "issuer-may-not-sign": lambda: self._authority("Mute CA", self._root, below=0, signs=False),
            "constrained-issuer": lambda: self._authority("Narrow CA", self._root, below=0, only="b.example"),
            "from-the-root": lambda: self._root,
            "issuer-without-usage": lambda: self._authority("No Usage CA", self._root, below=0, usage=False),
            "issuer-expired": lambda: self._authority("Old CA", self._root, below=0, ends=-_DAY),
            "sha1": lambda: self._authority("RSA CA", self._root, below=0, with_rsa=True),
            "not-an-authority": lambda: self._authority("No CA", self._root, ca=False),
        }
        if flaw in made:
            authority = made[flaw]()
            return authority, _pem(authority.certificate)
        return self._issuer, _pem(self._issuer.certificate)

    def _leaf(
        self,
        names: tuple[str, ...],
        svg: bytes,
        flaw: str,
        mark_type: str,
        hash_name: str,
        hash_of_gzip: bool,
        pilot: bool,
        signer: _Authority,
    ) -> x509.Certificate:
        key: _Key = (
            rsa.generate_private_key(65537, 1024) if flaw == "weak-key" else ec.generate_private_key(ec.SECP256R1())
        )
        begins = {"not-yet-valid": self.now + 2 * _DAY}.get(flaw, self.now - 30 * _DAY)
        ends = {"expired": self.now - _DAY}.get(flaw, self.now + 30 * _DAY)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, "A Example Ltd")]
        if mark_type:
            subject.append(x509.NameAttribute(_MARK_TYPE, mark_type))
        name = x509.Name(subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name if flaw == "self-signed" else signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if flaw != "no-usage":
            usage = ExtendedKeyUsageOID.SERVER_AUTH if flaw in ("wrong-usage", "server-certificate") else _USAGE
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if flaw != "no-names":
            alternative = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
            builder = builder.add_extension(alternative, critical=False)
        if flaw != "no-list":
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.crl_url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        if flaw not in ("no-logotype", "server-certificate"):
            value = logotype(svg, flaw, hash_name, hash_of_gzip)
            builder = builder.add_extension(x509.UnrecognizedExtension(_LOGOTYPE, value), critical=False)
        if pilot:
            value = b"\x0c\x10Mark Certificate"
            builder = builder.add_extension(x509.UnrecognizedExtension(_PILOT, value), critical=True)
        if flaw == "unknown-critical":
            odd = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
            builder = builder.add_extension(odd, critical=True)
        signing = key if flaw == "self-signed" else signer.key
        # the log sees the certificate without the timestamps, which come last
        bare = builder.sign(signing, hashes.SHA256())
        if flaw in ("no-timestamp", "server-certificate"):
            return bare
        value = self._timestamps(bare, signer.certificate, flaw)
        whole = builder.add_extension(x509.UnrecognizedExtension(_TIMESTAMPS, value), critical=False)
        signed = whole.sign(signing, hashes.SHA256())
        return with_sha1(signed, signing) if flaw == "sha1" else signed

    def _timestamps(self, bare: x509.Certificate, issuer: x509.Certificate, flaw: str) -> bytes:
        """The extension's value: one timestamp (RFC 6962 §3.3)."""
        key = ec.generate_private_key(ec.SECP256R1()) if flaw == "foreign-log" else self._log_key
        at = self.now + 365 * _DAY if flaw == "future-timestamp" else self.now - _DAY
        stamp = int(at.timestamp() * 1000).to_bytes(8, "big")
        body = bare.tbs_certificate_bytes
        issuer_key = hashlib.sha256(_spki_of(issuer)).digest()
        signed = b"\x00\x00" + stamp + b"\x00\x01" + issuer_key + len(body).to_bytes(3, "big") + body + b"\x00\x00"
        if flaw == "wrong-timestamp":
            signed += b"x"
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        one = b"\x00" + hashlib.sha256(_spki(key)).digest() + stamp + b"\x00\x00"
        one += b"\x04\x03" + len(signature).to_bytes(2, "big") + signature
        all_ = len(one).to_bytes(2, "big") + one
        return _der(0x04, len(all_).to_bytes(2, "big") + all_)


def logotype(svg: bytes, flaw: str = "", hash_name: str = "sha256", hash_of_gzip: bool = False) -> bytes:
    """The value of a logotype extension (RFC 9399 §4.1), written without the library that reads it."""
    if flaw == "broken-logotype":
        return b"\x30\x82\xff\xff"
    if flaw == "bad-svg":
        svg = svg.replace(b"</svg>", b"<script>alert(1)</script></svg>")
    if flaw == "bomb":
        svg = svg.replace(b"</svg>", b" " * 20_000_000 + b"</svg>")
    packed = gzip.compress(svg, mtime=0)
    hashed = packed if hash_of_gzip else svg
    oid = {
        "md5": "2a864886f70d0205",
        "sha1": "2b0e03021a",
        "sha256": "608648016503040201",
        "sha384": "608648016503040202",
    }["md5" if flaw == "unknown-hash" else hash_name]
    digest = hashlib.new("md5" if flaw == "unknown-hash" else hash_name, hashed).digest()
    algorithm = _der(0x30, _der(0x06, bytes.fromhex(oid)) + b"\x05\x00")
    hash_ = _der(0x30, _der(0x30, algorithm + _der(0x04, digest)))
    if flaw == "indirect-logotype":
        reference = hash_ + _der(0x30, _der(0x16, b"https://a.example/logo"))
        return _der(0x30, _der(0xA2, _der(0xA1, reference)))
    if flaw == "altered-logotype":
        packed = gzip.compress(svg.replace(b"#ffffff", b"#000000"), mtime=0)
    data = base64.b64encode(packed)
    if flaw == "bad-base64":
        data = data[:-8] + b"=" + data[-7:]
    uri = b"https://a.example/logo.svg" if flaw == "remote-logotype" else b"data:image/svg+xml;base64," + data
    kind = b"image/png" if flaw == "png-logotype" else b"image/svg+xml"
    details = _der(0x30, _der(0x16, kind) + hash_ + _der(0x30, _der(0x16, uri)))
    images = _der(0x30, details) * (2 if flaw == "two-logos" else 1)
    return _der(0x30, _der(0xA2, _der(0xA0, _der(0x30, images))))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _spki(key: _Key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def _spki_of(certificate: x509.Certificate) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(serialization.Encoding.DER, form)
