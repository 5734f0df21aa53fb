"""Facts read, rules asked, one section for each area: the whole of `tlspolicyd doctor`."""

from __future__ import annotations

from pathlib import Path

from mailcommon.doctor.clock import judge_clock, read_clock
from mailcommon.doctor.daemon import DaemonFacts, judge_daemon, judge_reach
from mailcommon.doctor.findings import Section, unseen
from mailcommon.doctor.postconf import PostconfError, read_postfix
from mailcommon.doctor.postfix import Postfix
from mailcommon.doctor.resolver import judge_resolver
from mailcommon.doctor.resolver_facts import read_resolver
from tlspolicyd.doctor import read
from tlspolicyd.doctor.facts import Outgoing
from tlspolicyd.doctor.keeping import judge_cache, judge_page
from tlspolicyd.doctor.maps import clients, judge_maps
from tlspolicyd.doctor.tls import judge_fetching, judge_tls
from tlspolicyd.doctor.tlsrpt import judge_tlsrpt
from tlspolicyd.settings import Settings


def examine(settings: Settings, file: Path | None, postfix_config: str) -> tuple[Section, ...]:
    """Everything that is to be said. `file`: the settings file, None for the defaults."""
    daemon = read.daemon_facts(settings, file)
    postfix: Postfix | None = None
    of_postfix: tuple[Section, ...]
    try:
        postfix = read_postfix(postfix_config)
        of_postfix = (
            *_of_postfix(read.outgoing_facts(settings, postfix), daemon),
            Section("reports", judge_tlsrpt(postfix, read.report_facts(settings, daemon))),
        )
    except PostconfError as fault:
        of_postfix = (Section("postfix", (unseen("postconf", str(fault)),)),)
    sts = settings.sts
    fetching = judge_fetching(
        read.ca_file(sts.ca_file) if sts.ca_file else None,
        sts.https_port,
        allow_private_addresses=sts.allow_private_addresses,
    )
    resolver = read_resolver(settings.dns.for_resolver(), postfix)
    return (
        *of_postfix,
        Section("daemon", judge_daemon(daemon)),
        Section("resolver", judge_resolver(resolver, dnssec=settings.dane.enabled)),
        Section("policies", (*fetching, *judge_cache(read.store_facts(settings, daemon)))),
        Section("metrics", judge_page(read.page_facts(settings, daemon))),
        Section("clock", judge_clock(read_clock())),
    )


def _of_postfix(out: Outgoing, daemon: DaemonFacts) -> tuple[Section, ...]:
    reach = judge_reach(daemon, clients(out), out.postfix_user, out.postfix.queue_directory)
    return (Section("postfix", (*judge_maps(out), *judge_tls(out))), Section("socket", reach))
