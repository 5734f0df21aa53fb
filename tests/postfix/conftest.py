"""Fixtures that start real servers: each gives a function that starts one more, all are stopped with the module.

A server starts in less than a tenth of a second, so a test that needs another configuration simply starts another.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import outbound as outbound_world
from tests.support import postfix, senders, signed_zone, unbound
from tests.support.gate import Gate, Gates
from tests.support.loopback import Network
from tests.support.milter_daemon import MilterDaemon
from tests.support.outbound import Outbound
from tests.support.postfix import PrivatePostfix
from tests.support.postfix_installation import HOST, Installation, debian_tree
from tests.support.processes import Unavailable
from tests.support.requirements import require
from tests.support.unbound import PrivateUnbound


@pytest.fixture(scope="module")
def postfix_factory() -> Iterator[Callable[..., PrivatePostfix]]:
    """Call it with the options of `PrivatePostfix`."""
    require(postfix.missing())
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(PrivatePostfix(**options))


@pytest.fixture(scope="module")
def unbound_factory() -> Iterator[Callable[..., PrivateUnbound]]:
    """Call it with a zone and the options of `PrivateUnbound`."""
    require(unbound.missing())
    with contextlib.ExitStack() as stack:
        yield lambda zone, **options: stack.enter_context(PrivateUnbound(zone, **options))


@pytest.fixture(scope="module")
def milter_process() -> Iterator[Callable[..., MilterDaemon]]:
    """Call it with the settings of a daemon and, if wanted, `socket`."""
    with contextlib.ExitStack() as stack:
        yield lambda settings=None, **options: stack.enter_context(MilterDaemon(settings, **options))


@pytest.fixture(scope="module")
def gate_factory() -> Iterator[Callable[..., Gate]]:
    """Call it with a zone, settings and options of Postfix: resolver, milter and Postfix in one."""
    require(postfix.missing() or unbound.missing())

    def start(zone: str = "", settings: dict[str, Any] | None = None, **options: Any) -> Gate:
        return stack.enter_context(Gate(zone, settings, **options))

    with contextlib.ExitStack() as stack:
        yield start


@pytest.fixture(scope="module")
def gates(gate_factory: Callable[..., Gate], unbound_factory: Callable[..., PrivateUnbound]) -> Gates:
    """Call it with settings: a gate for each set of them, all with one resolver that knows the domains of `senders`."""
    dns = unbound_factory(senders.ZONE, options=senders.OPTIONS)
    known: dict[str, Gate] = {}

    def gate(**settings: Any) -> Gate:
        key = json.dumps(settings)
        if key not in known:
            known[key] = gate_factory(settings={"workers": 1, **settings}, dns=dns)
        return known[key]

    return gate


@pytest.fixture(scope="session")
def debian_13() -> Installation:
    """Postfix 3.10 of Debian 13 in a folder."""
    try:
        return debian_tree()
    except Unavailable as problem:
        require(f"Postfix 3.10 cannot be had: {problem}")
        raise


@pytest.fixture(params=["host", "debian 13"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """This host's Postfix, then Debian 13's."""
    require(postfix.missing())
    found: Installation = request.getfixturevalue("debian_13") if request.param == "debian 13" else HOST
    return found


@pytest.fixture
def loopback() -> Iterator[Callable[[], Network]]:
    """Call it for a loopback network in which ports 25 and 53 are free, beside which a signed tree can be served."""
    require(postfix.missing() or signed_zone.missing())

    def claim() -> Network:
        try:
            network = Network()
        except Unavailable as problem:
            require(str(problem))
            raise
        stack.callback(network.release)
        return network

    with contextlib.ExitStack() as stack:
        yield claim


@pytest.fixture(scope="session")
def outbound() -> Callable[..., Outbound]:
    """Call it with the options of `Outbound`; what it gives is declared and started by the caller."""
    require(outbound_world.missing())

    def make(**options: Any) -> Outbound:
        try:
            return Outbound(**options)
        except Unavailable as problem:
            require(str(problem))
            raise

    return make
