"""Networks of the settings: is an address in one of them?"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable


class Networks:
    """Networks of the settings, which have been validated. An address is looked for once; the last ones are kept."""

    def __init__(self, values: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(value) for value in values)
        self._known = functools.lru_cache(maxsize=4096)(self._find)

    def __contains__(self, ip: str) -> bool:
        """Whether the address, as text, lies in one of the networks; "" never does."""
        return bool(self._networks) and bool(ip) and self._known(ip)

    def _find(self, ip: str) -> bool:
        address = ipaddress.ip_address(ip)
        return any(address in network for network in self._networks if network.version == address.version)
