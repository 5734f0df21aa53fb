"""The TLS rules for hosts that documents are fetched from: chain, dates and host name are always verified."""

from __future__ import annotations

import ssl


def trust(ca_file: str = "") -> ssl.SSLContext:
    """`ca_file`: PEM file with the trusted roots, "": the system's. Raises ValueError if the file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain, its dates and the host name
    context.hostname_checks_common_name = False  # RFC 8461 §3.3: "only against the DNS-ID identifiers"
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8461 §7.2
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.load_default_certs()
    except ssl.SSLError:
        raise ValueError(f"ca_file {ca_file}: has no certificate in PEM") from None
    except OSError as fault:
        raise ValueError(f"ca_file {ca_file}: {fault.strerror or fault}") from None
    return context
