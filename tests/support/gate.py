"""The whole inbound gate, all of it real: a resolver over a tree of ours, Postfix, and the milter between them.

    with Gate(zone, {"dmarc": {"on_quarantine": "accept"}}) as gate:
        gate.postfix.send(...)
        gate.milter.log.wait(...)

Diagnostics: `Unavailable` if the machine lacks Postfix, root or unbound; `StartFailed` if one does not come up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tests.support.milter_daemon import MilterDaemon
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.postfix_config import HOSTNAME
from tests.support.unbound import PrivateUnbound


def gate_settings(resolver: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings of a milter that asks the resolver at "IP:PORT"; `settings` come on top, table by table."""
    result: dict[str, Any] = {"authserv_id": HOSTNAME, "dns": {"nameservers": [resolver]}}
    for key, value in (settings or {}).items():
        result[key] = {**result.get(key, {}), **value} if isinstance(value, Mapping) else value
    return result


Gates = Callable[..., "Gate"]  # settings -> a gate with them


class Gate:
    """Resolver, milter and Postfix. `start()` and `stop()`, or use it as a context manager."""

    def __init__(
        self,
        zone: str = "",
        settings: Mapping[str, Any] | None = None,
        *,
        dns: PrivateUnbound | None = None,
        **postfix: Any,
    ) -> None:
        """zone: for a resolver of its own; or `dns`, one that runs already and is left running.

        settings: as in authmilter.toml, over `gate_settings`. postfix: options of `PrivatePostfix`.
        """
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self._owns_dns = dns is None
        self.dns = dns or PrivateUnbound(zone)
        try:
            self.postfix = PrivatePostfix(**{"milter": MILTER_SPEC, **postfix})
        except BaseException:
            if self._owns_dns:
                self.dns.stop()
            raise
        self.milter = MilterDaemon(socket=f"unix:{self.postfix.milter_socket}")

    def start(self) -> None:
        """Start all three, the resolver first; stops what ran if one fails."""
        with contextlib.ExitStack() as stack:
            if self._owns_dns:
                stack.callback(self.dns.stop)
            stack.callback(self.postfix.stop)
            stack.callback(self.milter.stop, at_once=True)
            if self._owns_dns:
                self.dns.start()
            self.milter.configure(gate_settings(self.dns.address, self._settings))
            self.milter.start()
            self.postfix.start()
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop what was started. May be called twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
