"""The settings of the policy daemon: every key with its type, its default and its bounds.

conf/tlspolicyd.toml shows each of them at its default; a test holds the two together.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from mailcommon import settings as files
from mailcommon.setting_types import Dns, LogFormat, Metrics, OctalMode, SocketAddress
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
    metrics: Metrics = Metrics()


def load(path: Path) -> Settings:
    """Read the settings file; raises mailcommon.settings.SettingsError."""
    return files.load(path, Settings)
