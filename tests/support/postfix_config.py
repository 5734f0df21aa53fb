"""Text of main.cf and master.cf for a private Postfix that keeps to the loopback address and to its own directories.

Pure text, no I/O. What each setting is for stands beside it. All mail, whoever it is for, ends in one Maildir through
virtual(8), so that it can be read as delivered and nothing leaves the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

HOSTNAME = "mx.home.example"

# One line per service: name, type, private, unprivileged, chroot ("C" = as the caller wants), wake-up, limit, command.
_SERVICES = """\
pickup unix n - C 60 1 pickup
cleanup unix n - C - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - C 1000? 1 tlsmgr
rewrite unix - - C - - trivial-rewrite
bounce unix - - C - 0 bounce
defer unix - - C - 0 bounce
trace unix - - C - 0 bounce
flush unix n - C 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - C - - showq
error unix - - C - - error
retry unix - - C - - error
discard unix - - C - - discard
virtual unix - n n - - virtual
anvil unix - - C - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def main_cf(
    base: Path,
    *,
    milter: str,
    local_milter: str,
    domains: Sequence[str],
    trusted: Sequence[str],
    mail_uid: int,
    mail_gid: int,
    settings: Mapping[str, str],
) -> str:
    """The text of main.cf below the directory `base`; `settings` come last and win."""
    values = {
        "compatibility_level": "3.6",
        "queue_directory": f"{base}/q",
        "data_directory": f"{base}/d",
        "maillog_file": f"{base}/l/maillog",
        "maillog_file_prefixes": f"{base}/l",
        "myhostname": HOSTNAME,
        "myorigin": domains[0],
        "smtpd_banner": f"$myhostname ESMTP $mail_name {base.name}",  # tells this instance from another
        "mydestination": "",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "all",  # for XCLIENT with IPv6 addresses; nothing listens on one
        "mynetworks": " ".join(trusted),
        # No look-up leaves this machine.
        "smtpd_peername_lookup": "no",
        "smtp_host_lookup": "native",
        "smtp_dns_support_level": "disabled",
        # Everything is delivered to one Maildir, bounces and outgoing mail too.
        "virtual_mailbox_domains": " ".join(domains),
        "virtual_mailbox_base": f"{base}/m",
        "virtual_mailbox_maps": "static:inbox/",
        "virtual_uid_maps": f"static:{mail_uid}",
        "virtual_gid_maps": f"static:{mail_gid}",
        "virtual_mailbox_limit": "0",
        "default_transport": "virtual",
        "relay_transport": "virtual",
        "alias_maps": "",
        "local_recipient_maps": "",
        "notify_classes": "",
        "biff": "no",
        "append_dot_mydomain": "no",
        # The tests play any client.
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
        # By default who connects from 127.0.0.1 gets missing header fields added, whoever XCLIENT makes of them.
        "local_header_rewrite_clients": "permit_mynetworks, permit_sasl_authenticated",
        "smtpd_client_connection_count_limit": "0",
        # Postfix makes clients wait after errors and when mail comes in faster than it goes out.
        "smtpd_error_sleep_time": "0",
        "smtpd_soft_error_limit": "1000",
        "smtpd_hard_error_limit": "1000",
        "smtpd_junk_command_limit": "1000",
        "in_flow_delay": "0",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": "private/auth",
        "smtpd_tls_security_level": "none",
        "smtpd_milters": milter,
        "non_smtpd_milters": local_milter,
        # as conf/main.cf.authmilter has it; newer versions would hang up on a client while the milter is not there yet
        "milter_default_action": "tempfail",
        **settings,
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def master_cf(
    ports: Mapping[str, int], listeners: Mapping[str, Mapping[str, str]], *, chroot: bool, services: Sequence[str]
) -> str:
    """The text of master.cf: one smtpd(8) per listener with its own settings, the rest of Postfix, and `services`."""
    flag = "y" if chroot else "n"
    lines = []
    for name, port in ports.items():
        lines.append(f"127.0.0.1:{port} inet n - {flag} - - smtpd -o syslog_name=postfix/{name}")
        lines += [f"  -o {{ {key} = {value} }}" for key, value in listeners[name].items()]
    return "\n".join([*lines, _SERVICES.replace(" C ", f" {flag} ").rstrip("\n"), *services, ""])
