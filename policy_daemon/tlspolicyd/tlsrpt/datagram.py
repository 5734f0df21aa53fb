"""One datagram of libtlsrpt, as Postfix 3.10 and newer sends it for each session -> `Session` values.

Takes the octets; returns the sessions, or `Malformed` with one reason out of few. Never raises.

A datagram is one JSON object: `d` the domain, `pr` the text of its TLSRPT record, `policies` a list of objects with
`policy-type` (1 TLSA, 2 MTA-STS, 9 none), `policy-domain`, `policy-string`, `mx-host`, `failure-details` (`c` code, `s`
our address, `n` MX name, `h` reply to EHLO, `r` its address, `a` information, `f` reason), `t` number of failures, `f`
final result, 0 or 1. A protocol version `dpv` is "1" where there is one.

Limits: 256 KB, which is more than Linux lets through a socket by default; 10 policies; 1,000 strings, patterns and
failures each of a policy.
Security: whoever may write to the socket may write anything. Text is cut and cleaned, names and addresses that are none
are left out; a domain that is none makes the datagram worthless.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mailcommon.names import to_alabel
from tlspolicyd.tlsrpt.sessions import (
    AppliedPolicy,
    Failure,
    PolicyType,
    Result,
    Session,
    clean,
    clean_ip,
    clean_name,
    helo_name,
)

MAX_OCTETS = 262_144
VERSION = "1"
_MAX_POLICIES = 10
_MAX_ITEMS = 1000
_MAX_RECORD = 2000  # characters of the TLSRPT record
_TYPES = {1: PolicyType.TLSA, 2: PolicyType.STS, 9: PolicyType.NONE}
# The texts of OpenSSL for a chain that leads to nobody who is trusted, as Postfix writes them: it calls all of these
# validation-failure, for which RFC 8460 §4.3.1 has the narrower word certificate-not-trusted.
_NOT_TRUSTED = frozenset(
    (
        "self-signed_certificate",
        "self-signed_certificate_in_certificate_chain",
        "self_signed_certificate",
        "self_signed_certificate_in_certificate_chain",
        "unable_to_get_issuer_certificate",
        "unable_to_get_local_issuer_certificate",
        "unable_to_verify_the_first_certificate",
        "certificate_chain_too_long",
        "certificate_not_trusted",
        "certificate_rejected",
        "certificate_revoked",
        "certificate_signature_failure",
        "certificate_is_not_yet_valid",
        "invalid_CA_certificate",
        "path_length_constraint_exceeded",
        "unsuitable_certificate_purpose",
        "subject_issuer_mismatch",
        "issuer_certificate_doesn't_have_a_public_key",
        "authority_and_subject_key_identifier_mismatch",
        "key_usage_does_not_include_certificate_signing",
        "permitted_subtree_violation",
        "excluded_subtree_violation",
        "CA_signature_digest_algorithm_too_weak",
        "EE_certificate_key_too_weak",
        "CA_certificate_key_too_weak",
    )
)
NOT_BY_TLSA = "not-authenticated-by-TLSA-records"
_CODES = {
    201: Result.NO_STARTTLS,
    202: Result.HOST_MISMATCH,
    203: Result.NOT_TRUSTED,
    204: Result.EXPIRED,
    205: Result.VALIDATION,
    301: Result.STS_FETCH,
    302: Result.STS_INVALID,
    303: Result.STS_WEBPKI,
    304: Result.TLSA_INVALID,
    305: Result.DNSSEC_INVALID,
    306: Result.DANE_REQUIRED,
}


class Malformed(Exception):
    """What came is no datagram of ours to understand: "too long", "not JSON", "version", "domain" or "fields"."""


def parse(octets: bytes) -> tuple[Session, ...] | Malformed:
    """The sessions that a datagram tells of."""
    if len(octets) > MAX_OCTETS:
        return Malformed("too long")
    try:
        # an EHLO reply may have any octets in it
        told = json.loads(octets.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Malformed("not JSON")
    try:
        return _read(told)
    except Malformed as fault:
        return fault


def _read(told: Any) -> tuple[Session, ...]:
    if not isinstance(told, dict):
        raise Malformed("fields")
    if told.get("dpv", VERSION) != VERSION:
        raise Malformed("version")
    given = told.get("d")
    domain = to_alabel(given) if isinstance(given, str) else None
    if not domain or "." not in domain:
        raise Malformed("domain")
    policies = told.get("policies")
    if not isinstance(policies, list) or not 0 < len(policies) <= _MAX_POLICIES:
        raise Malformed("fields")
    record = _text(told, "pr", lambda text: clean(text, _MAX_RECORD))
    return tuple(_session(domain, record, policy) for policy in policies)


def _session(domain: str, record: str, told: Any) -> Session:
    if not isinstance(told, dict):
        raise Malformed("fields")
    kind = told.get("policy-type")
    final = told.get("f")
    if type(kind) is not int or kind not in _TYPES or type(final) is not int or final not in (0, 1):
        raise Malformed("fields")
    policy = AppliedPolicy(
        _TYPES[kind],
        _text(told, "policy-domain", clean_name) or domain,
        _texts(told, "policy-string", clean),
        _texts(told, "mx-host", _pattern),
    )
    details = told.get("failure-details", [])
    if not isinstance(details, list) or len(details) > _MAX_ITEMS:
        raise Malformed("fields")
    failures = tuple(dict.fromkeys(_failure(detail, policy.type) for detail in details))
    if final and not failures:
        failures = (Failure(Result.VALIDATION),)
    return Session(domain, policy, bool(final), failures, record)


def _failure(told: Any, kind: PolicyType) -> Failure:
    if not isinstance(told, dict):
        raise Malformed("fields")
    code = told.get("c")
    # a code that came later than this table is a failure all the same
    result = _CODES.get(code, Result.VALIDATION) if type(code) is int else Result.VALIDATION
    reason = _text(told, "f", clean)
    if type(code) is int and code not in _CODES:
        reason = f"libtlsrpt-{code}" + (f" {reason}" if reason else "")
    if result is Result.VALIDATION and is_untrusted(reason):
        result = Result.NOT_TRUSTED
    if result is Result.NOT_TRUSTED and kind is PolicyType.TLSA and not reason:
        reason = NOT_BY_TLSA  # RFC 8460 §4.3.1: there should be a reason; Postfix gives none here
    return Failure(
        result,
        _text(told, "s", clean_ip),
        _text(told, "n", clean_name),
        _text(told, "h", helo_name),
        _text(told, "r", clean_ip),
        _text(told, "a", clean),
        reason,
    )


def is_untrusted(reason: str) -> bool:
    """Whether a reason of OpenSSL, with "_" for its blanks, is about a chain that cannot be trusted."""
    return reason in _NOT_TRUSTED


def _pattern(text: str) -> str:
    """An MX pattern as A-labels, "" if it is none."""
    bare = clean_name(text.removeprefix("*."))
    return f"*.{bare}" if bare and text.startswith("*.") else bare


def _text(told: dict[str, Any], key: str, make: Callable[[str], str]) -> str:
    value = told.get(key)
    return make(value) if isinstance(value, str) else ""


def _texts(told: dict[str, Any], key: str, make: Callable[[str], str]) -> tuple[str, ...]:
    values = told.get(key, [])
    if not isinstance(values, list) or len(values) > _MAX_ITEMS:
        raise Malformed("fields")
    made = (make(value) for value in values if isinstance(value, str))
    return tuple(text for text in made if text)
