"""The `[reports]` table."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from mailcommon.names import is_hostname, to_alabel
from mailcommon.outbox import usable_address
from mailcommon.setting_types import is_host
from mailcommon.settings import Section
from mailcommon.store import StoreAddress

_HOST_PORT = re.compile(r"(\S+):(\d{1,5})").fullmatch


def _address(value: str) -> str:
    if value and not usable_address(f"mailto:{value}"):
        raise ValueError(f"{value!r} is not an address such as dmarc-reports@example.org")
    return value


def _domain(value: str) -> str:
    name = to_alabel(value)
    if name is None or not is_hostname(name):
        raise ValueError(f"{value!r} is not a domain")
    return name


def _smtp(value: str) -> str:
    match = _HOST_PORT(value)
    if not (match and is_host(match[1]) and 0 < int(match[2]) < 65536):
        raise ValueError('must be "HOST:PORT", an IPv6 address in brackets')
    return value


Domain = Annotated[str, AfterValidator(_domain)]


class Reports(Section):
    """What is kept and sent, and in whose name."""

    store: StoreAddress = ""
    email: Annotated[str, AfterValidator(_address)] = ""
    org_name: Annotated[str, Field(max_length=200)] = ""
    contact: Annotated[str, Field(max_length=200)] = ""
    envelope_from: Annotated[str, AfterValidator(_address)] = ""
    smtp: Annotated[str, AfterValidator(_smtp)] = "127.0.0.1:25"
    outboxes: tuple[StoreAddress, ...] = Field(default=(), strict=False)
    exclude_domains: tuple[Domain, ...] = Field(default=(), strict=False)
    max_destinations: Annotated[int, Field(ge=1, le=20)] = 10
    retry: Annotated[int, Field(ge=0, le=5 * 86_400)] = 86_400
    failure_reports: bool = False
    failure_redact: bool = True
    failure_hourly: Annotated[int, Field(ge=1, le=10_000)] = 100
    failure_hourly_domain: Annotated[int, Field(ge=1, le=1_000)] = 10
    keep_days: Annotated[int, Field(ge=2, le=365)] = 14
    max_bytes: Annotated[int, Field(ge=1 << 20)] = 2 << 30

    @model_validator(mode="after")
    def _complete(self) -> Reports:
        if self.store and not self.email:
            raise ValueError("[reports] email: is needed with a store: the address that reports come from")
        return self

    @property
    def domain(self) -> str:
        """The name under which reports are made: the domain of `email`."""
        return to_alabel(self.email.rpartition("@")[2]) or ""

    @property
    def smtp_host(self) -> tuple[str, int]:
        """Where reports are handed over."""
        host, _, port = self.smtp.rpartition(":")
        return host.strip("[]"), int(port)
