"""The policy daemons that are compared: how each is configured and started, and whether it answers as it should.

All listen on TCP and answer the socketmap `policy`. postfix-mta-sts-resolver asks the name servers of /etc/resolv.conf
and fetches from port 443, both of which cannot be set, so that it runs in a mount namespace with another resolv.conf
(root only). It has the memory cache and no refreshing in the background, which is the fastest that it can be set to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import daemons, noop_policy, policy_world, usage
from bench.policy_world import World
from tests.support.processes import ServerProcess, Unavailable
from tests.support.socketmap_client import SocketmapClient
from tests.support.waiting import wait_until

FETCH_SECONDS = 60.0  # how long each may try to fetch a policy
RESOLVER = "mta-sts-resolver"
_START_SECONDS = 30.0
# postfix-mta-sts-resolver would go through a proxy
_NO_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "")


@dataclass(frozen=True, slots=True)
class Place:
    directory: Path  # of this daemon alone
    world: World
    port: int  # to listen on
    nameserver: str  # "IP:PORT", for the ones that take it
    dane: bool = False

    def write(self, name: str, text: str) -> Path:
        """Write a file for the daemon."""
        return daemons.write(self.directory, name, text)


@dataclass(frozen=True, slots=True)
class Peer:
    """A daemon to measure. `command` writes its files and gives its command line; raises Unavailable."""

    name: str
    command: Callable[[Place], Sequence[str | Path]]
    env: Callable[[Place], Mapping[str, str]] = lambda place: {}  # noqa: ARG005 - most need none
    fetches: bool = True  # finds policies out


@dataclass(slots=True)
class Running:
    peer: Peer
    process: ServerProcess
    port: int

    def usage(self) -> usage.Usage:
        """What it has used until now, children included."""
        return daemons.used(self.process)

    def client(self) -> SocketmapClient:
        """A connection to it."""
        return SocketmapClient(f"inet:{self.port}@127.0.0.1", _START_SECONDS)

    def settle(self) -> None:
        """Wait until it uses next to no CPU for a moment."""
        daemons.settle(self.process, self.peer.name, 120.0)


def _ours(place: Place) -> Sequence[str | Path]:
    program = daemons.installed("tlspolicyd", "install this project into the environment")
    config = place.write(
        "tlspolicyd.toml",
        f'socket = "inet:{place.port}@127.0.0.1"\n'
        f'[dns]\nnameservers = ["{place.nameserver}"]\n'
        f'[sts]\nca_file = "{place.world.ca_file}"\nhttps_port = {place.world.policy_host.port}\n'
        f"timeout = {FETCH_SECONDS}\nallow_private_addresses = true\n"
        f"[dane]\nenabled = {str(place.dane).lower()}\n"
        f'[cache]\nstore = "sqlite:{place.directory}/policies.db"\n',
    )
    return [program, "serve", "--config", config]


def _resolver(place: Place) -> Sequence[str | Path]:
    program = daemons.installed("mta-sts-daemon", "pip install postfix-mta-sts-resolver")
    if not place.world.addresses.plain or place.world.policy_host.port != 443:
        raise Unavailable("it needs a name server at port 53 and a policy host at port 443, and these are taken here")
    config = place.write(
        "mta-sts-daemon.yml",
        f"host: 127.0.0.1\nport: {place.port}\nshutdown_timeout: 1\n"
        "cache_grace: 86400\n"  # a cached answer is to stay one
        "cache:\n  type: internal\n  options:\n    cache_size: 100000\n"
        "proactive_policy_fetching:\n  enabled: false\n"
        f"default_zone:\n  strict_testing: false\n  timeout: {FETCH_SECONDS:.0f}\n",
    )
    plain = place.world.addresses.plain
    return daemons.with_resolv_conf(place.directory, plain, program, "-v", "warn", "-c", config)


def _resolver_env(place: Place) -> Mapping[str, str]:
    return {**_NO_PROXY, "SSL_CERT_FILE": str(place.world.ca_file)}


def _noop(place: Place) -> Sequence[str | Path]:
    return [sys.executable, "-m", "bench.noop_policy", str(place.port)]


OURS = Peer("ours", _ours)
PEERS = (
    OURS,
    Peer(RESOLVER, _resolver, _resolver_env),
    Peer("do-nothing", _noop, fetches=False),
)


def launch(peer: Peer, place: Place) -> Running:
    """Start it and do not wait."""
    process = ServerProcess(
        peer.command(place), output=place.directory / "output", env=peer.env(place), cwd=daemons.ROOT
    )
    return Running(peer, process, place.port)


@contextmanager
def started(
    peer: Peer, directory: Path, world: World, *, nameserver: str = "", dane: bool = False
) -> Iterator[Running]:
    """One daemon with an empty cache, in a new directory; raises Unavailable or StartFailed."""
    directory.mkdir()
    with policy_world.port() as port:
        place = Place(directory, world, port, nameserver or world.addresses.with_port, dane)
        running = launch(peer, place)
        try:
            wait_until(
                lambda: _answers(running), f"{peer.name}", timeout=_START_SECONDS, context=running.process.output.text
            )
            running.settle()
            yield running
        finally:
            running.process.stop(3.0)


@contextmanager
def all_started(
    peers: Sequence[Peer], directory: Path, world: World, tell: Callable[[str], None]
) -> Iterator[list[Running]]:
    """Start those that can be started, tell about the others, stop all at the end."""
    directory.mkdir()
    with ExitStack() as stack:
        running = []
        for peer in peers:
            try:
                running.append(stack.enter_context(started(peer, directory / peer.name, world)))
            except daemons.LEFT_OUT as problem:
                tell(f"{peer.name} is left out: {problem}")
        yield running


def _answers(running: Running) -> bool:
    running.process.require_alive()
    try:
        with running.client() as client:
            return client.ask("policy", "[127.0.0.1]") != ""
    except OSError:
        return False


def check(running: Running, domains: Sequence[str], tell: Callable[[str], None]) -> bool:
    """Ask for each domain and see that the answer is the right one. Says so; False if one is not."""
    right = 0
    wrong = ""
    with running.client() as client:
        for domain in domains:
            answer = client.ask("policy", domain)
            if _right(running.peer, domain, answer):
                right += 1
            else:
                wrong = f"; {domain} got {answer!r}"
        absent = client.ask("policy", policy_world.ABSENT) if running.peer.fetches else "NOTFOUND "
    if absent != "NOTFOUND ":
        wrong += f"; {policy_world.ABSENT} got {absent!r}"
    what = "the policy" if running.peer.fetches else "the fixed line, as meant"
    tell(f"  {'BAD' if wrong else 'ok '} {running.peer.name}: {what} for {right}/{len(domains)} domains{wrong}")
    return not wrong


def _right(peer: Peer, domain: str, answer: str) -> bool:
    if not peer.fetches:
        return answer == noop_policy.ANSWER
    words = answer.split(" ")
    if len(words) != 4 or words[:2] != ["OK", "secure"] or words[3] != "servername=hostname":
        return False
    key, _, names = words[2].partition("=")
    # Postfix's way to write a pattern: ".a.example" for "*.a.example"
    patterns = {pattern.removeprefix("*") for pattern in policy_world.mx_patterns(domain)}
    return key == "match" and set(names.split(":")) == patterns
