"""TLS reports from the log of a real Postfix that tells nothing by datagrams: 3.7, and 3.10 left as an older one is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.outbound import Outbound
from tests.support.postfix_installation import HOST, Installation
from tests.support.report_world import (
    BOX,
    BROKEN_BOX,
    BY_LOG,
    CONTACT,
    FAULTS,
    NOTHING,
    Told,
    bad,
    counted,
    declare,
    deliver_all,
    read_report,
    send,
    summary,
    wait_counted,
)
from tests.support.sending_postfix import POLICY_MAP
from tests.support.waiting import wait_until
from tests.test_tlspolicyd.tlsrpt_schema import check

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

# A transport for the reports alone: no policy, no TLS that must be, and a name by which the log reader knows it
REPORTS_OUT = """\
tlsrpt unix - - y - - smtp
  -o syslog_name=postfix/tlsrpt
  -o smtp_tls_security_level=may
  -o smtp_tls_policy_maps="""
SETTINGS = {"sender_dependent_default_transport_maps": f"inline:{{ {{ {CONTACT} = tlsrpt: }} }}"}


# The plain map defers mail for a policy without any host, and looks at the names in certificates alone
EXPECTED = {**BY_LOG, "no-usable-mx": NOTHING, "outside": bad("sts", "certificate-host-mismatch")}


@pytest.fixture(scope="module", params=[HOST, "debian_13"], ids=["host", "3.10"])
def world(request: pytest.FixtureRequest, outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    installation = request.param
    if not isinstance(installation, Installation):
        installation = request.getfixturevalue(installation)
    made = outbound(
        installation=installation,
        policy_map=POLICY_MAP,
        faults=FAULTS,
        postfix_settings=SETTINGS,
        services=[REPORTS_OUT],
    )
    declare(made)
    made.use_reports(CONTACT, log="maillog")
    with made:
        deliver_all(made)
        wait_counted(made, EXPECTED)
        yield made


@pytest.fixture(scope="module")
def reports(world: Outbound) -> dict[str, dict[str, Any]]:
    wanted = sum(1 for told in EXPECTED.values() if told)
    assert send(world) == f"{wanted} reports made, {wanted} sent"
    mails = wait_until(
        lambda: found if len(found := world.hosts.find(BOX)) == wanted else None,
        "the reports",
        timeout=60.0,
        context=lambda: world.postfix.log.text()[-4000:],
    )
    return {str(message["TLS-Report-Domain"]): told for message, told in (read_report(m.message) for m in mails)}


@pytest.mark.parametrize("name", BY_LOG)
def test_the_report_says_what_the_log_says(world: Outbound, reports: dict[str, dict[str, Any]], name: str) -> None:
    told: tuple[Told, ...] = EXPECTED[name]
    if not told:
        assert f"{name}.example" not in reports
        return
    report = reports[f"{name}.example"]
    assert summary(report) == tuple(sorted(told, key=str))
    check(report)


def test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported(
    reports: dict[str, dict[str, Any]], world: Outbound
) -> None:
    """What the transport for reports does: other mail for the box waits, and is counted alone."""
    assert reports
    assert world.postfix.deliver(f"u@{BROKEN_BOX}").status == "deferred"
    wait_until(lambda: counted(world).get(BROKEN_BOX), "the session", context=world.daemon.log.text)
    assert counted(world)[BROKEN_BOX] == 1


def test_nothing_is_lost_or_counted_twice_when_the_daemon_is_killed(world: Outbound) -> None:
    name = "enforce-good.example"
    before = counted(world).get(name, 0)
    for number in range(1, 4):
        world.postfix.deliver(f"u@{name}")
        if number == 2:
            wait_until(lambda: counted(world).get(name, 0) >= before + 1, "what was counted before")
            world.daemon.restart()  # by SIGKILL
    wait_until(lambda: counted(world).get(name, 0) >= before + 3, "all of it", context=world.daemon.log.text)
    assert counted(world)[name] == before + 3


def test_the_log_is_rotated_while_nobody_reads(world: Outbound) -> None:
    name = "unsigned.example"
    before = counted(world).get(name, 0)
    world.postfix.deliver(f"u@{name}")
    world.daemon.process.kill()  # most likely before this was written
    path = world.postfix.log.path
    path.rename(f"{path}.1")
    installation, configuration = world.postfix.installation, str(world.postfix.config_directory)
    subprocess.run(installation.command("postfix", "-c", configuration, "reload"), check=True, capture_output=True)

    def in_the_new_file() -> bool:
        with world.postfix.session(client_ip=""):
            return path.exists()

    wait_until(in_the_new_file, "a new log", interval=0.1)
    world.daemon.start()
    world.postfix.deliver(f"u@{name}")
    wait_until(lambda: counted(world).get(name, 0) >= before + 2, "both", context=world.daemon.log.text)
    assert counted(world)[name] == before + 2
