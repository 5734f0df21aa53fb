"""The files that the operator names: roots of mark certificates, keys of transparency logs.

Each function raises ValueError with a text for people that begins with the setting's name.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from authmilter.bimi.evidence.document import UNREADABLE, is_authority
from authmilter.bimi.evidence.logs import Logs, parse_logs
from mailcommon.fetch.trust import trust


def read_roots(path: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file; none for ""."""
    if not path:
        return ()
    try:
        roots = x509.load_pem_x509_certificates(Path(path).read_bytes())
        wrong = [root for root in roots if not is_authority(root)]
    except OSError as fault:
        raise ValueError(f"ca_file {path}: {fault.strerror}") from None
    except UNREADABLE:
        raise ValueError(f"ca_file {path}: has something that is no certificate in PEM") from None
    if not roots:
        raise ValueError(f"ca_file {path}: has no certificate")
    if wrong:
        raise ValueError(f"ca_file {path}: {wrong[0].subject.rfc4514_string()} is no authority's certificate")
    return tuple(roots)


def read_logs(path: str) -> Logs | None:
    """The logs of a list in JSON; None for ""."""
    if not path:
        return None
    try:
        return parse_logs(Path(path).read_text(encoding="utf-8"))
    except OSError as fault:
        raise ValueError(f"ct_log_list {path}: {fault.strerror}") from None
    except ValueError as fault:
        raise ValueError(f"ct_log_list {path}: {fault}") from None


def check_roots_of_hosts(path: str) -> None:
    """Whether a file can be used as the roots of HTTPS hosts; "" always can."""
    if not path:
        return
    try:
        trust(path)
    except ValueError as fault:
        raise ValueError(f"https_{fault}") from None
