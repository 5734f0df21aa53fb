"""A real Postfix of our own in a temporary directory, beside whatever Postfix the host runs.

It has its own configuration, queue, data directory, log and ports on 127.0.0.1. Two listeners stand ready: `smtp` for
strangers, who can be anybody by XCLIENT, and `submission` with AUTH. All mail ends in one `Mailbox`.

    with PrivatePostfix(milter="unix:milter/m.sock") as postfix:
        exchange = postfix.send(message, client_ip="192.0.2.1", helo="a.example", mail_from="u@a.example", rcpts=[rcpt])
        delivered, = postfix.mailbox.wait(rcpt)

A milter's Unix socket belongs below the queue directory (`milter_socket`) and is named relative to it
(`MILTER_SPEC`), which Postfix understands chrooted or not. It need not exist before mail comes.

Diagnostics: `Unavailable` if Postfix or root is missing (master(8) refuses to run as anybody else); `StartFailed`
with the log if it does not come up. SMTP replies are values.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.auth_server import AuthServer
from tests.support.mailbox import Delivered, Mailbox
from tests.support.ports import free_port, is_free, release_port
from tests.support.postfix_config import main_cf, master_cf
from tests.support.postfix_installation import HOST, Installation
from tests.support.postfix_tools import PostfixTools
from tests.support.processes import ServerProcess, StartFailed, Unavailable, find_program
from tests.support.smtp_client import Exchange, SmtpSession
from tests.support.waiting import DEADLINE, LogFile, TimedOut, wait_until

MILTER_SPEC = "unix:milter/milter.sock"  # for `milter=`: relative to the queue directory

_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")
_CHROOT_FILES = ("services", "hosts", "nsswitch.conf", "resolv.conf", "localtime")  # what Debian copies, too

_ATTEMPTS = 4  # sets of ports tried

_numbers = itertools.count(1)


def missing() -> str:
    """Why a private Postfix cannot run on this machine, "" if it can."""
    try:
        find_program("postconf", "postfix")
        pwd.getpwnam("postfix")
    except Unavailable as problem:
        return str(problem)
    except KeyError:
        return "there is no user called postfix"
    if os.geteuid() != 0:
        return "Postfix's master(8) runs only if root starts it"
    return ""


def _directory(path: Path, mode: int, user: int = 0, group: int = 0) -> Path:
    path.mkdir()
    os.chown(path, user, group)
    path.chmod(mode)  # mkdir's own mode is cut by the umask
    return path


class PrivatePostfix(PostfixTools):
    """One instance. `start()` and `stop()`, or use it as a context manager."""

    def __init__(
        self,
        *,
        milter: str = "",
        local_milter: str | None = None,
        domains: Sequence[str] = ("home.example",),
        settings: Mapping[str, str] | None = None,
        listeners: Mapping[str, Mapping[str, str]] | None = None,
        services: Sequence[str] = (),
        users: Mapping[str, str] | None = None,
        trusted: Sequence[str] = (),
        chroot: bool = False,
        installation: Installation = HOST,
    ) -> None:
        """Make the directories; nothing runs yet.

        milter: smtpd_milters of all listeners, as in main.cf. local_milter: non_smtpd_milters, None = like `milter`.
        domains: for which strangers may send. settings: further main.cf lines. listeners: further smtpd(8) by name,
        each with its own settings. services: further lines of master.cf. users: name -> password for AUTH.
        trusted: mynetworks. chroot: run as Debian does, chrooted in the queue directory. installation: whose programs.
        """
        if installation is HOST and (problem := missing()):
            raise Unavailable(problem)
        self.domains = tuple(domains)
        self._settings = dict(settings or {})
        self._milter = milter
        self._local_milter = milter if local_milter is None else local_milter
        self._listeners: dict[str, Mapping[str, str]] = {
            "smtp": {},
            "submission": {
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_client_restrictions": "permit_sasl_authenticated, reject",
            },
            **(listeners or {}),
        }
        self._services = services
        self._users = {"alice": "secret"} if users is None else dict(users)
        self._trusted = trusted
        self._chroot = chroot
        self._master: ServerProcess | None = None
        self._auth: AuthServer | None = None
        self.ports: dict[str, int] = {}
        self._attempt = 1
        self.base = installation.make_base()
        super().__init__(self.base / "c", LogFile(self.base / "l" / "maillog"), installation)
        self._make_directories()
        self.mailbox = Mailbox(self.base / "m" / "inbox")

    @property
    def queue_directory(self) -> Path:
        """Postfix's queue directory, and its root when chrooted."""
        return self.base / "q"

    @property
    def milter_socket(self) -> Path:
        """Where a milter listens that Postfix knows as `MILTER_SPEC`."""
        return self.queue_directory / MILTER_SPEC.removeprefix("unix:")

    def _make_directories(self) -> None:
        programs = self.installation
        owner = programs.user_id(programs.compiled_default("mail_owner"))
        drop = programs.group_id(programs.compiled_default("setgid_group"))
        self.base.chmod(0o755)
        _directory(self.config_directory, 0o755)
        _directory(self.base / "l", 0o755)
        _directory(self.base / "d", 0o700, owner)
        _directory(self.base / "m", 0o755, programs.user_id("nobody"))
        queue = _directory(self.queue_directory, 0o755)
        for name in (*_QUEUES, "private"):
            _directory(queue / name, 0o700, owner)
        _directory(queue / "public", 0o710, owner, drop)
        _directory(queue / "maildrop", 0o730, owner, drop)
        _directory(queue / "pid", 0o755)
        _directory(queue / "milter", 0o755)
        if self._chroot:
            etc = _directory(queue / "etc", 0o755)
            for name in _CHROOT_FILES:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(Path("/etc") / name, etc / name)
                    (etc / name).chmod(0o644)

    def _write_config(self) -> None:
        self._release_ports()
        self.ports = {name: free_port() for name in self._listeners}
        main = main_cf(
            self.base,
            milter=self._milter,
            local_milter=self._local_milter,
            domains=self.domains,
            trusted=self._trusted,
            mail_uid=self.installation.user_id("nobody"),
            mail_gid=self.installation.group_id("nogroup"),
            settings=self._settings,
        )
        master = master_cf(self.ports, self._listeners, chroot=self._chroot, services=self._services)
        past = time.time() - 60
        for name, text in (("main.cf", main), ("master.cf", master)):
            path = self.config_directory / name
            path.write_text(text)
            path.chmod(0o644)
            # Postfix waits up to two seconds before it believes in a file that was changed just now.
            os.utime(path, (past, past))

    def _release_ports(self) -> None:
        for port in self.ports.values():
            release_port(port)

    def start(self) -> None:
        """Start and wait until every listener greets; tries other ports if one was taken meanwhile."""
        try:
            self._auth = AuthServer(self.queue_directory / "private" / "auth", self._users)
            while not self._came_up():
                self._attempt += 1
        except BaseException:  # an interrupt too must leave nothing behind
            self.stop()
            raise

    def _came_up(self) -> bool:
        """One attempt; False if a port was taken and another attempt is worth while."""
        self._write_config()
        self._master = ServerProcess(
            self.installation.command(
                f"{self.installation.compiled_default('daemon_directory')}/master",
                "-c",
                str(self.config_directory),
                "-d",
            ),
            output=self.base / "l" / "master.out",
            env={"MAIL_CONFIG": str(self.config_directory)},
        )
        try:
            wait_until(self._greets, "Postfix's greeting", timeout=10.0)
        except (StartFailed, TimedOut) as problem:
            self._master.kill()
            # master(8) cannot tell that a port is taken, because it opens its log after its ports.
            if self._attempt < _ATTEMPTS and not all(map(is_free, self.ports.values())):
                return False
            raise StartFailed(f"{problem}\n{self._complaints()}") from None
        return True

    def _greets(self) -> bool:
        assert self._master is not None
        self._master.require_alive()
        for port in self.ports.values():
            try:
                with SmtpSession(port, timeout=2.0) as session:
                    # Another server may have been quicker to take the port.
                    if session.greeting.code != 220 or self.base.name not in session.greeting.text:
                        return False
                    session.quit()
            except OSError:
                return False
        return True

    def _complaints(self) -> str:
        text = self.log.text()
        if not text:
            # master(8) has nowhere to write to before it has read main.cf; other programs say what is wrong with it.
            probe = self.installation.command("postqueue", "-c", str(self.config_directory), "-p")
            text = subprocess.run(probe, capture_output=True, text=True, timeout=DEADLINE, check=False).stderr
        return text

    def stop(self) -> None:
        """Stop everything and remove the directory. May be called twice."""
        try:
            if self._master is not None:
                self._master.stop()
                self._master = None
            if self._auth is not None:
                self._auth.stop()
                self._auth = None
        finally:
            self._release_ports()
            self.installation.remove_base(self.base)

    def members(self) -> list[int]:
        """Process ids of this instance."""
        return self._master.members() if self._master else []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Sending

    def new_rcpt(self) -> str:
        """An address of ours that no other test uses."""
        return f"r{next(_numbers)}@{self.domains[0]}"

    @contextlib.contextmanager
    def session(
        self,
        *,
        client_ip: str = "192.0.2.1",
        client_name: str = "",
        helo: str = "client.example",
        listener: str = "smtp",
        login: str = "",
        reverse_name: str = "",
        client_port: int = 40000,
    ) -> Iterator[SmtpSession]:
        """A connection from `client_ip` that has said EHLO. `client_ip` "" stays 127.0.0.1 without XCLIENT.

        login: authenticated as, which Postfix heeds only where SASL is on: the listener "submission".
        """
        with SmtpSession(self.ports[listener]) as session:
            if client_ip:
                reply = session.xclient(
                    client_ip, client_name, reverse_name=reverse_name, port=client_port, login=login
                )
                if 500 <= reply.code < 550:  # not understood; what a milter says at connect is the caller's matter
                    raise ValueError(f"XCLIENT for {client_ip} {client_name}: {reply}")
            session.ehlo(helo)
            yield session
            with contextlib.suppress(OSError, ValueError):  # the test may have closed it
                session.quit()

    def send(
        self,
        message: bytes,
        *,
        mail_from: str,
        rcpts: Sequence[str],
        client_ip: str = "192.0.2.1",
        client_name: str = "",
        helo: str = "client.example",
        listener: str = "smtp",
        login: str = "",
        raw: bool = False,
        bdat: int = 0,
        mail_params: Sequence[str] = (),
    ) -> Exchange:
        """One message on a connection of its own; see `SmtpSession.send` for raw, bdat and mail_params."""
        with self.session(
            client_ip=client_ip, client_name=client_name, helo=helo, listener=listener, login=login
        ) as session:
            return session.send(mail_from, rcpts, message, raw=raw, bdat=bdat, mail_params=mail_params)

    def submit(
        self,
        message: bytes,
        *,
        mail_from: str,
        rcpts: Sequence[str],
        user: str = "alice",
        password: str = "secret",
        client_ip: str = "192.0.2.77",
    ) -> Exchange:
        """One message over the submission port with AUTH PLAIN."""
        with self.session(client_ip=client_ip, listener="submission") as session:
            reply = session.auth_plain(user, password)
            if reply.code != 235:
                return Exchange((("AUTH", reply),))
            return session.send(mail_from, rcpts, message)

    def wait_delivered(self, rcpt: str, count: int = 1, timeout: float = DEADLINE) -> list[Delivered]:
        """Wait for mail; the log's end is in the error if none comes."""
        try:
            return self.mailbox.wait(rcpt, count, timeout)
        except TimedOut as problem:
            raise TimedOut(f"{problem}\n{self.log.text()[-4000:]}") from None
