"""A report mail from end to end: made, signed by the milter, and verified where it arrives (RFC 9990 §3.5.2)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

import dkim
import pytest

from authmilter.dkim.check import DkimCheck
from authmilter.dkim.settings import DkimSettings
from authmilter.dmarc.evaluate import evaluate
from authmilter.facts import DmarcResult, SpfFact, SpfResult
from authmilter.reports import ledger, sending
from authmilter.reports.ledger import DAY, Key
from authmilter.reports.observation import observations
from authmilter.reports.settings import Reports
from mailcommon.outbox import HANDOVER
from mailcommon.store import open_store
from tests.postfix.test_reports import NOW, TODAY, Quiet
from tests.support.dkim_signer import split_message
from tests.support.gate import Gate
from tests.support.report_rows import ACCEPT, dmarc, message, tags
from tests.support.signing import Keys
from tests.support.zone_resolver import ZoneResolver

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]


def test_report_mail_passes_dmarc(gate_factory: Callable[..., Gate], tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    store = f"sqlite:{tmp_path}/reports.db"
    settings = {
        "workers": 1,
        "reports": {"store": store, "email": "dmarc@home.example"},
        **keys.tables({"main": ("home.example", "s1", "rsa")}, {"home.example": ["main"]}),
    }
    gate = gate_factory(settings=settings, trusted=("127.0.0.0/8",))
    kept = open_store(store, sending.SCHEMAS)
    fact = dmarc(published=tags(rua=("mailto:dmarc@shop.example",)))
    ((published, row),) = observations(message(fact), ACCEPT)
    ledger.write(kept, secrets.token_hex(8), {Key(TODAY - 1, published, row): 7}, NOW)
    reports = Reports(store=store, email="dmarc@home.example", smtp=f"127.0.0.1:{gate.postfix.ports['smtp']}")
    done = sending.run(reports, kept, ZoneResolver(), lambda: TODAY * DAY + 4000.0, Quiet())
    kept.close()
    assert done.sent.done == 1
    (delivered,) = gate.postfix.wait_delivered("dmarc@shop.example")
    assert delivered.all(HANDOVER) == []
    data = delivered.message.replace(b"\n", b"\r\n")

    def txt(name: bytes, timeout: int = 5) -> bytes:
        return keys.records[name.decode().rstrip(".")].encode()

    assert dkim.verify(data, dnsfunc=txt)
    # the whole of it as the receiver sees it: DMARC passes by the signature alone
    zone = ZoneResolver('_dmarc.home.example 60 IN TXT "v=DMARC1; p=reject; adkim=s"')
    for name, text in keys.records.items():
        zone._add(f'{name} 60 IN TXT "{text}"')
    fields, body = split_message(data)
    check = DkimCheck(fields, DkimSettings(), time.time())
    check.body(body)
    facts = check.finish(zone)
    assert [(each.domain, each.result.value) for each in facts] == [("home.example", "pass")]
    assert HANDOVER.lower() not in facts[0].signed
    spf = SpfFact("mfrom", SpfResult.FAIL, "home.example", "dmarc@home.example")
    assert evaluate("home.example", [spf], facts, zone).result is DmarcResult.PASS
