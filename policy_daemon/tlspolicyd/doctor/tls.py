"""Is Postfix's own TLS what the answers of tlspolicyd rest on? Pure.

Standards: postconf(5), TLS_README; RFC 8461 §4.2 and §7.1, RFC 7672 §2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailcommon.doctor.findings import Finding, Fix, main_cf, mend, mend_by, note, right
from mailcommon.doctor.postfix import Postfix, Service
from tlspolicyd.doctor.facts import CaFile, Outgoing

_SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
_DANE = ("dane", "dane-only")
_USUAL = ("smtp", "relay")
_OLD = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")
# level -> those that protect every domain at least as well. Not encrypt -> dane: without TLSA records that is may
_NO_WEAKER = {
    "none": ("may", "encrypt", "dane", "dane-only", "verify", "secure", "fingerprint"),
    "may": ("encrypt", "dane", "dane-only", "verify", "secure", "fingerprint"),
    "encrypt": ("dane-only", "verify", "secure", "fingerprint"),
    "dane": ("dane-only",),
    "verify": ("secure",),
}


def judge_tls(out: Outgoing) -> tuple[Finding, ...]:
    """The rules."""
    found = [*_level(out), *_dnssec(out), *_authorities(out), *_protocols(out.postfix), *_ways_round(out.postfix)]
    if not any(finding.fixes for finding in found):
        found.insert(0, right("tls", f"TLS of smtp(8) is level {security_level(out.postfix)}, as site_level says"))
    return tuple(found)


def security_level(postfix: Postfix, service: Service | None = None) -> str:
    """What is in force: smtp_tls_security_level, or what older parameters say without it."""
    if level := postfix.get("smtp_tls_security_level", service):
        return level
    if postfix.yes("smtp_enforce_tls", service):
        return "verify" if postfix.yes("smtp_tls_enforce_peername", service) else "encrypt"
    return "may" if postfix.yes("smtp_use_tls", service) else "none"


def _level(out: Outgoing) -> Iterator[Finding]:
    level = security_level(out.postfix)
    if level != out.site_level:
        text = f"smtp_tls_security_level is {level}, site_level in tlspolicyd.toml is {out.site_level}"
        yield _differs(text, level, out.site_level, main_cf("smtp_tls_security_level", out.site_level))
    elif level == "none":
        yield mend_by(
            "security-level",
            "smtp_tls_security_level is none",
            "mail without a policy goes in clear text (set site_level too)",
            main_cf("smtp_tls_security_level", "dane" if out.dane else "may"),
        )
    for service in out.postfix.running("smtp"):
        own = security_level(out.postfix, service)
        if "smtp_tls_security_level" not in service.overrides or own == out.site_level or service.name == "tlsrpt":
            continue
        text = f"{service.label} in master.cf has smtp_tls_security_level={own}, site_level is {out.site_level}"
        if service.name in _USUAL:
            fix = Fix("-P", f"{service.label}/smtp_tls_security_level={out.site_level}")
            yield _differs(text, own, out.site_level, fix)
        else:
            yield note("security-level-service", text, "an answer may be weaker than that level")


def _differs(text: str, level: str, site_level: str, fix: Fix) -> Finding:
    why = "an answer may be weaker than Postfix's own level"
    if site_level in _NO_WEAKER.get(level, ()):
        return mend_by("security-level", text, f"{why} (or set site_level)", fix)
    # no command that is printed may make TLS weaker
    return mend("security-level", text, why, f'site_level = "{level}" in tlspolicyd.toml, and reload it')


def _dnssec(out: Outgoing) -> Iterator[Finding]:
    postfix = out.postfix
    needed = out.dane or security_level(postfix) in _DANE or out.site_level in _DANE
    if not needed:
        return
    support = postfix.get("smtp_dns_support_level")
    if support != "dnssec":
        # RFC 7672 §2.1: DANE needs validated answers; Postfix takes dane-only for an error without
        yield mend_by(
            "dns-support",
            f"smtp_dns_support_level is {support or 'empty'}",
            "Postfix does not look for DANE, and an answer dane-only makes mail wait",
            main_cf("smtp_dns_support_level", "dnssec"),
        )
    lookup = re.split(r"[,\s]+", postfix.get("smtp_host_lookup"))
    if lookup[0] != "dns":
        # names that are in /etc/hosts alone stay reachable
        wanted = "dns, native" if "native" in lookup else "dns"
        yield mend_by(
            "host-lookup",
            f"smtp_host_lookup is {postfix.get('smtp_host_lookup')}",
            "hosts are not looked up in DNS first, so that no answer is validated",
            main_cf("smtp_host_lookup", wanted),
        )


def _authorities(out: Outgoing) -> Iterator[Finding]:
    postfix = out.postfix
    if postfix.yes("tls_append_default_CA"):
        return
    file, folder = postfix.get("smtp_tls_CAfile"), postfix.get("smtp_tls_CApath")
    fix = main_cf("smtp_tls_CAfile", _SYSTEM_CA)
    why = "no certificate can be verified: mail to every domain with MTA-STS waits"
    if not file and not folder:
        yield mend_by("ca-file", "smtp_tls_CAfile is empty", why, fix)
    elif file and out.postfix_ca is not None:
        if fault := _of_file(out.postfix_ca):
            yield mend_by("ca-file", f"smtp_tls_CAfile {file} {fault}", why, fix)
    elif not file and any(service.chroot for service in postfix.running("smtp")):
        yield mend_by(
            "ca-file",
            f"smtp(8) runs chrooted and looks for smtp_tls_CApath below {postfix.queue_directory}",
            "a file is read before the chroot, a directory after it",
            fix,
        )


def _of_file(file: CaFile) -> str:
    if file.fault:
        return f"cannot be read: {file.fault}"
    return "" if file.certificates else "has no certificate in it"


def _protocols(postfix: Postfix) -> Iterator[Finding]:
    value = postfix.get("smtp_tls_mandatory_protocols")
    if not forbids_old(value):
        # RFC 8461 §7.1: TLS 1.2 or newer
        wanted = ">=TLSv1.2" if postfix.version >= (3, 6) else "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"
        yield mend_by(
            "tls-protocols",
            f"smtp_tls_mandatory_protocols is {value or 'empty'}",
            "where TLS is required, TLS 1.1 and older would do",
            main_cf("smtp_tls_mandatory_protocols", wanted),
        )
    ciphers = postfix.get("smtp_tls_mandatory_ciphers").lower()
    if ciphers not in ("medium", "high"):
        yield mend_by(
            "tls-ciphers",
            f"smtp_tls_mandatory_ciphers is {ciphers or 'empty'}",
            "where TLS is required, it would be worth little",
            main_cf("smtp_tls_mandatory_ciphers", "medium"),
        )


def forbids_old(value: str) -> bool:
    """Whether a list of protocols (postconf(5)) leaves only TLS 1.2 and newer."""
    words = [word for word in re.split(r"[\s,:]+", value.lower()) if word]
    old = [name.lower() for name in _OLD]
    for word in words:
        if word.startswith(">="):
            return word[2:] in ("tlsv1.2", "tlsv1.3", "0303", "0304")
    if any(not word.startswith(("!", "<=", ">=")) for word in words):  # those and no others
        return not set(words) & set(old)
    # SSLv2 is built in nowhere any more
    return {f"!{name}" for name in old if name != "sslv2"} <= set(words)


def _ways_round(postfix: Postfix) -> Iterator[Finding]:
    if host := postfix.get("relayhost"):
        yield note("relayhost", f"relayhost is {host}", "all mail goes there: tlspolicyd is asked about it alone")
    if sites := postfix.get("smtp_tls_per_site"):
        text = f"smtp_tls_per_site is {sites}"
        yield note("per-site", text, "with smtp_tls_policy_maps it counts for nothing")
    size = postfix.number("socketmap_max_reply_size")
    if size is not None and size < 100_000:
        text = f"socketmap_max_reply_size is {size}"
        yield mend_by("reply-size", text, "long policies do not fit", main_cf("socketmap_max_reply_size", "100000"))


def judge_fetching(ca_file: CaFile | None, https_port: int, *, allow_private_addresses: bool) -> tuple[Finding, ...]:
    """What fetching policies rests on."""
    found = []
    if ca_file is not None and (fault := _of_file(ca_file)):
        found.append(
            mend(
                "sts-ca-file",
                f"[sts] ca_file {ca_file.path} {fault}",
                "no policy can be fetched",
                'ca_file = "" in [sts] takes the system\'s',
            )
        )
    if https_port != 443:
        # RFC 8461 §3.3: the policy is at the default port of HTTPS
        found.append(
            mend("sts-port", f"[sts] https_port is {https_port}", "policies are at port 443 alone", "https_port = 443")
        )
    if allow_private_addresses:
        found.append(
            note(
                "sts-private",
                "[sts] allow_private_addresses is on",
                "whoever owns a domain can make this host connect to services inside your network",
            )
        )
    return tuple(found)
