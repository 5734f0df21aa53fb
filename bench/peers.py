"""The milters that are compared: how each is configured and started, and what it must find to count.

Each gets a directory of its own for its socket and files, listens on a Unix-domain socket, and asks the name server
that it is given. What only knows /etc/resolv.conf runs in a mount namespace with another one over it (root only).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import daemons, usage
from bench.corpus import AUTHSERV_ID
from bench.nameservers import Addresses
from tests.support.ports import free_port
from tests.support.processes import ServerProcess, Unavailable, find_program
from tests.support.waiting import wait_until

_START_SECONDS = 90.0  # rspamd compiles its patterns at the first start
_SUFFIXES = Path("/usr/share/publicsuffix/public_suffix_list.dat")


@dataclass(frozen=True, slots=True)
class Place:
    directory: Path  # of this milter alone
    shared: Path  # of all milters of this run
    dns: Addresses

    @property
    def socket(self) -> Path:
        return self.directory / "socket"

    def write(self, name: str, text: str) -> Path:
        """Write a file for the milter."""
        return daemons.write(self.directory, name, text)


@dataclass(frozen=True, slots=True)
class Peer:
    """A milter to measure. `command` writes its files and gives its command line; raises Unavailable."""

    name: str
    command: Callable[[Place], Sequence[str | Path]]
    finds: tuple[str, ...]  # results that it must write for every message that has them
    field: str = "Authentication-Results"  # in which it writes them
    after_dkim: bool = False  # is given the messages with an earlier filter's dkim= on top


@dataclass(slots=True)
class Running:
    peer: Peer
    process: ServerProcess
    socket: Path

    def usage(self) -> usage.Usage:
        """What it has used until now, children included."""
        return daemons.used(self.process)


def _noop(extra: int) -> Callable[[Place], Sequence[str | Path]]:
    """A pymilter that does nothing, in one process per CPU and `extra` more."""
    processes = (os.cpu_count() or 1) + extra

    def command(place: Place) -> Sequence[str | Path]:
        return [sys.executable, "-m", "bench.noop_milter", place.socket, str(processes)]

    return command


def _with_bimi(place: Place) -> Sequence[str | Path]:
    """The mail of the corpus has no BIMI record: what looking for one costs."""
    return _ours(place, '[bimi]\nenabled = true\nevidence = "optional"\n')


def _without_arc(place: Place) -> Sequence[str | Path]:
    return _ours(place, "[arc]\nenabled = false\n")


def _with_metrics(place: Place) -> Sequence[str | Path]:
    return _ours(place, f'[metrics]\nlisten = "127.0.0.1:{free_port()}"\n')


def _ours(place: Place, further: str = "") -> Sequence[str | Path]:
    program = daemons.installed("authmilter", "install this project into the environment")
    config = place.write(
        "authmilter.toml",
        f'socket = "unix:{place.socket}"\nauthserv_id = "{AUTHSERV_ID}"\n'
        f'[dns]\nnameservers = ["{place.dns.with_port}"]\n{further}',
    )
    return [program, "serve", "--config", config]


def ours(name: str, settings: str) -> Peer:
    """Our milter under another name and with further tables in its settings."""
    return Peer(name, lambda place: _ours(place, settings), _ALL)


def _require_plain(place: Place, name: str) -> None:
    if not place.dns.plain:
        raise Unavailable(f"{name} asks its name server at port 53 only, and that takes root here")


def _opendkim(place: Place) -> Sequence[str | Path]:
    program = find_program("opendkim", "opendkim")
    _require_plain(place, "opendkim")
    config = place.write(
        "opendkim.conf",
        f"Mode v\nSocket local:{place.socket}\nAuthservID {AUTHSERV_ID}\nNameservers {place.dns.plain}\n"
        "AlwaysAddARHeader yes\nSyslog no\nBackground no\n",
    )
    return [program, "-f", "-x", config]


def _opendmarc(place: Place) -> Sequence[str | Path]:
    program = find_program("opendmarc", "opendmarc")
    _require_plain(place, "opendmarc")
    config = place.write(
        "opendmarc.conf",
        f"Socket local:{place.socket}\nAuthservID {AUTHSERV_ID}\nTrustedAuthservIDs {AUTHSERV_ID}\n"
        "SPFSelfValidate true\nSPFIgnoreResults true\nRejectFailures true\nHoldQuarantinedMessages true\n"
        f"PublicSuffixList {_SUFFIXES}\nSyslog false\nBackground false\n",
    )
    return daemons.with_resolv_conf(place.directory, place.dns.plain, program, "-f", "-c", config)


# Only what the comparison is about: no rules, no statistics, no other modules.
_RSPAMD = """
options {{
    filters = "dkim";
    pidfile = "{directory}/pid";
    tempdir = "{directory}";
    cache_file = "{directory}/symbols.cache";
    history_file = "{directory}/history";
    dynamic_conf = "{directory}/dynamic";
    stats_file = "{directory}/stats.ucl";
    control_socket = "{directory}/control mode=0600";
    hs_cache_dir = "{shared}/";
    url_tld = "/usr/share/rspamd/effective_tld_names.dat";
    dns {{ nameserver = ["{address}:{port}:1"]; timeout = 5s; }}
    local_addrs = [];
    explicit_modules = [];
}}
logging {{ type = "console"; level = "error"; }}
modules {{
    path = "/usr/share/rspamd/plugins/spf.lua";
    path = "/usr/share/rspamd/plugins/dmarc.lua";
    path = "/usr/share/rspamd/plugins/milter_headers.lua";
}}
actions {{ reject = null; }}
dkim {{ dkim_cache_size = 2k; dkim_cache_expire = 1d; }}
spf {{ spf_cache_size = 2k; spf_cache_expire = 1d; }}
dmarc {{ }}
milter_headers {{
    use = ["authentication-results"];
    skip_local = false;
    skip_authenticated = false;
}}
worker "rspamd_proxy" {{
    bind_socket = "{socket} mode=0600";
    milter = yes;
    timeout = 120s;
    count = 2;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


def _rspamd(place: Place) -> Sequence[str | Path]:
    program = find_program("rspamd", "rspamd")
    address, _, port = place.dns.with_port.rpartition(":")
    text = _RSPAMD.format(
        directory=place.directory, shared=place.shared, socket=place.socket, address=address, port=port
    )
    insecure = ["-i"] if os.geteuid() == 0 else []  # root is not asked to change to another user
    return [program, "-f", *insecure, "-c", place.write("rspamd.conf", text)]


_ALL = ("dkim=pass", "spf=pass", "dmarc=pass")

PEERS = (
    Peer("ours", _ours, _ALL),
    Peer("ours-no-arc", _without_arc, _ALL),
    Peer("ours-metrics", _with_metrics, _ALL),
    Peer("ours-bimi", _with_bimi, _ALL),
    Peer("opendkim", _opendkim, ("dkim=pass",)),
    Peer("opendmarc", _opendmarc, ("spf=pass", "dmarc=pass"), after_dkim=True),
    Peer("rspamd", _rspamd, _ALL),
    Peer("noop", _noop(0), ()),
    Peer("noop+1", _noop(1), ()),
)


def _ready(running: Running) -> bool:
    running.process.require_alive()
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(running.socket))
        except OSError:
            return False
    return True


def _start(peer: Peer, place: Place) -> Running:
    place.directory.mkdir()
    output = place.directory / "output"
    process = ServerProcess(peer.command(place), output=output, cwd=daemons.ROOT)
    running = Running(peer, process, place.socket)
    try:
        wait_until(lambda: _ready(running), f"{peer.name} listening", timeout=_START_SECONDS, context=output.read_text)
        daemons.settle(process, peer.name, _START_SECONDS)  # rspamd goes on compiling after it listens
    except BaseException:
        process.stop()
        raise
    usage.reset_peak(process.members())
    return running


@contextmanager
def started(
    peers: Sequence[Peer], directory: Path, dns: Addresses, tell: Callable[[str], None]
) -> Iterator[list[Running]]:
    """Start those that can be started, tell about the others, stop all at the end."""
    shared = directory.parent / "shared"
    shared.mkdir(exist_ok=True)
    with ExitStack() as stack:
        running = []
        for peer in peers:
            place = Place(directory / peer.name, shared, dns)
            try:
                one = _start(peer, place)
            except daemons.LEFT_OUT as problem:
                tell(f"{peer.name} is left out: {problem}")
                continue
            stack.callback(one.process.stop)
            running.append(one)
        yield running
