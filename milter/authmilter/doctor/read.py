"""Reads the host for `authmilter doctor`. All I/O of it is here and in mailcommon.doctor; nothing is changed.

Limits: DNS questions of `[dns] timeout` each, three seconds for the daemon, ten for each postconf(1).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from authmilter import key_commands
from authmilter.doctor.facts import Mail, Names, SigningKeys
from authmilter.doctor.filters import Does, filter_at
from authmilter.doctor.negotiate import negotiate
from authmilter.settings import Settings
from mailcommon.dns.resolver import DnsResolver
from mailcommon.doctor.daemon import DaemonFacts
from mailcommon.doctor.daemon_facts import read_daemon
from mailcommon.doctor.paths import identity
from mailcommon.doctor.postfix import Postfix, place_of_server, read_milters
from mailcommon.doctor.reporting import SendingFacts, read_sending
from mailcommon.doctor.store_facts import tables_facts
from mailcommon.doctor.stores import StoreFacts

_ETC = Path("/etc")
# filter -> files that may set its name for results, and how that is written there
_NAMES = {
    "opendkim": (("opendkim.conf",), r"(?im)^\s*AuthservID\s+(\S+)"),
    "rspamd": (
        ("rspamd/local.d/milter_headers.conf", "rspamd/override.d/milter_headers.conf"),
        r"""(?m)^\s*authserv[_-]?id\s*=\s*["']?([^"';\s]+)""",
    ),
}
_WITH_HOST_NAME = ("HOSTNAME",)  # opendkim.conf(5)


def mail_facts(settings: Settings, postfix: Postfix) -> Mail:
    """Postfix beside the settings."""
    return Mail(
        postfix=postfix,
        ours=place_of_server(settings.socket),
        signs=bool(settings.sign.table),
        trusted=settings.trust.networks,
        postfix_user=identity(postfix.get("mail_owner") or "postfix"),
    )


def name_facts(settings: Settings, postfix: Postfix, etc: Path = _ETC) -> Names:
    """Whose results carry which name; `etc` is where other filters have their files."""
    words = read_milters(f"{postfix.get('smtpd_milters')} {postfix.get('non_smtpd_milters')}")
    others = {}
    for known in dict.fromkeys(filter_at(word.address) for word in words):
        if known.does is Does.VERIFIES or (known.does is Does.SIGNS_TOO and settings.sign.table):
            continue  # is to go anyhow
        if known.name in _NAMES:
            others[known.name] = _name_of(known.name, postfix.get("myhostname"), etc)
    return Names(settings.name(), bool(settings.authserv_id), others)


def _name_of(name: str, myhostname: str, etc: Path) -> str:
    files, pattern = _NAMES[name]
    text = "\n".join(_text(etc / file) for file in files)
    if name == "rspamd" and "authentication-results" not in text:
        return ""  # it writes none unless it is told to
    match = re.search(pattern, text)
    # without a name they take that of the MTA
    return match[1] if match and match[1] not in _WITH_HOST_NAME else myhostname


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def key_facts(settings: Settings) -> SigningKeys:
    """What `authmilter key check` says."""
    if not settings.sign.keys:
        return SigningKeys(False)
    if os.geteuid() != 0 and (reader := identity(settings.user)) and reader.uid != os.geteuid():
        return SigningKeys(True, without_key=f"the keys are for {settings.user} and root alone to read")
    named = {name for names in settings.sign.table.values() for name in names} | {settings.arc.seal}
    unused = tuple(name for name in settings.sign.keys if name not in named)
    try:
        reports = key_commands.check(settings, "", "", DnsResolver(settings.dns.for_resolver()))
    except key_commands.KeyCommandError:
        reports = []  # keys for all domains, which no line of the table names
    return SigningKeys(True, tuple(reports), unused)


def daemon_facts(settings: Settings, file: Path | None) -> DaemonFacts:
    """The daemon itself."""
    return read_daemon("authmilter", settings, file, negotiate)


def report_facts(settings: Settings, daemon: DaemonFacts) -> tuple[StoreFacts, SendingFacts] | tuple[None, None]:
    """DMARC reports, if they are made."""
    reports = settings.reports
    if not reports.store:
        return None, None
    store = tables_facts("[reports] store", reports.store, daemon.runs_as)
    return store, read_sending(reports.smtp, "authmilter-report.timer")
