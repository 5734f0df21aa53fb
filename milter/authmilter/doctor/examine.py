"""Facts read, rules asked, one section for each area: the whole of `authmilter doctor`."""

from __future__ import annotations

from pathlib import Path

from authmilter.doctor import read
from authmilter.doctor.brands import judge_brands
from authmilter.doctor.keys import judge_keys
from authmilter.doctor.names import judge_names
from authmilter.doctor.parameters import judge_parameters
from authmilter.doctor.reports import judge_reports
from authmilter.doctor.wiring import clients, judge_wiring
from authmilter.settings import Settings
from mailcommon.doctor.clock import judge_clock, read_clock
from mailcommon.doctor.daemon import judge_daemon, judge_reach
from mailcommon.doctor.findings import Section, unseen
from mailcommon.doctor.postconf import PostconfError, read_postfix
from mailcommon.doctor.resolver import judge_resolver
from mailcommon.doctor.resolver_facts import read_resolver


def examine(settings: Settings, file: Path | None, postfix_config: str) -> tuple[Section, ...]:
    """Everything that is to be said. `file`: the settings file, None for the defaults."""
    daemon = read.daemon_facts(settings, file)
    host = (
        Section("daemon", judge_daemon(daemon)),
        Section("resolver", judge_resolver(read_resolver(settings.dns.for_resolver()), dnssec=False)),
        Section("clock", judge_clock(read_clock())),
        Section("keys", judge_keys(read.key_facts(settings))),
        Section("reports", judge_reports(settings, *read.report_facts(settings, daemon))),
        Section("bimi", judge_brands(settings.bimi)),
    )
    try:
        postfix = read_postfix(postfix_config)
    except PostconfError as fault:
        return (Section("postfix", (unseen("postconf", str(fault)),)), *host)
    mail = read.mail_facts(settings, postfix)
    reach = judge_reach(daemon, clients(mail), mail.postfix_user, postfix.queue_directory)
    return (
        Section("postfix", (*judge_wiring(mail), *judge_parameters(mail))),
        Section("socket", reach),
        Section("names", judge_names(read.name_facts(settings, postfix))),
        *host,
    )
