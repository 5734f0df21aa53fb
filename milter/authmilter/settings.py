"""The settings of the milter: every key with its type, its default and its bounds.

conf/authmilter.toml shows each of them at its default; a test holds the two together.
"""

from __future__ import annotations

import ipaddress
import re
import socket as sockets
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from authmilter.arc.settings import SealSettings
from authmilter.knowledge.forwarders import DKIM, HELO, is_network
from authmilter.reports.settings import Reports
from authmilter.sign.settings import HEADERS, NEVER_SIGNED, OVERSIGN, Identity, SignSettings, is_signing_domain
from authmilter.sign.table import normal_pattern
from authmilter.verdict import Rules
from mailcommon import settings as files
from mailcommon.names import to_alabel
from mailcommon.setting_types import Dns, LogFormat, Metrics, OctalMode, SocketAddress
from mailcommon.settings import Section

DEFAULT_FILE = Path("/etc/gatepost/authmilter.toml")

Action = Literal["reject", "quarantine", "accept"]


def _authserv_id(value: str) -> str:
    if value and to_alabel(value) is None:
        raise ValueError(f"{value!r} is not a host name")
    return value


def _own_id(value: str) -> str:
    # a dot in front: the name behind it and everything below it
    if to_alabel(value.removeprefix(".")) is None:
        raise ValueError(f"{value!r} is not a host name")
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as fault:
        raise ValueError(f"{value!r} is not a network such as 192.0.2.0/24 or 2001:db8::/32: {fault}") from fault
    return value


def _forwarder(value: str) -> str:
    kind, colon, rest = value.partition(":")
    if colon and not re.fullmatch("[0-9A-Fa-f]{0,4}", kind):  # what an IPv6 network begins with
        if f"{kind}:" not in (HELO, DKIM):
            raise ValueError(f'{value!r}: unknown kind {kind!r}, there are "{HELO}" and "{DKIM}"')
        return f"{kind}:{_host(rest)}"
    if is_network(value):
        return _network(value)
    if to_alabel(value) is None or "." not in value:
        raise ValueError(f"{value!r} is neither a network nor a domain")
    return value


def _host(value: str) -> str:
    if to_alabel(value) is None or "." not in value:
        raise ValueError(f"{value!r} is not a domain")
    return value


def _domain(value: str) -> str:
    domain = to_alabel(value)
    if domain is None:
        raise ValueError(f"{value!r} is not a domain")
    return domain


def _signing_domain(value: str) -> str:
    domain = value and _domain(value)
    if domain and not is_signing_domain(domain):
        raise ValueError(f"{value!r} cannot be d= of a signature: it wants a host name of two labels or more")
    return domain


def _selector(value: str) -> str:
    selector = to_alabel(value)
    if selector is None:
        raise ValueError(f"{value!r} is not a selector: letters, digits and hyphens, such as s2026")
    return selector


def _absolute(value: str) -> str:
    if not Path(value).is_absolute() or "\0" in value:
        raise ValueError(f"{value!r} is not the whole path of a file")
    return value


def _key_mode(value: str) -> str:
    if int(value, 8) & ~0o644 or not int(value, 8) & 0o400:
        raise ValueError("lets others change the key, or nobody read it: 0400 to 0644")
    return value


def _absolute_or_empty(value: str) -> str:
    return value and _absolute(value)


def _signed_field(value: str) -> str:
    if not re.fullmatch(r"[!-9;-~]{1,76}", value):
        raise ValueError(f"{value!r} is not the name of a header field")
    if value.lower() in NEVER_SIGNED:
        raise ValueError(f"{value} changes on the way and cannot be signed")
    return value


class Trust(Section):
    networks: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=("127.0.0.0/8", "::1/128"), strict=False
    )
    forwarders: tuple[Annotated[str, AfterValidator(_forwarder)], ...] = Field(default=(), strict=False)
    arc_sealers: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(default=(), strict=False)
    keep_results_from: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(default=(), strict=False)


class Spf(Section):
    check_helo: bool = True
    max_void_lookups: Annotated[int, Field(ge=0, le=10)] = 2
    seconds: Annotated[float, Field(gt=0, le=100)] = 20.0
    received_spf: bool = False


class Dkim(Section):
    max_signatures: Annotated[int, Field(ge=1, le=50)] = 10
    clock_skew: Annotated[int, Field(ge=0, le=86_400)] = 300
    min_rsa_bits: Annotated[int, Field(ge=1024, le=4096)] = 1024
    max_rsa_bits: Annotated[int, Field(ge=4096, le=16_384)] = 8192
    accept_partial_body: bool = False
    accept_added_fields: bool = False
    refused_domains: tuple[Annotated[str, AfterValidator(_domain)], ...] = Field(default=(), strict=False)
    check_weak_keys: bool = False
    blocklist: Annotated[str, AfterValidator(_absolute_or_empty)] = ""


class Arc(Section):
    enabled: bool = True
    max_sets: Annotated[int, Field(ge=1, le=50)] = 50
    max_keys: Annotated[int, Field(ge=1, le=100)] = 20
    seal: str = ""
    seal_for: tuple[Annotated[str, AfterValidator(normal_pattern)], ...] = Field(
        default=("*",), strict=False, min_length=1
    )


class SignKey(Section):
    """One identity that signs."""

    domain: Annotated[str, AfterValidator(_signing_domain)] = ""
    selector: Annotated[str, AfterValidator(_selector)]
    file: Annotated[str, AfterValidator(_absolute)]


class Sign(Section):
    headers: tuple[Annotated[str, AfterValidator(_signed_field)], ...] = Field(default=HEADERS, strict=False)
    oversign: tuple[Annotated[str, AfterValidator(_signed_field)], ...] = Field(default=OVERSIGN, strict=False)
    canonicalization: Literal["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"] = (
        "relaxed/relaxed"
    )
    lifetime: Annotated[int, Field(ge=0, le=31_536_000)] = 0
    authenticated: Literal["any", "sender", "login"] = "any"
    on_missing_key: Literal["accept", "tempfail"] = "accept"
    key_mode: Annotated[OctalMode, AfterValidator(_key_mode)] = "0640"
    keys: dict[str, SignKey] = Field(default={})
    table: dict[
        Annotated[str, AfterValidator(normal_pattern)], Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    ] = Field(default={})

    @field_validator("table", mode="before")
    @classmethod
    def _each_pattern_once(cls, table: object) -> object:
        known: dict[str, str] = {}
        for written in table if isinstance(table, dict) else ():
            try:
                first = known.setdefault(normal_pattern(str(written)), written)
            except ValueError:
                continue  # said where the pattern itself is read
            if first != written:
                raise ValueError(f"{first!r} and {written!r} are the same pattern")
        return table

    @model_validator(mode="after")
    def _names_are_known(self) -> Sign:
        for pattern, names in self.table.items():
            for name in names:
                if name not in self.keys:
                    raise ValueError(f"the table names {name!r} for {pattern}, but there is no [sign.keys.{name}]")
        return self

    @field_validator("keys")
    @classmethod
    def _one_file_for_each_name(cls, keys: dict[str, SignKey]) -> dict[str, SignKey]:
        files: dict[tuple[str, str], str] = {}
        for name, key in keys.items():
            known = files.setdefault((key.domain, key.selector), key.file)
            if key.domain and known != key.file:
                raise ValueError(f"{name}: {key.selector}._domainkey.{key.domain} has another file already: {known}")
        return keys


class DomainRules(Section):
    """What differs for one Author Domain and the names below it."""

    on_reject: Action | None = None
    on_quarantine: Action | None = None
    on_temperror: Literal["accept", "tempfail"] | None = None


class Dmarc(Section):
    on_reject: Action = "reject"
    on_quarantine: Action = "quarantine"
    on_temperror: Literal["accept", "tempfail"] = "accept"
    on_bad_from: Action = "reject"
    on_mailing_list: Action = "quarantine"
    max_author_domains: Annotated[int, Field(ge=1, le=20)] = 4
    max_deferral: Annotated[int, Field(ge=60, le=432_000)] = 14_400
    dry_run: bool = False
    domains: dict[Annotated[str, AfterValidator(_domain)], DomainRules] = Field(default={})


class Bimi(Section):
    enabled: bool = False
    evidence: Literal["require", "optional", "off"] = "require"
    ca_file: str = ""
    common_marks: bool = True
    revocation: Literal["off", "soft", "hard"] = "soft"
    ct_log_list: str = ""
    compare: bool = False
    budget: Annotated[float, Field(ge=0, le=10)] = 2.0
    https_port: Annotated[int, Field(ge=1, le=65_535)] = 443
    https_ca_file: str = ""
    allow_private_addresses: bool = False
    keep_fields: bool = False

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.enabled and self.evidence == "require" and not self.ca_file:
            raise ValueError('ca_file is missing: evidence = "require" needs the roots of mark certificates')
        if self.enabled and self.evidence != "off":
            from authmilter.bimi.trust import read_trust

            read_trust(self.ca_file, self.ct_log_list, self.https_ca_file)
        return self


class Results(Section):
    auth: bool = False


class Settings(Section):
    """The whole file."""

    socket: SocketAddress = "unix:/var/spool/postfix/authmilter/authmilter.sock"
    socket_mode: OctalMode = "0660"
    socket_group: str = ""
    user: str = ""
    authserv_id: Annotated[str, AfterValidator(_authserv_id)] = ""
    own_ids: tuple[Annotated[str, AfterValidator(_own_id)], ...] = Field(default=(), strict=False)
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    on_fault: Literal["tempfail", "accept"] = "tempfail"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "text"
    log_addresses: bool = False
    dns: Dns = Dns()
    trust: Trust = Trust()
    spf: Spf = Spf()
    dkim: Dkim = Dkim()
    arc: Arc = Arc()
    dmarc: Dmarc = Dmarc()
    bimi: Bimi = Bimi()
    results: Results = Results()
    sign: Sign = Sign()
    reports: Reports = Reports()
    metrics: Metrics = Metrics()

    @model_validator(mode="after")
    def _seal_can_be_made(self) -> Settings:
        name = self.arc.seal
        if name and not self.arc.enabled:
            raise ValueError("[arc] seal needs the result of the validation: set [arc] enabled = true")
        if name and (name not in self.sign.keys or not self.sign.keys[name].domain):
            raise ValueError(f"[arc] seal names {name!r}, but there is no [sign.keys.{name}] with a domain")
        return self

    @model_validator(mode="after")
    def _sealers_need_arc(self) -> Settings:
        if self.trust.arc_sealers and not self.arc.enabled:
            raise ValueError("[trust] arc_sealers are named, but [arc] enabled is false, so that no seal is looked at")
        return self

    def name(self) -> str:
        """The authserv-id in force: the setting, or this host's name (RFC 8601 §2.5)."""
        return self.authserv_id or sockets.gethostname()

    def rules(self) -> Rules:
        """The part that the verdict reads."""
        dmarc = self.dmarc
        return Rules(
            on_reject=dmarc.on_reject,
            on_quarantine=dmarc.on_quarantine,
            on_temperror=dmarc.on_temperror,
            on_bad_from=dmarc.on_bad_from,
            on_mailing_list=dmarc.on_mailing_list,
            max_author_domains=dmarc.max_author_domains,
            max_deferral=dmarc.max_deferral,
            dry_run=dmarc.dry_run,
            domains={
                name: {key: value for key, value in rules.model_dump().items() if value is not None}
                for name, rules in dmarc.domains.items()
            },
        )

    def signing(self) -> SignSettings:
        """What `sign.signer` reads."""
        sign = self.sign
        header, _, body = sign.canonicalization.partition("/")
        return SignSettings(
            identities={name: Identity(key.selector, key.file, key.domain) for name, key in sign.keys.items()},
            table=sign.table,
            headers=sign.headers,
            oversign=sign.oversign,
            relaxed_header=header == "relaxed",
            relaxed_body=body == "relaxed",
            lifetime=sign.lifetime,
            authenticated=sign.authenticated,
            tempfail_without_key=sign.on_missing_key == "tempfail",
            key_mode=int(sign.key_mode, 8),
        )

    def sealing(self) -> SealSettings | None:
        """What `arc.sealer` reads, None if nothing is sealed."""
        if not self.arc.seal:
            return None
        key = self.sign.keys[self.arc.seal]
        return SealSettings(key.domain, key.selector, key.file, dict.fromkeys(self.arc.seal_for, ("seal",)))


def load(path: Path) -> Settings:
    """Read the settings file; raises mailcommon.settings.SettingsError."""
    return files.load(path, Settings)
