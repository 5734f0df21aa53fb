"""TLS reports from end to end: a real Postfix 3.10 delivers to hosts with every defect, and the reports arrive by mail.

The domain's name is its case; `tests.support.report_world` has the table of what each report has to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.outbound import Outbound
from tests.support.postfix_installation import Installation
from tests.support.report_world import (
    BOX,
    BROKEN_BOX,
    BY_DATAGRAMS,
    CONTACT,
    FAULTS,
    REPORTING,
    Told,
    counted,
    declare,
    deliver_all,
    read_report,
    send,
    summary,
    wait_counted,
)
from tests.support.sending_postfix import POLICY_MAP_TLSRPT
from tests.support.waiting import wait_until
from tests.test_tlspolicyd.tlsrpt_schema import check

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

Reports = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def world(debian_13: Installation, outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    made = outbound(installation=debian_13, policy_map=POLICY_MAP_TLSRPT, postfix_settings=REPORTING, faults=FAULTS)
    declare(made)
    made.use_reports(CONTACT)
    with made:
        deliver_all(made)
        wait_counted(made, BY_DATAGRAMS)
        yield made


@pytest.fixture(scope="module")
def reports(world: Outbound) -> Reports:
    """Domain -> what came in its report."""
    expected = sum(1 for told in BY_DATAGRAMS.values() if told)
    assert send(world) == f"{expected} reports made, {expected} sent"
    mails = wait_until(
        lambda: found if len(found := world.hosts.find(BOX)) == expected else None,
        "the reports",
        timeout=60.0,
        context=lambda: world.postfix.log.text()[-4000:],
    )
    return {str(message["TLS-Report-Domain"]): told for message, told in (read_report(m.message) for m in mails)}


@pytest.mark.parametrize("name", BY_DATAGRAMS)
def test_the_report_says_what_happened(reports: Reports, name: str) -> None:
    told: tuple[Told, ...] = BY_DATAGRAMS[name]
    if not told:
        assert f"{name}.example" not in reports
        return
    assert summary(reports[f"{name}.example"]) == tuple(sorted(told, key=str))


def test_tlsrpt_16_17_every_report_fits_the_schema(reports: Reports) -> None:
    for told in reports.values():
        check(told)


def test_tlsrpt_19_policy_strings(reports: Reports) -> None:
    (policy,) = reports["enforce-good.example"]["policies"]
    assert policy["policy"] == {
        "policy-type": "sts",
        "policy-string": ["version: STSv1", "mode: enforce", "mx: mx.enforce-good.example", "max_age: 86400"],
        "policy-domain": "enforce-good.example",
        "mx-host": ["mx.enforce-good.example"],
    }
    (tested,) = reports["testing-starttls-broken.example"]["policies"]
    assert "mode: testing" in tested["policy"]["policy-string"]
    (invalid,) = reports["invalid.example"]["policies"]
    assert invalid["policy"]["policy-string"] == ["version: STSv1", "mode: enforce", "max_age: 1000"]
    (tlsa,) = reports["dane-nomatch.example"]["policies"]
    assert tlsa["policy"]["policy-string"] == [f"3 0 1 {'AB' * 32}"]
    assert tlsa["policy"]["policy-domain"] == "mx.dane-nomatch.example"  # RFC 8460 §1.1: the TLSA base domain


def test_tlsrpt_18_policy_domain_without_a_policy(reports: Reports) -> None:
    (policy,) = reports["nopol-good.example"]["policies"]
    assert policy["policy"]["policy-domain"] == "nopol-good.example"


def test_tlsrpt_21_23_failure_details(reports: Reports, world: Outbound) -> None:
    (policy,) = reports["enforce-self-signed.example"]["policies"]
    assert policy["failure-details"] == [
        {
            "result-type": "certificate-not-trusted",
            "sending-mta-ip": "127.0.0.1",
            "receiving-mx-hostname": "mx.enforce-self-signed.example",
            "receiving-mx-helo": "mx.enforce-self-signed.example",
            "receiving-ip": world.hosts.hosts["mx.enforce-self-signed.example"].address,
            "failure-reason-code": "self-signed_certificate",
            "failed-session-count": 1,
        }
    ]


def test_tlsrpt_26_several_policies(reports: Reports) -> None:
    policies = reports["two.example"]["policies"]
    assert [policy["policy"]["policy-domain"] for policy in policies] == ["mx1.two.example", "mx2.two.example"]


def test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported(
    reports: Reports, world: Outbound
) -> None:
    """The policy of the box demands a certificate that is not expired: other mail for it waits, and is counted."""
    assert reports
    fate = world.postfix.deliver(f"u@{BROKEN_BOX}")
    assert fate.status == "deferred", fate.log
    # datagrams and batches come in order: the sessions of the reports would be there by now
    wait_until(lambda: counted(world).get(BROKEN_BOX), "the session", context=world.daemon.log.text)
    assert counted(world)[BROKEN_BOX] == 1


def test_nothing_is_sent_twice(reports: Reports, world: Outbound) -> None:
    assert reports
    before = len(world.hosts.find(BOX))
    assert "sent" in send(world)
    world.postfix.deliver("u@nopol-good.example")
    assert len(world.hosts.find(BOX)) <= before + 1  # at most that of the box itself
