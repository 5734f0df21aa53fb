"""The TLS rules for hosts that documents are fetched from: chain, dates and host name are always verified."""

from __future__ import annotations

import ssl


def trust(ca_file: str = "", more_roots: str = "") -> ssl.SSLContext:
    """`ca_file`: PEM file with the trusted roots, "": the system's. Raises ValueError if a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain, its dates and the host name
    context.hostname_checks_common_name = False  # RFC 8461 §3.3: "only against the DNS-ID identifiers"
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8461 §7.2
    context.set_alpn_protocols(["http/1.1"])
    if not ca_file:
        context.load_default_certs()
    for path in filter(None, (ca_file, more_roots)):
        try:
            context.load_verify_locations(path)
        except OSError as fault:  # ssl.SSLError is one
            raise ValueError(f"ca_file {path}: {fault.strerror or fault}") from None
    return context
