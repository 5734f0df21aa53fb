"""A TLS report by mail is signed by the milter in its way, as RFC 8460 §3 demands, and passes where it arrives."""

from __future__ import annotations

import datetime
import email
import email.policy
import time
from collections.abc import Callable
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailcommon.store import open_store
from tests.support.dkim_signer import dns_record, make_key
from tests.support.gate import Gate
from tests.support.senders import OPTIONS
from tests.support.unbound import PrivateUnbound
from tlspolicyd import report_commands
from tlspolicyd.settings import Settings
from tlspolicyd.tlsrpt import tables
from tlspolicyd.tlsrpt.counts import Count, Row
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, PolicyType
from tlspolicyd.tlsrpt.tables import Batch

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

BOX = "tls@home.example"
DOMAIN = "reported.example"
DAY = datetime.date(2026, 11, 27)
ZONE = f'_smtp._tls.{DOMAIN}. 300 IN TXT "v=TLSRPTv1; rua=mailto:{BOX}"\n'


def test_tlsrpt_6_8_signed(
    gate_factory: Callable[..., Gate], unbound_factory: Callable[..., PrivateUnbound], tmp_path: Path
) -> None:
    key = make_key("rsa")
    record = dns_record(key)
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    dns = unbound_factory(ZONE, options=OPTIONS)
    identity = {"domain": "home.example", "selector": "r1", "file": str(file)}
    sign = {"keys": {"reports": identity}, "table": {"home.example": ["reports"]}}
    gate = gate_factory(settings={"workers": 1, "sign": sign}, dns=dns, trusted=("127.0.0.0/8",))

    store = open_store(f"sqlite:{tmp_path}/reports.db", [tables.SCHEMA])
    rows = (Row(DAY, DOMAIN, AppliedPolicy(PolicyType.NONE, DOMAIN), Count(3)),)
    tables.write(store, Batch("w", 1, rows), time.time())
    store.close()
    tlsrpt = {"store": f"sqlite:{tmp_path}/reports.db", "contact": "tls-reports@home.example", "keep": 3650.0}
    tlsrpt["smtp"] = f"127.0.0.1:{gate.postfix.ports['smtp']}"
    settings = Settings.model_validate({"dns": {"nameservers": [dns.address]}, "tlsrpt": tlsrpt})
    later = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC).timestamp()
    assert report_commands.send(settings, clock=lambda: later) == "1 reports made, 1 sent"

    (delivered,) = gate.postfix.wait_delivered(BOX)
    message = email.message_from_bytes(delivered.message, policy=email.policy.default)
    signature = "".join(str(message["DKIM-Signature"]).split())
    tags = dict(tag.split("=", 1) for tag in signature.rstrip(";").split(";"))
    assert tags["d"] == "home.example"
    assert "l" not in tags  # RFC 8460 §3: no l=
    signed = tags["h"].lower().split(":")
    assert {"tls-report-domain", "tls-report-submitter"} <= set(signed)  # RFC 8460 §5.3
    asked: list[bytes] = []

    def find(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record.encode()

    verifier = dkim.DKIM(delivered.message.replace(b"\n", b"\r\n"))
    assert verifier.verify(dnsfunc=find)
    assert asked == [b"r1._domainkey.home.example."]
