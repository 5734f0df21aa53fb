"""The life of the package on one host, step by step; each step says what must hold after it.

Diagnostics: `Failed` at the first thing that does not hold.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.package.machine import Machine
from tests.package.options import Options, require
from tests.package.tree import Tree
from tests.package.world import FORGED, GOOD, furnish, mailbox, sends_out, wiring

TIMERS = ("authmilter-report.timer", "tlspolicyd-report.timer")
UNITS = ("authmilter.service", "tlspolicyd.service", "tlspolicyd.socket")
SOCKETS = {name: f"/var/spool/postfix/{name}/{name}.sock" for name in ("authmilter", "tlspolicyd")}
# what a package may leave behind: users by Debian's custom, and what others write
LEFT = re.compile(
    r"/(proc|sys|dev|run|tmp|home)/|/var/(cache|log|tmp|mail|spool/postfix)/"
    r"|/var/lib/(apt|dpkg|systemd|postfix|unbound)/"
    r"|/etc/ssl/|/etc/ca-certificates"  # of a package that came with ours
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/etc/ld.so.cache$"
)

Say = Callable[[str], None]


def of_others(tree: Tree) -> set[str]:
    """The names in all packages that are installed: what came with ours may be wanted by others, and stay."""
    names = set()
    for listing in tree.path("/var/lib/dpkg/info").glob("*.list"):
        names |= set(listing.read_text().splitlines())
    return names | {f"/usr{name}" for name in names}  # some name the places before the merge of /usr


def files(tree: Tree) -> set[str]:
    """All names in the tree that a package is accountable for."""
    found = tree.chroot("find", "/", "-xdev", "-not", "-type", "d").splitlines()
    return {name for name in found if not LEFT.match(name) and "__pycache__" not in name}


def live(tree: Tree, package: Path, old: Path, say: Say) -> None:
    """All of it."""
    furnish(tree)
    for name, source in (("new", package), ("old", old)):
        tree.path(f"/root/{name}.deb").write_bytes(source.read_bytes())
    tree.use_network()
    # what it depends on comes over the network now: the machine has none
    tree.chroot("apt-get", "install", "--yes", "--download-only", "--no-install-recommends", "/root/new.deb")
    tree.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    host = Host(tree, say)
    with host.booted("first boot"):
        before = files(tree)
        host.first_install()
        host.wire()
        host.edit()
        host.upgrade("new", "upgrade while mail comes in")
        host.upgrade("old", "downgrade while mail comes in")
        host.upgrade("new", "upgrade again")
        host.watchdog()
        host.use_options()
    with host.booted("second boot"):
        host.after_boot()
        host.options().well()
        host.remove()
        host.install_again()
        host.purge(before)


class Host:
    """The machine and what is done to it."""

    def __init__(self, tree: Tree, say: Say) -> None:
        self._tree = tree
        self._say = say
        self._boots = 0

    @contextmanager
    def booted(self, what: str) -> Iterator[None]:
        """The machine runs within."""
        self._say(what)
        self._boots += 1
        with Machine(self._tree, self._tree.root.parent / f"console-{self._boots}") as machine:
            self.machine = machine
            yield

    # Steps

    def first_install(self) -> None:
        """Both daemons run at once, and Postfix has not noticed."""
        self._say("install")
        self._apt("install", "--yes", "/root/old.deb")
        self._require_running()
        self._require_places()
        require(self.machine.run("authmilter", "--version").split()[-1], "authmilter has no version")
        for daemon in SOCKETS:
            shown = self.machine.run(daemon, "config")
            require(
                f'user = "{daemon}"' in shown and 'socket_group = "postfix"' in shown, f"{daemon} config: {shown[:500]}"
            )
            require(self.machine.succeeds("test", "-e", f"/usr/share/man/man8/{daemon}.8.gz"), f"no manual of {daemon}")
        self._judges_nothing()

    def wire(self) -> None:
        """The lines of conf/ make Postfix ask both."""
        self._say("main.cf")
        version = self.machine.run("postconf", "-h", "mail_version").strip()
        number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        self.wires = wiring("authmilter", number) | wiring("tlspolicyd", number)
        self.machine.run("postconf", "-e", *(f"{key} = {value}" for key, value in self.wires.items()))
        self.machine.run("postfix", "reload")
        complaints = [
            line
            for line in self.machine.run("postfix", "check").splitlines()
            if "gatepost" in line or "authmilter" in line
        ]
        require(not complaints, f"postfix check: {complaints}")
        self._judges()

    def edit(self) -> None:
        """What the administrator writes into the settings counts after a reload, and a mistake is refused."""
        self._say("settings, reload")
        settings = self._tree.path("/etc/gatepost/authmilter.toml")
        text = settings.read_text()
        settings.write_text(text.replace('authserv_id = ""', 'authserv_id = "gate.home.example"'))
        pid = self.machine.unit("authmilter.service", "MainPID")
        self.machine.run("systemctl", "reload", "authmilter.service")
        self.machine.wait(
            lambda: "New settings taken" in self.machine.unit("authmilter.service", "StatusText"), "the reload"
        )
        require(self.machine.unit("authmilter.service", "MainPID") == pid, "a reload started another process")
        self._deliver(GOOD)
        require("Authentication-Results: gate.home.example;" in mailbox(self.machine), "the new name is not in use")
        good = self._tree.path("/etc/gatepost/tlspolicyd.toml").read_text()
        self._tree.path("/etc/gatepost/tlspolicyd.toml").write_text(good + "\nnonsense = 1\n")
        self.machine.run("systemctl", "reload", "tlspolicyd.service")
        self.machine.wait(lambda: "not taken" in self.machine.unit("tlspolicyd.service", "StatusText"), "a refusal")
        self._tree.path("/etc/gatepost/tlspolicyd.toml").write_text(good)

    def upgrade(self, name: str, what: str) -> None:
        """Another version takes over: mail is deferred for a moment at most, settings and policies stay."""
        self._say(what)
        pids = {unit: self.machine.unit(unit, "MainPID") for unit in UNITS[:2]}
        socket = self._inode(SOCKETS["tlspolicyd"])
        self._tree.path("/var/lib/tlspolicyd/kept").write_text("x")
        mail = self.machine.start_calling("trickle", GOOD)
        queue = self._queue_lines()
        begun = time.monotonic()
        self._apt(
            "install", "--yes", "--allow-downgrades", "--option=Dpkg::Options::=--force-confold", f"/root/{name}.deb"
        )
        took = time.monotonic() - begun
        self._require_running()
        self.machine.wait(lambda: self.machine.call("send", GOOD)[0] == 250, "mail to be taken again")
        answers = json.loads(mail.communicate(timeout=90)[0])
        for unit, pid in pids.items():
            require(self.machine.unit(unit, "MainPID") != pid, f"{unit} was not restarted")
        require(self._inode(SOCKETS["tlspolicyd"]) == socket, "Postfix's socket to tlspolicyd was closed")
        refused = [answer for answer in answers if answer[1] >= 500]
        require(not refused and answers, f"mail was refused: {refused[:5]}")
        require(answers[-1][1] == 250, f"mail is not taken any more: {answers[-1]}")
        deferred = [when for when, code in answers if code != 250]
        span = f"{deferred[-1] - deferred[0]:.1f} s" if deferred else "0 s"
        self._say(f"  apt took {took:.0f} s; {len(answers)} messages, {len(deferred)} deferred, within {span}")
        require(not deferred or deferred[-1] - deferred[0] < 35.0, "mail was deferred for too long")
        require(
            "policy table lookup error" not in self._queue_lines()[len(queue) :],
            "Postfix got no answer from tlspolicyd",
        )
        require(
            '"gate.home.example"' in self._tree.path("/etc/gatepost/authmilter.toml").read_text(), "the setting is lost"
        )
        entries = "40000" if name == "old" else "50000"
        require(
            f"cache_entries = {entries}" in self._tree.path("/etc/gatepost/tlspolicyd.toml").read_text(),
            "an untouched file is old",
        )
        require(self._tree.path("/var/lib/tlspolicyd/kept").exists(), "the policies are lost")
        gone = self._tree.path("/usr/lib/gatepost/gone-since").exists()
        require(gone is (name == "old"), "a file of the other version")
        self._judges()

    def watchdog(self) -> None:
        """A daemon that stands still is ended and started again; a worker that does is replaced."""
        self._say("watchdog")
        for unit in UNITS[:2]:
            folder = self._tree.path(f"/etc/systemd/system/{unit}.d")
            folder.mkdir(parents=True)
            (folder / "try.conf").write_text("[Service]\nWatchdogSec=8\n")
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", *UNITS[:2])
        for unit in UNITS[:2]:
            pid = self.machine.unit(unit, "MainPID")
            self._stand_still(pid)
            self.machine.wait(
                lambda unit=unit, pid=pid: (
                    self.machine.unit(unit, "MainPID") not in (pid, "0")
                    and self.machine.unit(unit, "ActiveState") == "active"
                ),
                f"the watchdog of {unit}",
            )
            require(
                "atchdog" in self.machine.run("journalctl", "--quiet", "--no-pager", f"--unit={unit}"),
                f"{unit}: no word of it",
            )
            (self._tree.path(f"/etc/systemd/system/{unit}.d/try.conf")).unlink()
        parent = self.machine.unit("authmilter.service", "MainPID")
        worker = self.machine.run("cat", f"/proc/{parent}/task/{parent}/children").split()[0]
        self._stand_still(worker)
        self.machine.wait(lambda: not self.machine.succeeds("test", "-e", f"/proc/{worker}"), "the end of the worker")
        require(self.machine.unit("authmilter.service", "MainPID") == parent, "the parent ended with it")
        self.machine.run("systemctl", "daemon-reload")
        self._judges()

    def options(self) -> Options:
        """What is off by default."""
        return Options(self.machine, self._tree, self._say, lambda: self._deliver(GOOD), lambda: mailbox(self.machine))

    def use_options(self) -> None:
        """See `options`."""
        self.options().use(self.wires)

    def after_boot(self) -> None:
        """Both are there before Postfix is."""
        self._require_running()
        self._require_places()
        instance = "postfix@-.service"  # Debian 12's; in 13 it is postfix.service itself
        postfix = instance if self.machine.unit(instance, "ActiveState") == "active" else "postfix.service"
        begun = int(self.machine.unit(postfix, "InactiveExitTimestampMonotonic"))
        for unit in UNITS[:2]:
            ready = int(self.machine.unit(unit, "ActiveEnterTimestampMonotonic"))
            require(0 < ready <= begun, f"{unit} was ready at {ready}, Postfix began at {begun}")
        self._judges()

    def remove(self) -> None:
        """Programs and sockets are gone, settings and policies stay; Postfix works once its lines are gone."""
        self._say("remove")
        said = self._apt("remove", "--yes", "gatepost")
        require("main.cf still names it" in said, f"no warning about main.cf: {said[-1500:]}")
        for name in ("/usr/lib/gatepost", "/usr/sbin/authmilter", *SOCKETS.values()):
            require(not self._tree.path(name).exists(), f"{name} is still there")
        for unit in (*UNITS, *TIMERS):
            require(self.machine.unit(unit, "ActiveState") == "inactive", f"{unit} still runs")
        for name in ("/etc/gatepost/authmilter.toml", "/var/lib/tlspolicyd/kept"):
            require(self._tree.path(name).exists(), f"{name} is gone")
        code, text = self.machine.call("send", GOOD)
        require(400 <= code < 500, f"mail without the milter that main.cf names: {code} {text}")
        self._unwire()
        self._judges_nothing()

    def install_again(self) -> None:
        """It comes back with the settings that stayed."""
        self._say("install again")
        self._apt("install", "--yes", "/root/new.deb")
        self._require_running()
        self.machine.run("postconf", "-e", *(f"{key} = {value}" for key, value in self.wires.items()))
        self.machine.run("postfix", "reload")
        self._judges()
        require(
            "gate.home.example" in self.machine.run("authmilter", "config"), "the settings that stayed are not in use"
        )

    def purge(self, before: set[str]) -> None:
        """Nothing is left but the users, and the keys that the administrator has put there."""
        self._say("purge")
        key = self._tree.path("/etc/gatepost/keys/example.pem")
        key.write_text("key")
        self._unwire()
        self._apt("purge", "--yes", "gatepost")
        require(key.exists(), "a private key was removed")
        shutil.rmtree(self._tree.path("/etc/gatepost"))
        self._apt("autoremove", "--purge", "--yes")
        left = {
            name
            for name in files(self._tree) - before - of_others(self._tree)
            if not name.startswith("/etc/systemd/system/")
        }
        require(not left, f"left behind: {sorted(left)[:20]}")
        for name in (
            "/var/lib/authmilter",
            "/var/lib/tlspolicyd",
            "/var/spool/postfix/authmilter",
            "/var/spool/postfix/tlspolicyd",
        ):
            require(not self._tree.path(name).exists(), f"{name} is still there")
        require(self.machine.succeeds("id", "authmilter"), "the user is gone: its number may go to somebody else")
        require(
            not self.machine.run(
                "systemctl", "list-units", "--failed", "--plain", "--no-legend", "authmilter*", "tlspolicyd*"
            ).strip(),
            "failed units",
        )
        self._judges_nothing()

    # What must hold

    def _require_running(self) -> None:
        for unit in UNITS:
            state = self.machine.unit(unit, "ActiveState")
            require(state == "active", f"{unit} is {state}:\n{self.machine.journal(unit)[-3000:]}")
            require(self.machine.unit(unit, "UnitFileState") == "enabled", f"{unit} is not enabled")
        for unit in UNITS[:2]:
            pid = self.machine.unit(unit, "MainPID")
            owner = self.machine.run("stat", "--format=%U", f"/proc/{pid}").strip()
            require(owner == unit.partition(".")[0], f"{unit} runs as {owner}")

    def _require_places(self) -> None:
        for daemon, path in SOCKETS.items():
            shown = self.machine.run("stat", "--format=%U:%G %a", path, str(Path(path).parent)).split("\n")
            require(shown[:2] == [f"{daemon}:postfix 660", f"{daemon}:postfix 2750"], f"{path}: {shown}")
            state = self.machine.run("stat", "--format=%U %a", f"/var/lib/{daemon}").strip()
            require(state == f"{daemon} 750", f"/var/lib/{daemon}: {state}")

    def _deliver(self, sender: str) -> None:
        before = mailbox(self.machine).count("From: ")
        code, text = self.machine.call("send", sender)
        require(code == 250, f"mail from {sender}: {code} {text}")
        self.machine.wait(lambda: mailbox(self.machine).count("From: ") > before, "the delivery")

    def _last_message(self) -> str:
        return mailbox(self.machine).rpartition("\nFrom ")[2]

    def _judges(self) -> None:
        self._deliver(GOOD)
        require("dmarc=pass" in self._last_message(), f"not judged:\n{self._last_message()}")
        code, text = self.machine.call("send", FORGED)
        require(code == 550 and "DMARC" in text, f"forged mail: {code} {text}")
        require(sends_out(self.machine) == "sent", f"mail to others: {self._queue_lines()[-1500:]}")

    def _judges_nothing(self) -> None:
        self._deliver(GOOD)
        require("Authentication-Results" not in self._last_message(), "judged without main.cf's asking")
        self._deliver(FORGED)
        require(sends_out(self.machine) == "sent", f"mail to others: {self._queue_lines()[-1500:]}")

    def _stand_still(self, pid: str) -> None:
        self.machine.run("sh", "-c", f"kill -STOP {pid}")

    def _unwire(self) -> None:
        self.machine.run("postconf", "-X", *self.wires)
        self.machine.run("postfix", "reload")

    def _queue_lines(self) -> str:
        return self.machine.journal("postfix*")

    def _inode(self, path: str) -> int:
        found = self._tree.path(path).stat()
        require(stat.S_ISSOCK(found.st_mode), f"{path} is no socket")
        return found.st_ino

    def _apt(self, *words: str) -> str:
        return self.machine.run("apt-get", "--quiet", "--no-install-recommends", *words)
