"""docs/moving-from-opendmarc.md: every setting of the peers has its row, and every setting of ours in it exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from authmilter.settings import DomainRules, Settings, SignKey

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "moving-from-opendmarc.md").read_text()

# opendmarc.conf(5) 1.4.2, policyd-spf.conf(5) 3.0.4, openarc.conf(5) and what else its sample file has
PEERS = {
    "opendmarc.conf": """AuthservID AuthservIDWithJobID AutoRestart AutoRestartCount AutoRestartRate Background
        BaseDirectory ChangeRootDirectory CopyFailuresTo DomainWhitelist DomainWhitelistFile DomainWhitelistSize
        DNSTimeout EnableCoredumps FailureReports FailureReportsBcc FailureReportsOnNone FailureReportsSentBy
        HistoryFile HoldQuarantinedMessages IgnoreAuthenticatedClients IgnoreHosts IgnoreMailFrom IgnoreMailTo
        MilterDebug PidFile PublicSuffixList RecordAllMessages RejectFailures RejectMultiValueFrom RejectString
        ReportCommand RequiredHeaders Socket SoftwareHeader SPFIgnoreResults SPFSelfValidate Syslog SyslogFacility
        TrustedAuthservIDs UMask UserID""",
    "policyd-spf.conf": """debugLevel TestOnly HELO_reject HELO_pass_restriction Mail_From_reject
        Mail_From_pass_restriction No_Mail Reject_Not_Pass_Domains PermError_reject TempError_Defer Prospective
        skip_addresses Whitelist HELO_Whitelist Domain_Whitelist Domain_Whitelist_PTR SPF_Enhanced_Status_Codes
        Header_Type Hide_Receiver Authserv_Id Lookup_Time Whitelist_Lookup_Time Void_Limit Mock QueueID Reason_Message
        Per_User Socket PidFile UserID UMask InternalHosts MacroList""",
    "openarc.conf": """AuthservID AutoRestart AutoRestartCount AutoRestartRate Background BaseDirectory Canonicalization
        ChangeRootDirectory Domain EnableCoredumps FinalReceiver FixedTimestamp Include InternalHosts KeepTemporaryFiles
        KeyFile MaximumHeaders MilterDebug Mode OversignHeaders PeerList PermitAuthenticationOverrides PidFile
        RequireSafeKeys SealHeaderChecks Selector SignatureAlgorithm SignHeaders Socket SoftwareHeader Syslog
        SyslogFacility TemporaryDirectory TestKeys UMask UserID""",
}


@pytest.mark.parametrize("peer", PEERS)
def test_every_setting_of_the_peer_has_its_row(peer: str) -> None:
    rows = re.findall(r"^\| (`.*?) \| .* \|$", TEXT.partition(f"## {peer}\n")[2].partition("\n## ")[0], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(PEERS[peer].split())


def keys_of(model: type[BaseModel], table: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys_of(inner, name)
        else:
            found.add(f"[{table}] {name}" if table else name)
    return found


def test_every_setting_of_ours_exists() -> None:
    known = keys_of(Settings)
    names = {name.rpartition(" ")[2] for name in known} | {*DomainRules.model_fields, *SignKey.model_fields}
    for section in TEXT.split("\n## ")[3:]:
        for cell in re.findall(r"^\| `.*?` \| (.*?) \| .*\|$", section, re.MULTILINE):
            for word in re.findall(r"`([^`]+)`", cell):
                key = word.partition(" =")[0]
                assert key in known or key in names or re.match(r"\[(dmarc\.domains|sign\.keys)\.", key), word
    for word in re.findall(r"`(\[\w+\] \w+)`", TEXT):
        assert word in known
