"""The settings of the policy daemon: every key with its type, its default and its bounds.

conf/tlspolicyd.toml shows each of them at its default; a test holds the two together.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from mailcommon import settings as files
from mailcommon.names import to_alabel
from mailcommon.outbox.mail import usable_address
from mailcommon.setting_types import Dns, LogFormat, Metrics, OctalMode, SocketAddress, place
from mailcommon.settings import Section

DEFAULT_FILE = Path("/etc/gatepost/tlspolicyd.toml")


def _store(value: str) -> str:
    if re.fullmatch(r"memory:|sqlite:/[^\0]+|(redis|rediss|unix)://\S+", value):
        if value.startswith("redis"):
            try:
                _ = urlsplit(value).port
            except ValueError:
                raise ValueError('the port of "redis://HOST:PORT/NUMBER" is no number up to 65535') from None
        return value
    raise ValueError('must be "sqlite:/path", "redis://HOST:PORT/NUMBER" or "memory:"')


def _proxy(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        usable = False
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError('must be "http://HOST:PORT" or ""')
    return value


def _host_and_port(value: str) -> str:
    return place(value, 'must be "HOST:PORT" or "[IPv6]:PORT"')


def _datagrams(value: str) -> str:
    if not value or re.fullmatch(r"unix:/[^\0]{1,100}", value):  # unix(7): 108 octets at most
        return value
    raise ValueError('must be "unix:/path" (at most 100 characters) or ""')


def _log(value: str) -> str:
    if not value or re.fullmatch(r"(?:journal:)?/[^\0]+|journal:", value):
        return value
    raise ValueError('must be "/path", "journal:", "journal:/directory" or ""')


def _reports(value: str) -> str:
    if re.fullmatch(r"sqlite:/[^\0]+|postgres(?:ql)?://\S+", value):
        return value
    raise ValueError('must be "sqlite:/path" or "postgresql://USER@HOST/DATABASE"')


def _organization(value: str) -> str:
    if len(value) <= 200 and value.isprintable():
        return value
    raise ValueError("must be at most 200 printable characters")


def _contact(value: str) -> str:
    if not value or usable_address(f"mailto:{value}"):
        return value and usable_address(f"mailto:{value}")
    raise ValueError('must be an address such as "tls-reports@example.org", or ""')


def _domain(value: str) -> str:
    name = to_alabel(value)
    if name is None:
        raise ValueError(f"{value!r} is not a domain name")
    return name


class Sts(Section):
    timeout: Annotated[float, Field(gt=0, le=600)] = 60.0  # RFC 8461 §3.3 suggests one minute
    # socketmap_table(5): Postfix gives up after 100 seconds
    wait: Annotated[float, Field(ge=0, le=50)] = 3.0
    max_concurrent_fetches: Annotated[int, Field(ge=1, le=100_000)] = 1000
    ca_file: str = ""
    https_port: Annotated[int, Field(ge=1, le=65535)] = 443
    proxy: Annotated[str, AfterValidator(_proxy)] = ""
    allow_private_addresses: bool = False


class Dane(Section):
    enabled: bool = True


class Cache(Section):
    store: Annotated[str, AfterValidator(_store)] = "sqlite:/var/lib/tlspolicyd/policies.db"
    entries: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000


class Tlsrpt(Section):
    """TLS reports. See tlspolicyd.tlsrpt."""

    socket: Annotated[str, AfterValidator(_datagrams)] = ""
    log: Annotated[str, AfterValidator(_log)] = ""
    store: Annotated[str, AfterValidator(_reports)] = "sqlite:/var/lib/tlspolicyd/reports.db"
    organization: Annotated[str, AfterValidator(_organization)] = ""
    contact: Annotated[str, AfterValidator(_contact)] = ""
    exclude: Annotated[tuple[Annotated[str, AfterValidator(_domain)], ...], Field(strict=False)] = ()
    delay: Annotated[float, Field(ge=0, le=36_000)] = 14_400.0  # RFC 8460 §4.1: up to four hours
    keep: Annotated[float, Field(ge=1, le=3650)] = 30.0
    smtp: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:25"
    allow_private_addresses: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.socket and self.log:
            raise ValueError("socket and log are not for use at the same time: each session would be counted twice")
        return self


class Settings(Section):
    """The whole file."""

    socket: SocketAddress = "unix:/var/spool/postfix/tlspolicyd/tlspolicyd.sock"
    socket_mode: OctalMode = "0660"
    socket_group: str = ""
    user: str = ""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    idle_timeout: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    read_timeout: Annotated[float, Field(gt=0, le=600)] = 20.0
    site_level: Literal["none", "may", "encrypt", "dane", "dane-only", "verify", "secure", "fingerprint"] = "dane"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = "text"
    dns: Dns = Dns()
    sts: Sts = Sts()
    dane: Dane = Dane()
    cache: Cache = Cache()
    tlsrpt: Tlsrpt = Tlsrpt()
    metrics: Metrics = Metrics()


def load(path: Path) -> Settings:
    """Read the settings file; raises mailcommon.settings.SettingsError."""
    return files.load(path, Settings)
