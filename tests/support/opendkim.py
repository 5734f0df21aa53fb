"""A real opendkim that signs or verifies, spoken to as Postfix would; its key records come from a file, not from DNS.

    with OpenDkim({"s1._domainkey.example.org": dns_record(key)}) as peer:
        peer.results(message)                           # ["pass"]
    with OpenDkim(sign=Signer("example.org", "s1", key)) as peer:
        signed = peer.sign(message)

Diagnostics: `Unavailable` if opendkim is not installed, `StartFailed` with its output if it does not come up.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.dkim_signer import PrivateKey
from tests.support.milter_client import MilterClient, Outcome
from tests.support.processes import ServerProcess, StartFailed, Unavailable, find_program
from tests.support.waiting import LogFile, TimedOut, wait_until

_ID = "mx.peer.example"


def missing() -> str:
    """Why opendkim cannot run here, "" if it can."""
    try:
        find_program("opendkim", "opendkim")
    except Unavailable as problem:
        return str(problem)
    return ""


@dataclass(frozen=True, slots=True)
class Signer:
    """As whom opendkim signs."""

    domain: str
    selector: str
    key: PrivateKey
    algorithm: str = "rsa-sha256"
    canonicalization: str = "relaxed/relaxed"


class OpenDkim:
    """One opendkim. `start()` and `stop()`, or use it as a context manager."""

    def __init__(self, keys: Mapping[str, str] | None = None, sign: Signer | None = None) -> None:
        """keys: records by name, for a verifier. sign: makes it a signer."""
        self.base = Path(tempfile.mkdtemp(prefix="gatepost-opendkim-", dir="/tmp"))
        self.log = LogFile(self.base / "log")
        self._process: ServerProcess | None = None
        self.socket = self.base / "socket"
        lines = [f"Socket local:{self.socket}", "Syslog no", "Background no", f"AuthservID {_ID}"]
        if sign:
            key = self.base / "key.pem"
            key.write_bytes(sign.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            key.chmod(0o600)
            lines += ["Mode s", f"Domain {sign.domain}", f"Selector {sign.selector}", f"KeyFile {key}"]
            lines += [f"SignatureAlgorithm {sign.algorithm}", f"Canonicalization {sign.canonicalization}"]
            lines += ["InternalHosts 0.0.0.0/0", "OversignHeaders From", "RequireSafeKeys no"]
        else:
            data = self.base / "dns"
            data.write_text("".join(f"{name} {record}\n" for name, record in (keys or {}).items()))
            lines += ["Mode v", f"TestDNSData file:{data}", "AlwaysAddARHeader yes"]
        (self.base / "conf").write_text("\n".join([*lines, ""]))

    def start(self) -> None:
        """Start and wait until it answers."""
        try:
            program = find_program("opendkim", "opendkim")
            self._process = ServerProcess([program, "-f", "-x", self.base / "conf"], output=self.log.path)
            wait_until(self._answers, "opendkim's answer", timeout=10.0, context=self.log.text)
        except TimedOut as problem:
            self.stop()
            raise StartFailed(str(problem)) from None
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self._process is not None
        self._process.require_alive()
        try:
            MilterClient(f"unix:{self.socket}", timeout=5.0).quit()
        except OSError:
            return False
        return True

    def pass_through(self, message: bytes) -> Outcome:
        """What it does with a message with CRLF lines."""
        client = MilterClient(f"unix:{self.socket}", timeout=30.0)
        try:
            client.open(ip="192.0.2.1", helo="client.example")
            return client.send(message, mail_from="a@example.org", rcpts=["b@home.example"])
        finally:
            client.quit()

    def results(self, message: bytes) -> list[str]:
        """The results that it writes about the signatures of a message, in its order."""
        outcome = self.pass_through(message)
        fields = [value for value in outcome.all("Authentication-Results") if value.strip().startswith(_ID)]
        return re.findall(r"\bdkim=(\w+)", " ".join(fields))

    def sign(self, message: bytes) -> bytes:
        """The message with its signature on top."""
        found = self.pass_through(message).all("DKIM-Signature")
        assert found, self.log.text()
        return b"DKIM-Signature:" + found[0].encode("latin-1").replace(b"\n", b"\r\n") + b"\r\n" + message

    def stop(self) -> None:
        """Stop and remove the directory. May be called twice."""
        if self._process is not None:
            self._process.kill()  # libmilter takes seconds to stop
            self._process.stop()
            self._process = None
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
