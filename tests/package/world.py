"""What the machine stands in: a resolver with three domains, Postfix as Debian sets it up, a host that takes mail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.package.machine import Machine
from tests.package.tree import Tree

ALICE = "alice@home.example"
GOOD, FORGED, ELSEWHERE = "news@good.example", "ceo@bank.example", "bob@out.example"
_CONF = Path(__file__).parent.parent.parent / "conf"

_UNBOUND = """server:
    chroot: ""
    module-config: "iterator"
    use-syslog: yes
    local-zone: "." static
    local-data: 'good.example. TXT "v=spf1 ip4:192.0.2.10 -all"'
    local-data: '_dmarc.good.example. TXT "v=DMARC1; p=reject; rua=mailto:alice@home.example"'
    local-data: 'good.example._report._dmarc.home.example. TXT "v=DMARC1"'
    local-data: "good.example. MX 10 mail.good.example."
    local-data: "mail.good.example. A 192.0.2.10"
    local-data: 'bank.example. TXT "v=spf1 -all"'
    local-data: '_dmarc.bank.example. TXT "v=DMARC1; p=reject"'
    local-data: "bank.example. MX 10 mail.good.example."
    local-data: "out.example. MX 10 mx.out.example."
    local-data: "mx.out.example. A 192.0.2.20"
"""
_SETTINGS = {
    "myhostname": "mx.home.example",
    "mydestination": "home.example, localhost",
    "mynetworks": "127.0.0.0/8",
    "inet_interfaces": "127.0.0.1, 192.0.2.10",
    "inet_protocols": "ipv4",
}
_ADDRESSES = """[Unit]
Description=addresses for strangers to come to
DefaultDependencies=no
Before=network-pre.target postfix.service postfix@-.service sink.service authmilter.service tlspolicyd.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip link set lo up && ip address add 192.0.2.10/32 dev lo && ip address add 192.0.2.20/32 dev lo'
[Install]
WantedBy=sysinit.target
"""
_SINK = """[Unit]
Description=takes mail for out.example
[Service]
ExecStart=/usr/sbin/smtp-sink -u nobody 192.0.2.20:25 10
[Install]
WantedBy=multi-user.target
"""


def furnish(tree: Tree) -> None:
    """Write it all into the tree before it is booted."""
    tree.write("/etc/unbound/unbound.conf", _UNBOUND)
    tree.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    tree.write("/etc/systemd/system/sink.service", _SINK)
    tree.write("/etc/systemd/system/addresses.service", _ADDRESSES)
    tree.chroot("systemctl", "enable", "sink.service", "addresses.service")
    tree.chroot("useradd", "--create-home", "alice")
    if not tree.path("/etc/postfix/main.cf").exists():
        tree.chroot("cp", "/usr/share/postfix/main.cf.debian", "/etc/postfix/main.cf")
    tree.chroot("postconf", "-e", *(f"{key} = {value}" for key, value in _SETTINGS.items()))


def publish(tree: Tree, name: str, strings: Sequence[str]) -> None:
    """One more TXT record; the resolver must be restarted."""
    text = " ".join(f'"{each}"' for each in strings)
    with tree.path("/etc/unbound/unbound.conf").open("a") as file:
        file.write(f"    local-data: '{name}. TXT {text}'\n")


def wiring(name: str, postfix: tuple[int, ...]) -> dict[str, str]:
    """The lines of conf/main.cf.NAME for this Postfix."""
    lines = [line.partition("=") for line in (_CONF / f"main.cf.{name}").read_text().splitlines() if line[:1].isalpha()]
    found = {key.strip(): value.strip() for key, _, value in lines}
    if "smtp_tls_policy_maps" in found and postfix >= (3, 10):
        found["smtp_tls_policy_maps"] += "-tlsrpt"
    return found


def mailbox(machine: Machine) -> str:
    """Alice's mail."""
    path = machine.tree.path("/var/mail/alice")
    return path.read_text("utf-8", "replace") if path.exists() else ""


def sends_out(machine: Machine) -> str:
    """How Postfix's delivery to another host ends: "sent", "deferred", ..."""
    before = machine.journal("postfix*").count(f"to=<{ELSEWHERE}>")
    machine.run("sh", "-c", f"printf 'Subject: out\\n\\nhello\\n' | sendmail -f alice@home.example {ELSEWHERE}")
    lines: list[str] = []

    def delivered() -> bool:
        lines[:] = [line for line in machine.journal("postfix*").splitlines() if f"to=<{ELSEWHERE}>" in line]
        return len(lines) > before

    machine.wait(delivered, "a delivery to another host")
    return lines[-1].partition("status=")[2].partition(" ")[0]
