"""A private Postfix that sends: smtp(8) with MX look-ups, DNSSEC and a TLS policy map, chrooted as Debian runs it.

    with SendingPostfix(nameserver="127.77.3.1", ca_file=ca, policy_map=POLICY_MAP) as postfix:
        postfix.policy_socket               # where the policy daemon listens that POLICY_MAP names
        fate = postfix.deliver("u@a.example")
        fate.status, fate.text              # "sent", "250 2.0.0 taken"

smtp(8) asks the C library's resolver, which knows name servers only at port 53 and only from resolv.conf: chrooted, it
reads the one below the queue directory, and that is ours.

Diagnostics: as `PrivatePostfix`; what becomes of a message is a value.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.postfix import PrivatePostfix
from tests.support.postfix_installation import HOST, Installation

POLICY_SOCKET = "tlspolicyd/tlspolicyd.sock"  # below the queue directory
POLICY_MAP = f"socketmap:unix:{POLICY_SOCKET}:policy"
POLICY_MAP_TLSRPT = f"socketmap:unix:{POLICY_SOCKET}:policy-tlsrpt"

_FATE = r"(?P<relay>relay=\S+), .*dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+) \((?P<text>.*)\)$"
_TLS = re.compile(r"(\w+) TLS connection established to (\S+?)\[")

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one try to deliver a message to one recipient."""

    queue_id: str
    status: str  # sent, deferred or bounced
    dsn: str  # "4.7.5"
    text: str  # the remote reply or Postfix's reason
    relay: str  # MX host that Postfix names, "none" if it got to none
    log: str  # what Postfix logged since the try began

    @property
    def tls(self) -> dict[str, str]:
        """MX host -> Postfix's word for its TLS connection: Verified, Trusted, Untrusted or Anonymous."""
        return {host: word for word, host in _TLS.findall(self.log)}


class SendingPostfix(PrivatePostfix):
    """One instance that sends all its mail by SMTP."""

    def __init__(
        self,
        *,
        nameserver: str,
        ca_file: Path | None = None,
        policy_map: str = POLICY_MAP,
        settings: Mapping[str, str] | None = None,
        services: Sequence[str] = (),
        installation: Installation = HOST,
    ) -> None:
        """nameserver: IP of a resolver at port 53. ca_file: who certifies MX hosts. policy_map: "" = none."""
        sending = {
            "default_transport": "smtp",
            "relay_transport": "smtp",
            "smtp_host_lookup": "dns",
            "smtp_dns_support_level": "dnssec",
            "smtp_tls_security_level": "dane",
            "smtp_tls_policy_maps": policy_map,
            "smtp_tls_CAfile": str(ca_file or ""),
            "smtp_tls_loglevel": "1",
            "smtp_address_preference": "ipv4",
            # Each delivery has its own connection and handshake.
            "smtp_connection_cache_on_demand": "no",
            "smtp_connect_timeout": "5s",
            "smtp_starttls_timeout": "5s",
            # A failed delivery says nothing about the next message to the same domain.
            "default_destination_concurrency_failed_cohort_limit": "0",
            "bounce_queue_lifetime": "1d",
        }
        super().__init__(
            settings={**sending, **(settings or {})},
            services=["smtp unix - - y - - smtp", "relay unix - - y - - smtp", *services],
            trusted=["127.0.0.1/32"],
            chroot=True,
            installation=installation,
        )
        self.sender = f"sender@{self.domains[0]}"
        # trust-ad: the C library passes on the AD bit that DANE hangs on.
        (self.queue_directory / "etc/resolv.conf").write_text(f"nameserver {nameserver}\noptions trust-ad edns0\n")
        self.policy_socket.parent.mkdir(mode=0o755)
        if ca_file is not None:
            # smtp(8) reads it before the chroot, but in another installation no file of ours is to be seen.
            copied = self.base / "ca.pem"
            copied.write_bytes(ca_file.read_bytes())
            copied.chmod(0o644)
            self._settings["smtp_tls_CAfile"] = str(copied)

    @property
    def policy_socket(self) -> Path:
        """Where the policy daemon listens that `POLICY_MAP` and `POLICY_MAP_TLSRPT` name."""
        return self.queue_directory / POLICY_SOCKET

    def deliver(self, rcpt: str, *, utf8: bool = False) -> Fate:
        """Send a message and wait for its first try. utf8: the address needs SMTPUTF8 (RFC 6531)."""
        mark = self.log.mark()
        message = f"From: {self.sender}\nTo: {rcpt}\nSubject: number {next(_numbers)}\n\nhello\n"
        exchange = self.send(
            message.encode(), mail_from=self.sender, rcpts=[rcpt], client_ip="", mail_params=["SMTPUTF8"] * utf8
        )
        if not exchange.accepted:
            raise AssertionError(f"{rcpt} was not taken: {exchange}")
        return self._fate(exchange.queue_id, rcpt, mark)

    def retry(self, fate: Fate, rcpt: str) -> Fate:
        """Try a deferred message again and wait for what comes of it."""
        self.wait_queued(fate.queue_id, "deferred")
        mark = self.log.mark()
        self._queue_tool("postqueue", "-i", fate.queue_id)
        return self._fate(fate.queue_id, rcpt, mark)

    def _fate(self, queue_id: str, rcpt: str, mark: int) -> Fate:
        found = self.log.wait(rf"{queue_id}: to=<{re.escape(rcpt)}>, {_FATE}", after=mark)
        relay = found["relay"].removeprefix("relay=").partition("[")[0]
        return Fate(queue_id, found["status"], found["dsn"], found["text"], relay, self.log.text(mark))
