"""Mark certificates: every defect of a private authority, and what is said about each (BIMI-32 to BIMI-41)."""

from __future__ import annotations

import base64
import datetime
import json
import time
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from authmilter.bimi.evidence import crl
from authmilter.bimi.evidence.crl import Standing
from authmilter.bimi.evidence.logotype import embedded_svg
from authmilter.bimi.evidence.logs import parse_logs
from authmilter.bimi.evidence.mark import Examination, covers, examine
from authmilter.bimi.indicator import Indicator
from authmilter.bimi.settings import MarkSettings
from tests.support.marks import FLAWS, LOGO, OTHER_LOGO, MarkCa, logotype

CA = MarkCa()
ROOTS = tuple(x509.load_pem_x509_certificates(CA.roots))
TRUST = MarkSettings(ROOTS, logs=parse_logs(CA.log_list()))
NOW = time.time()
DAY = 86_400.0


def look(pem: bytes, settings: MarkSettings = TRUST, now: float = NOW) -> Examination:
    return examine(pem, settings, now)


COMPLAINTS = {
    "no-usage": "it is not for brand indicators (extended key usage)",
    "wrong-usage": "it is not for brand indicators (extended key usage)",
    "issuer-without-usage": "its issuer is not an authority for mark certificates (extended key usage)",
    "issuer-may-not-sign": "the chain of its issuers is not valid: ",
    "constrained-issuer": "the chain of its issuers is not valid: ",
    "from-the-root": "its issuer is not an authority for mark certificates (extended key usage)",
    "expired": f"it has expired on {datetime.datetime.fromtimestamp(NOW - DAY, datetime.UTC):%F}",
    "not-yet-valid": f"it is not valid before {datetime.datetime.fromtimestamp(NOW + 2 * DAY, datetime.UTC):%F}",
    "issuer-expired": "the chain of its issuers is not valid: cert is not valid at validation time",
    "no-names": "it names no domain",
    "no-logotype": "it has no logotype extension",
    "broken-logotype": "its logotype extension cannot be read",
    "indirect-logotype": "its logotype is somewhere else, not in the certificate",
    "two-logos": "its logotype extension does not have exactly one image",
    "remote-logotype": "its logotype has no data: URI with an SVG in base64",
    "png-logotype": "its logotype is image/png, no SVG",
    "bad-base64": "its logotype has no data: URI with an SVG in base64",
    "altered-logotype": "the hash of its logotype is another one than the extension says",
    "unknown-hash": "its logotype has no hash of a known kind",
    "bomb": "its logotype cannot be used: it has more than 32768 octets",
    "bad-svg": "its logo: line 7: <script>: scripts are not allowed",
    "no-timestamp": "it has no timestamp of a transparency log",
    "foreign-log": "its timestamp is of a log that is not in ct_log_list: ",
    "wrong-timestamp": "the signature of its timestamp is wrong",
    "future-timestamp": "its timestamp is from the future",
    "no-list": "it names no revocation list",
    "unknown-critical": "it has a critical extension that is not known here: 1.3.6.1.4.1.99999.1",
    "sha1": "it is signed with sha1",
    "weak-key": "its RSA key has only 1024 bits",
    "unknown-ca": "none of the roots in ca_file stands behind it",
    "self-signed": "its issuer is not in the document: ",
    "missing-issuer": "its issuer is not in the document: CN=Gatepost Test Verified Mark CA",
    "extra-leaf": "there are 2 certificates that are no authority's",
    "only-authorities": "there are only certificates of authorities",
    "huge-chain": "there are 12 certificates, at most 10 are taken",
    "not-pem": "there is no certificate in PEM",
    "cut-pem": "a certificate cannot be read",
    "server-certificate": "it is not for brand indicators (extended key usage)",
    "long-path": "an authority above it may not have so many below it",
    "not-an-authority": "there are 2 certificates that are no authority's",
}


def test_every_flaw_has_a_complaint() -> None:
    assert set(COMPLAINTS) == set(FLAWS)


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaws(flaw: str) -> None:
    found = look(CA.issue("a.example", flaw=flaw))
    assert found.mark is None
    assert found.fault.startswith(COMPLAINTS[flaw])


@pytest.mark.parametrize(
    ("options", "mark_type"),
    [
        ({}, "Registered Mark"),
        ({"mark_type": "Government Mark"}, "Government Mark"),
        ({"mark_type": "Prior Use Mark"}, "Prior Use Mark"),
        (
            {"mark_type": "Modified Registered Mark", "pilot": True},
            "Modified Registered Mark",
        ),  # as common marks have it
        ({"mark_type": ""}, ""),
        ({"mark_type": "Best Mark"}, ""),
        ({"hash_name": "sha384"}, "Registered Mark"),
        ({"hash_name": "sha1"}, "Registered Mark"),  # as issuers write it
        ({"hash_of_gzip": True}, "Registered Mark"),
    ],
)
def test_good_ones(options: dict[str, object], mark_type: str) -> None:
    found = look(CA.issue("A.Example", "default._bimi.b.example", **options))  # type: ignore[arg-type]
    assert found.fault == ""
    assert found.mark is not None
    assert (found.mark.indicator, found.mark.mark_type) == (Indicator(LOGO), mark_type)
    assert found.mark.domains == ("a.example", "default._bimi.b.example")
    assert [check.name for check in found.checks] == [
        "document", "usage", "validity", "mark type", "revocation list", "issuer", "transparency", "names", "logotype",
        "indicator",
    ]  # fmt: skip


def test_the_order_of_a_document_does_not_matter() -> None:
    """BIMI-32: out of order is tolerated, as are duplicates and the root."""
    text = CA.issue("a.example").decode()
    leaf, issuer = (part + "-----END CERTIFICATE-----\n" for part in text.split("-----END CERTIFICATE-----\n")[:2])
    for order in (
        issuer + leaf,
        CA.roots.decode() + issuer + leaf,
        leaf + leaf + issuer + issuer,
        f"junk\n{leaf}\n{issuer}",
    ):
        assert look(order.encode()).fault == ""


def test_the_time_is_that_of_the_message() -> None:
    pem = CA.issue("a.example")
    assert look(pem, now=NOW - 31 * DAY).fault.startswith("it is not valid before")
    assert look(pem, now=NOW + 31 * DAY).fault.startswith("it has expired on")
    mark = look(pem).mark
    assert mark
    assert mark.refusal(NOW) == ""
    assert mark.refusal(NOW - 31 * DAY).startswith("it is not valid before")
    assert mark.refusal(NOW + 31 * DAY).startswith("it has expired on")


def test_nothing_is_trusted_without_roots() -> None:
    assert (
        look(CA.issue("a.example"), MarkSettings()).fault
        == "this host trusts no root of mark certificates ([bimi] ca_file)"
    )


def test_common_marks_can_be_refused() -> None:
    settings = MarkSettings(ROOTS, common_marks=False)
    assert look(CA.issue("a.example"), settings).fault == ""
    for kind in ("Prior Use Mark", "Modified Registered Mark"):
        assert (
            look(CA.issue("a.example", mark_type=kind), settings).fault
            == f"a certificate for a {kind} is not accepted here"
        )
    assert look(CA.issue("a.example", mark_type=""), settings).mark is None


def test_without_a_log_list_a_timestamp_must_be_there_whoever_signed_it() -> None:
    settings = MarkSettings(ROOTS)
    for flaw in ("foreign-log", "wrong-timestamp"):
        assert look(CA.issue("a.example", flaw=flaw), settings).fault == ""
    assert look(CA.issue("a.example", flaw="no-timestamp"), settings).mark is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"operators": []}', '{"operators": [{"logs": [{"key": "x"}]}]}', "x"]
)
def test_what_is_no_log_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no list of logs in JSON|names no log"):
        parse_logs(text)


def test_tiled_logs_count_too() -> None:
    data = json.loads(CA.log_list())
    data["operators"][0]["tiled_logs"] = data["operators"][0].pop("logs")
    settings = MarkSettings(ROOTS, logs=parse_logs(json.dumps(data)))
    assert look(CA.issue("a.example"), settings).fault == ""


@pytest.mark.parametrize(
    ("names", "domain", "selector", "covered"),
    [
        # BIMI-38
        (("a.example",), "a.example", "default", True),
        (("a.example",), "a.example", "brand", True),
        (("default._bimi.a.example",), "a.example", "default", True),
        (("default._bimi.a.example",), "a.example", "brand", False),
        (("x.example", "brand._bimi.a.example"), "a.example", "brand", True),
        (("a.example",), "sub.a.example", "default", False),
        (("sub.a.example",), "a.example", "default", False),
        (("*.a.example",), "sub.a.example", "default", False),
        (("_bimi.a.example",), "a.example", "default", False),
        (("xa.example",), "a.example", "default", False),
        ((), "a.example", "default", False),
    ],
)
def test_which_records_a_certificate_is_for(names: tuple[str, ...], domain: str, selector: str, covered: bool) -> None:
    assert (covers(names, domain, selector) == "") == covered


def test_names_are_compared_as_a_labels() -> None:
    found = look(CA.issue("XN--BCHER-KVA.example"))
    assert found.mark
    assert covers(found.mark.domains, "xn--bcher-kva.example", "default") == ""


@pytest.mark.parametrize("cut", [0, 1, 10, 50, 200])
def test_a_cut_logotype(cut: int) -> None:
    assert isinstance(embedded_svg(logotype(LOGO)[:cut]), str)


def test_a_mangled_logotype_never_raises() -> None:
    whole = logotype(OTHER_LOGO)
    assert embedded_svg(whole) == OTHER_LOGO
    for place in range(0, len(whole), 7):
        for value in (0, 0x30, 0xA0, 0xFF):
            embedded_svg(whole[:place] + bytes((value,)) + whole[place + 1 :])


# Revocation


def certificates(pem: bytes) -> tuple[x509.Certificate, x509.Certificate]:
    leaf, issuer = x509.load_pem_x509_certificates(pem)[:2]
    return leaf, issuer


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("expired", "it is out of date"),
        ("wrong-signature", "its signature is wrong"),
        ("wrong-issuer", "it is of another issuer"),
    ],
)
def test_lists_that_say_nothing(flaw: str, reason: str) -> None:
    leaf, issuer = certificates(CA.issue("a.example"))
    ruling = crl.judge(CA.crl(flaw), leaf, issuer, NOW)
    assert (ruling.standing, ruling.reason) == (Standing.UNKNOWN, reason)


def test_a_revoked_one() -> None:
    authority = MarkCa()
    good, bad = authority.issue("a.example"), authority.issue("b.example")
    authority.revoke(bad)
    for pem, standing in ((good, Standing.GOOD), (bad, Standing.REVOKED)):
        assert crl.judge(authority.crl(), *certificates(pem), NOW).standing is standing
    assert crl.judge(b"junk", *certificates(good), NOW).standing is Standing.UNKNOWN
    assert crl.judge(authority.crl(), *certificates(good), NOW + 30 * DAY).standing is Standing.UNKNOWN


# Mangled


def as_pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("which", [0, 1])
def test_mangled_certificates_never_raise_and_never_pass(which: int) -> None:
    ders = [each.public_bytes(serialization.Encoding.DER) for each in certificates(CA.issue("a.example"))]
    whole = ders[which]
    for place in range(which, len(whole), 5):
        for value in {0, 3, 0x30, 0xFF, whole[place] ^ 1} - {whole[place]}:
            mangled = whole[:place] + bytes((value,)) + whole[place + 1 :]
            document = as_pem(mangled) + as_pem(ders[1]) if which == 0 else as_pem(ders[0]) + as_pem(mangled)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of serial numbers that are negative by now
                found = look(document)
            assert found.mark is None
            assert found.fault


def test_mangled_lists_never_raise_and_never_pass() -> None:
    leaf, issuer = certificates(CA.issue("a.example"))
    whole = CA.crl()
    signed = len(x509.load_der_x509_crl(whole).tbs_certlist_bytes)
    for place in range(len(whole)):
        for value in {0, 0x30, 0xFF, whole[place] ^ 1} - {whole[place]}:
            ruling = crl.judge(whole[:place] + bytes((value,)) + whole[place + 1 :], leaf, issuer, NOW)
            # what is signed: behind it a bit or two of the form mean nothing
            assert ruling.standing is Standing.UNKNOWN or place >= signed
