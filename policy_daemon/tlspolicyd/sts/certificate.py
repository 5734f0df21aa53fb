"""What the certificate of a policy host says, for `tlspolicyd query`.

`look` decides nothing: a connection of its own takes the certificate without verifying it, and asks for nothing. It is
there for the certificates that are not accepted; which ones are is `mailcommon.fetch.trust`'s.
Security: text in a certificate is the host's; who prints it makes it safe.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

_MOST_NAMES = 20


def unverified_context() -> ssl.SSLContext:
    """For looking, never for believing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


async def look(host: str, port: int, addresses: Iterable[str]) -> str:
    """The certificate that the first address with which TLS comes about shows for `host`; "" if none does."""
    for address in addresses:
        try:
            _, writer = await asyncio.open_connection(address, port, ssl=unverified_context(), server_hostname=host)
        except (OSError, ValueError):
            continue
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(True)
        finally:
            writer.transport.abort()
        return describe(der or b"")
    return ""


def describe(der: bytes) -> str:
    """Subject, issuer, dates and names of a certificate in DER, on one line."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        names = _names(certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return "a certificate that cannot be read"
    shown = " ".join(names[:_MOST_NAMES]) + (" ..." if len(names) > _MOST_NAMES else "")
    return f"subject {subject or '(none)'}; issuer {issuer}; valid {begins:%F} to {ends:%F}; names {shown or '(none)'}"


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        return []
    value = extension.value
    return value.get_values_for_type(x509.DNSName) if isinstance(value, x509.SubjectAlternativeName) else []
