"""What is off by default and needs rights, on in the machine: signing, metrics, reports; and what `doctor` says of it.

Diagnostics: `Failed` at the first thing that does not hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.package.machine import Machine
from tests.package.tree import Failed, Tree
from tests.package.world import ALICE, publish

Say = Callable[[str], None]

_STORE = "/var/lib/authmilter/reports.db"
_PYTHON = "/usr/lib/gatepost/bin/python3"
_PAGES = {"authmilter": "127.0.0.1:9321", "tlspolicyd": "127.0.0.1:9320"}
# Of the machine, not of the package: its resolver does not validate, and its clock is that of the host.
_OF_THE_MACHINE = ("--ignore=resolver-not-validating", "--ignore=clock-unsynchronised")
# A command by hand that is killed in the middle: SQLite's files stay open beside the store. A day is over with it.
_KILLED = f"""
import os, sqlite3
link = sqlite3.connect("{_STORE}")
link.execute("PRAGMA journal_mode = WAL")
link.execute("UPDATE dmarc_rows SET day = day - 1")
link.commit()
os._exit(0)
"""


def require(holds: object, what: str) -> None:
    """Raise `Failed` unless it holds."""
    if not holds:
        raise Failed(what)


class Options:
    """`deliver` lets a stranger's good message come in; `mailbox` is what Alice has."""

    def __init__(
        self, machine: Machine, tree: Tree, say: Say, deliver: Callable[[], None], mailbox: Callable[[], str]
    ) -> None:
        self._machine = machine
        self._tree = tree
        self._say = say
        self._deliver = deliver
        self._mailbox = mailbox

    def use(self, wires: dict[str, str]) -> None:
        """All of it; `wires`: what main.cf has for it, more of which may come."""
        self._say("doctor")
        self._set("authmilter", {"log_format": "json", "store": f"sqlite:{_STORE}", "email": "reports@home.example"})
        self._set("tlspolicyd", {"log_format": "json", "contact": "reports@home.example"})
        for daemon, page in _PAGES.items():
            self._set(daemon, {"listen": page})
        self._sign()
        tells = wires["smtp_tls_policy_maps"].endswith("-tlsrpt")  # Postfix 3.10 or newer
        if tells:
            self._tls_reports(wires)
        self._machine.run("systemctl", "restart", "authmilter.service", "tlspolicyd.service")
        self.well()
        self._tells_what_is_wrong()
        self._say("metrics, signatures")
        self._pages()
        self._signs()
        self._reloads()
        self._say("reports")
        self._reports()
        if tells:
            self._machine.run("systemctl", "enable", "--now", "tlspolicyd-report.timer")
            self._machine.run("systemctl", "start", "tlspolicyd-report.service")
            self._machine.run("tlspolicyd", "report", "send")
            require(self._tree.path("/var/lib/tlspolicyd/reports.db").exists(), "no TLS sessions are counted")
            self._only_the_daemons()
        self.well()

    def well(self) -> None:
        """Both daemons' doctor has nothing to mend; a note is no fault."""
        for daemon in _PAGES:
            self._machine.run(daemon, "doctor", *_OF_THE_MACHINE)

    # Steps

    def _set(self, daemon: str, values: dict[str, str]) -> None:
        path = self._tree.path(f"/etc/gatepost/{daemon}.toml")
        text = path.read_text()
        for key, value in values.items():
            text, changed = re.subn(rf'(?m)^{key} = "[^"]*"', f'{key} = "{value}"', text)
            require(changed == 1, f"{key} in {daemon}.toml: {changed} times")
        path.write_text(text)

    def _tls_reports(self, wires: dict[str, str]) -> None:
        path = self._tree.path("/etc/gatepost/tlspolicyd.toml")
        text = path.read_text()
        require(text.count('\nsocket = ""\n') == 1, "tlspolicyd.toml has not one empty socket")
        path.write_text(
            text.replace('\nsocket = ""\n', '\nsocket = "unix:/var/spool/postfix/tlspolicyd/tlsrpt.sock"\n')
        )
        more = {"smtp_tlsrpt_enable": "yes", "smtp_tlsrpt_socket_name": "tlspolicyd/tlsrpt.sock"}
        wires.update(more)
        self._machine.run("postconf", "-e", *(f"{key} = {value}" for key, value in more.items()))
        self._machine.run("postfix", "reload")

    def _sign(self) -> None:
        said = self._machine.run("authmilter", "key", "new", "home.example", "s1")
        record, _, advice = said.partition("The key is in ")
        publish(self._tree, "s1._domainkey.home.example", re.findall(r'"([^"]*)"', record))
        self._machine.run("systemctl", "restart", "unbound.service")
        settings = self._tree.path("/etc/gatepost/authmilter.toml")
        lines = [line for line in advice.splitlines() if re.match(r"\[|\w+ = |\"", line)]
        settings.write_text(settings.read_text() + "\n" + "\n".join(lines) + "\n")
        folder, key = "/etc/gatepost/keys", "/etc/gatepost/keys/home.example.s1.pem"
        shown = self._machine.run("stat", "--format=%U:%G %a", folder, key).splitlines()
        require(shown == ["root:authmilter 750", "root:authmilter 640"], f"rights of keys: {shown}")
        require(self._reads("authmilter", key), "authmilter may not read its key")
        require(not self._reads("tlspolicyd", key), "tlspolicyd may read the keys of authmilter")

    def _reloads(self) -> None:
        """SIGHUP reads settings and keys as the service's user, which root's rights helped with at no time."""
        unit = "authmilter.service"
        pid = self._machine.unit(unit, "MainPID")
        self._set("authmilter", {"log_format": "text"})
        self._machine.run("systemctl", "reload", unit)
        self._machine.wait(lambda: "New settings taken" in self._machine.unit(unit, "StatusText"), "the reload")
        require(self._machine.unit(unit, "MainPID") == pid, "a reload started another process")
        before = len(self._machine.journal(unit))
        self._signs()
        new = self._machine.journal(unit)[before:]
        require("decision=" in new and "{" not in new, f"the log is not text: {new[-500:]}")

    def _reads(self, user: str, name: str) -> bool:
        return self._machine.succeeds("runuser", "--user", user, "--", "cat", name)

    def _findings(self, daemon: str) -> dict[str, str]:
        """What is no praise: its word, its cure."""
        shown = self._machine.run("sh", "-c", f"{daemon} doctor --json {' '.join(_OF_THE_MACHINE)} || true")
        return {each["id"]: each["cure"] for each in json.loads(shown)["findings"] if each["level"] != "ok"}

    def _tells_what_is_wrong(self) -> None:
        """Each fault by its name, and what it says to do works on the packaged layout."""
        timer = self._findings("authmilter").get("reports-timer", "")
        require(timer == "systemctl enable --now authmilter-report.timer", f"cure of a missing timer: {timer!r}")
        self._machine.run(*timer.split())
        require(self._machine.unit("authmilter-report.timer", "ActiveState") == "active", "the timer does not run")
        for daemon in _PAGES:
            units = [f"{daemon}.service"] if daemon == "authmilter" else [f"{daemon}.socket", f"{daemon}.service"]
            self._machine.run("systemctl", "stop", *units)
            cure = self._findings(daemon).get("daemon-down", "")
            require(cure, f"{daemon} doctor sees no fault in a daemon that is stopped")
            self._machine.run(*cure.partition(";")[0].split())
            for unit in units:
                require(self._machine.unit(unit, "ActiveState") == "active", f"{cure}: {unit} is still down")
        require("reports-timer" not in self._findings("authmilter"), "the timer is still missed")
        self.well()

    def _pages(self) -> None:
        self._deliver()
        for daemon, page in _PAGES.items():
            text = self._machine.call("page", f"http://{page}/metrics")
            require(f"# TYPE {daemon}_" in text, f"metrics of {daemon}: {text[:500]}")
        words = r'(?m)^authmilter_\w+\{[^}]*method="dmarc"[^}]*\} [1-9]'
        page = f"http://{_PAGES['authmilter']}/metrics"
        self._machine.wait(lambda: re.search(words, self._machine.call("page", page)), "the message in the metrics")
        lines = self._machine.journal("authmilter.service").splitlines()
        counted = [json.loads(line) for line in lines if line.startswith("{")]
        require(any("decision" in each for each in counted), f"no message in JSON: {lines[-3:]}")

    def _signs(self) -> None:
        before = self._mailbox().count("DKIM-Signature: ")
        text = f"From: {ALICE}\\nSubject: mine\\n\\nhello\\n"
        self._machine.run("sh", "-c", f"printf '{text}' | sendmail -f {ALICE} {ALICE}")
        self._machine.wait(lambda: self._mailbox().count("DKIM-Signature: ") > before, "a signature")

    def _reports(self) -> None:
        """The timer's unit and root by hand on one store with the daemon, which can write to it afterwards too."""
        self._counts()
        self._machine.run("systemctl", "stop", "authmilter.service")
        self._machine.run(_PYTHON, "-I", "-c", _KILLED)
        require(self._tree.path(f"{_STORE}-wal").exists(), "nothing was left open")
        self._only_the_daemons()
        self._machine.run("systemctl", "start", "authmilter.service")
        self._counts()
        self._machine.run("systemctl", "start", "authmilter-report.service")
        self._machine.wait(lambda: "Report Domain: good.example" in self._mailbox(), "the report")
        self._machine.run("authmilter", "report", "send")
        self._only_the_daemons()
        self._counts()
        log = self._machine.journal("authmilter.service")
        require("the store does not answer" not in log, f"the store: {log[-1500:]}")

    def _counted(self) -> int:
        listed = self._machine.run("authmilter", "report", "list")
        rows = re.findall(r"(?m)^\s*\d{4}-\d\d-\d\d\s+good\.example\s+\d+\s+(\d+)\b", listed)
        return sum(map(int, rows))

    def _counts(self) -> None:
        before = self._counted()
        self._deliver()
        self._machine.wait(lambda: self._counted() > before, "the message among those that are counted")

    def _only_the_daemons(self) -> None:
        for daemon in _PAGES:
            others = self._machine.run("find", f"/var/lib/{daemon}", "-not", "-user", daemon).split()
            others = [name for name in others if not name.endswith("/kept")]
            require(not others, f"{daemon} may not write what root left: {others}")
