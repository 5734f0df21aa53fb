"""A real unbound of our own: a recursing resolver over one tree that the test writes.

The tree is a root zone, given to unbound as the only authority there is, so that CNAME chains, negative answers, TTLs
and TCP are unbound's own doing while no packet leaves the machine.

    with PrivateUnbound("a.example. 60 IN TXT \"v=spf1 ip4:192.0.2.1 -all\"") as dns:
        dns.address   # "127.0.0.1:23456"

Diagnostics: `Unavailable` if unbound is not installed; `StartFailed` with its output for a zone it cannot read.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port, release_port
from tests.support.processes import ServerProcess, StartFailed, Unavailable, find_program
from tests.support.waiting import TimedOut, wait_until

# Answered by unbound itself unless told otherwise; `unblock-lan-zones` covers the reverse zones of private networks.
_BUILT_IN = (
    "localhost.",
    "127.in-addr.arpa.",
    "home.arpa.",
    "onion.",
    "test.",
    "invalid.",
    "1." + "0." * 31 + "ip6.arpa.",
)

_SOA_QUERY = b"\x47\x50\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"\x00" + b"\x00\x06\x00\x01"  # ". IN SOA", RD set

_ATTEMPTS = 4  # ports tried

_LONG_STRING = re.compile(r'"([^"\\\n]{256,})"')


def missing() -> str:
    """Why no private unbound can run on this machine, "" if it can."""
    try:
        find_program("unbound", "unbound")
    except Unavailable as problem:
        return str(problem)
    return ""


def _apparmor() -> bool:
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


def _cut_string(found: re.Match[str]) -> str:
    # RFC 1035 §3.3: a character-string has at most 255 octets
    text = found[1]
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


class PrivateUnbound:
    """One resolver. `start()` and `stop()`, or use it as a context manager."""

    def __init__(self, zone: str, *, port: int | None = None, options: Sequence[str] = ()) -> None:
        """zone: records in the format of RFC 1035 §5 with absolute names; SOA and NS of the root are added.

        A quoted string of more than 255 characters is cut into several.

        port: None = a free one. options: further lines for unbound's `server:` clause.
        """
        self._program = find_program("unbound", "unbound")
        self._zone = zone
        self._fixed_port = port
        self._options = options
        # No two resolvers use the same: whoever answers with the serial number written last is the one meant.
        self._serials = itertools.count(random.SystemRandom().randrange(1 << 31))
        self._serial = 0
        self._attempt = 1
        self._process: ServerProcess | None = None
        self.port = 0
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-dns-", dir="/tmp"))

    @property
    def address(self) -> str:
        """ "127.0.0.1:PORT", as settings take a name server."""
        return f"127.0.0.1:{self.port}"

    def _write_zone(self) -> None:
        self._serial = next(self._serials)
        head = (
            "$ORIGIN .\n$TTL 300\n"
            f". 300 IN SOA ns.root-of-tests. nobody.root-of-tests. {self._serial} 3600 600 86400 60\n"
            ". 300 IN NS ns.root-of-tests.\nns.root-of-tests. 300 IN A 127.0.0.1\n"
        )
        text = _LONG_STRING.sub(_cut_string, self._zone.rstrip("\n"))
        (self.base / "root.zone").write_text(head + text + "\n")
        self._after_writing()

    def _after_writing(self) -> None:
        """Called with the new root.zone in place, for a subclass."""

    def _write_config(self) -> None:
        lines = [
            "server:",
            f"  directory: {self.base}",
            '  chroot: ""',
            '  username: ""',
            f"  pidfile: {self.base}/unbound.pid",
            "  use-syslog: no",
            '  logfile: ""',
            "  verbosity: 1",
            f"  interface: 127.0.0.1@{self.port}",
            "  access-control: 127.0.0.0/8 allow",
            "  do-ip6: no",
            "  so-reuseport: no",  # or two of them could share a port
            "  num-threads: 1",
            "  module-config: iterator",  # no DNSSEC: the tree is not signed
            '  target-fetch-policy: "0 0 0 0 0"',
            "  qname-minimisation: no",
            "  do-not-query-localhost: no",
            "  unblock-lan-zones: yes",
            *(f"  local-zone: {name} nodefault" for name in _BUILT_IN),
            *(f"  {option}" for option in self._options),
            "remote-control:",
            "  control-enable: no",
            *self._auth_zone(".", "root.zone"),
            *self._clauses(),
        ]
        (self.base / "unbound.conf").write_text("\n".join(lines) + "\n")

    def _auth_zone(self, name: str, file: str) -> list[str]:
        """The clause that makes unbound take the zone `name` from a file of its directory and from nowhere else."""
        return [
            "auth-zone:",
            f'  name: "{name}"',
            f"  zonefile: {self.base}/{file}",
            "  for-upstream: yes",
            "  for-downstream: no",
            "  fallback-enabled: no",
        ]

    def _clauses(self) -> list[str]:
        """Further clauses of unbound.conf, for a subclass."""
        return []

    def start(self) -> None:
        """Start and wait until it answers from the zone; tries another port if one was taken meanwhile."""
        program = self._program
        if _apparmor():
            # Debian's profile for /usr/sbin/unbound forbids it files elsewhere; a copy has no profile.
            program = str(shutil.copy2(program, self.base / "unbound"))
        try:
            while not self._came_up(program):
                self._attempt += 1
        except BaseException:  # an interrupt too must leave nothing behind
            self.stop()
            raise

    def _came_up(self, program: str) -> bool:
        """One attempt; False if the port was taken and another attempt is worth while."""
        release_port(self.port)
        self.port = self._fixed_port or free_port()
        self._write_zone()
        self._write_config()
        self._process = ServerProcess(
            [program, "-d", "-p", "-c", self.base / "unbound.conf"], output=self.base / f"output.{self._attempt}"
        )
        try:
            self._wait_serial()
        except StartFailed:
            self._process.kill()
            if "Address already in use" in self.log_text() and not self._fixed_port and self._attempt < _ATTEMPTS:
                return False
            raise
        return True

    def _wait_serial(self) -> None:
        """Wait until the zone that was written last is the one that answers."""
        assert self._process is not None
        process = self._process

        def served() -> bool:
            process.require_alive()
            return self._serial_now() == self._serial

        try:
            wait_until(served, "unbound's answer", timeout=10.0)
        except TimedOut as problem:
            raise StartFailed(f"{problem}\n{self.log_text()}") from None

    def _serial_now(self) -> int:
        """Serial number of the root's SOA as answered, -1 without a good answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            query.settimeout(0.2)
            try:
                query.connect(("127.0.0.1", self.port))
                query.send(_SOA_QUERY)
                answer = query.recv(4096)
            except (TimeoutError, ConnectionRefusedError):
                return -1
        if len(answer) < 40 or answer[3] & 0x0F or answer[7] != 1:
            return -1
        # RFC 1035 §3.3.13: the SOA's data end in five 32-bit numbers, the first of which is the serial.
        after_name = answer.index(b"\x00\x06\x00\x01", 17)  # type and class of the answer, behind the question
        length = int.from_bytes(answer[after_name + 8 : after_name + 10], "big")
        end = after_name + 10 + length
        return int.from_bytes(answer[end - 20 : end - 16], "big")

    def reload(self, zone: str) -> None:
        """Serve another tree; the cache is emptied."""
        assert self._process is not None
        self._zone = zone
        self._write_zone()
        self._process.send(signal.SIGHUP)
        self._wait_serial()

    def log_text(self) -> str:
        """What unbound has written."""
        return self._process.output.text() if self._process else ""

    def members(self) -> list[int]:
        """Process ids of this resolver."""
        return self._process.members() if self._process else []

    def stop(self) -> None:
        """Stop it and remove its directory. May be called twice."""
        try:
            if self._process is not None:
                self._process.stop(timeout=3.0)
                self._process = None
        finally:
            release_port(self.port)
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
