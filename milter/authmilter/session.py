"""The milter session: Postfix's events as bytes into a `Transaction`, its `Actions` back to Postfix.

The only module that imports `Milter`. One session serves one SMTP connection and several messages; each MAIL begins a
new transaction, and ABORT ends a message but not the session.

Postfix waits for an answer at the end of the message only: every other event is declared as needing none.

Diagnostics: a fault in here is logged once with the queue id, and the message gets `on_fault`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import logging
import socket
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import Milter

import milter
from authmilter.actions import Actions, forged_fields
from authmilter.facts import Client, HeaderField
from authmilter.headers.claims import CLAIMING_NAMES
from authmilter.headers.results_field import NAME as RESULTS
from authmilter.setup import Setup
from authmilter.transaction import Outcome, Transaction
from authmilter.verdict import Decision
from mailcommon.outbox import HANDOVER, Entry
from mailcommon.store import StoreFault

# libmilter drops a connection over a packet of more than 65,535 octets, and Postfix sends each header field, of up to
# header_size_limit (102,400), in one packet: such a message would be deferred until it bounces
_MAX_PACKET = 16 * 1024 * 1024
_MAX_ORPHANS = 1_000
_BACKLOG = 512  # connections that wait while every worker is busy or restarting
_ACTIONS = Milter.ADDHDRS | Milter.CHGHDRS | Milter.QUARANTINE

# What we ask of the protocol: no answer is waited for but at MAIL and at the end of the message (P_NR_*), steps that
# say nothing new are left out (P_NO*), and blanks after the colon come as they are (simple canonicalization
# needs them). Without an answer to MAIL Postfix would keep all until DATA, and look-ups could not begin before.
_NO_ANSWER = {
    "connect": Milter.P_NR_CONN,
    "hello": Milter.P_NR_HELO,
    "envrcpt": Milter.P_NR_RCPT,
    "header": Milter.P_NR_HDR,
    "eoh": Milter.P_NR_EOH,
    "body": Milter.P_NR_BODY,
}
_WANTED = Milter.P_NORCPT | Milter.P_NODATA | Milter.P_NOUNKNOWN | Milter.P_HDR_LEADSPC | sum(_NO_ANSWER.values())

_HANDOVER = HANDOVER.lower()

_under_way: weakref.WeakSet[Session] = weakref.WeakSet()

log = logging.getLogger("authmilter")


class Session(Milter.Base):  # type: ignore[misc]  # pymilter has no types
    """One SMTP connection."""

    def __init__(self, setup: Callable[[], Setup]) -> None:
        """`setup` gives the generation of settings in force; each message takes it anew."""
        self._setup = setup
        self._ip = self._name = self._helo = ""
        self._loopback = False
        self._port = 0
        self._transaction: Transaction | None = None
        self._orphans: list[HeaderField] = []  # fields that may pass for ours, of a message that failed at MAIL
        self._mail_from = ""
        self._handover = ""
        self.protocol = 0
        self.broken = ""

    def negotiate(self, opts: list[int]) -> int:
        """What both sides can do; `opts` is changed in place."""
        if opts[0] & _ACTIONS != _ACTIONS:
            log.error("the MTA does not let a milter add, change and hold: nothing could be done with its mail")
            return int(Milter.REJECT)
        opts[0] = self._actions = _ACTIONS
        sealer = self._setup().sealer
        # after SIGHUP a session that is open already may not be told of recipients: its mail is not sealed
        wanted = _WANTED & ~Milter.P_NORCPT if sealer and sealer.asks_recipients else _WANTED
        opts[1] = self.protocol = opts[1] & wanted
        opts[2] = opts[3] = 0
        return int(Milter.CONTINUE)

    def connect(self, hostname: str, family: int, hostaddr: Any) -> None:
        """The SMTP client, as the MTA sees it."""
        if family in (socket.AF_INET, socket.AF_INET6) and hostaddr:
            address = ipaddress.ip_address(hostaddr[0].partition("%")[0])
            address = getattr(address, "ipv4_mapped", None) or address  # RFC 7208 §5: seen as IPv4
            self._ip = str(address)
            self._loopback = address.is_loopback
            self._port = hostaddr[1]
        # "unknown" and an address in brackets are no names
        self._name = "" if hostname == "unknown" or hostname.startswith("[") else hostname

    def hello(self, hostname: str) -> None:
        """HELO or EHLO."""
        self._helo = hostname

    def envfrom(self, sender: bytes, *parameters: bytes) -> None:
        """MAIL: a message begins, and nothing of an earlier one stays."""
        self._mail_from = _path(sender)
        client = Client(
            self._ip,
            self._name,
            self._helo,
            auth_user=self._macro("{auth_authen}"),  # proof; AUTH= of MAIL is none
            auth_method=self._macro("{auth_type}"),
            # cleanup(8) plays a session from 127.0.0.1 without a port for mail made on this host
            local=self._loopback and self._port == 0,
        )
        smtputf8 = any(parameter.upper() == b"SMTPUTF8" for parameter in parameters)
        self._transaction = Transaction(self._setup(), client, self._mail_from, smtputf8)
        _under_way.add(self)

    def envrcpt(self, recipient: bytes, *parameters: bytes) -> None:
        """RCPT that the MTA has taken."""
        del parameters
        if self._transaction:
            self._transaction.recipient(_path(recipient))

    def header(self, name: str, value: bytes) -> None:
        """One header field."""
        if b"\n" in value:  # folds come as LF
            value = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if not self.protocol & Milter.P_HDR_LEADSPC:
            value = b" " + value  # one blank was taken off
        if name.lower() == _HANDOVER and not self._handover:
            self._handover = value.decode("latin-1")
        octets = name.encode("utf-8", "surrogateescape")
        if self._transaction:
            self._transaction.header(octets, value)
        elif octets.lower() in CLAIMING_NAMES and len(self._orphans) < _MAX_ORPHANS:
            self._orphans.append(HeaderField(octets, value))

    def eoh(self) -> None:
        """The end of the header."""
        if self._transaction:
            self._transaction.end_of_headers()

    def body(self, chunk: bytes) -> None:
        """Some of the body."""
        if self._transaction:
            self._transaction.body(chunk)

    def forget(self) -> None:
        """The message is over, one way or the other; the session may go on."""
        _under_way.discard(self)
        self._transaction = None
        self._orphans = []
        self._handover = ""
        self.broken = ""

    def eom(self) -> int:
        """The end of the message: the one event that is answered."""
        queue_id = self._macro("i")  # known by now
        try:
            return self._default(queue_id) if self.broken else self._finish(queue_id)
        except Exception:  # noqa: BLE001 - the outer door: whatever it was, Postfix must get an answer
            self.broken = traceback.format_exc()
            return self._default(queue_id)
        finally:
            self.forget()

    def _finish(self, queue_id: str) -> int:
        if self._transaction is None:
            return int(Milter.CONTINUE)
        outcome = self._transaction.finish()
        if self._handover and (answer := self._admit(outcome, queue_id)):
            return answer
        answer = self._carry_out(outcome.actions)
        setup = self._setup()
        setup.account.message(outcome, queue_id)
        if collector := setup.collector:
            results = next((value for name, value in outcome.actions.headers_add if name == RESULTS), "")
            collector.note(outcome.facts, outcome.verdict, outcome.fields, results, queue_id)
        return answer

    def _admit(self, outcome: Outcome, queue_id: str) -> int:
        """A report that a sender of ours hands over: 0 if it may go on, else the answer to it.

        Each is let in once, however often it is tried: see mailcommon.outbox.
        """
        door = self._setup().door
        if door is None or outcome.facts.judged or outcome.actions.reply:
            return 0
        try:
            entry = door.admit(self._handover)
        except StoreFault as fault:
            self._setup().account.report(queue_id, "deferred", str(fault))
            self.setreply("451", "4.3.0", "Whether this report has come before cannot be told now; try again later")
            return int(Milter.TEMPFAIL)
        if entry is Entry.DISCARD:
            self._setup().account.report(queue_id, "discarded", "it has been handed over before, or again")
            return int(Milter.DISCARD)
        if entry is Entry.TAKE:
            self.chgheader(HANDOVER, 1, "")
        return 0

    def _carry_out(self, actions: Actions) -> int:
        if actions.reply:
            self.setreply(actions.reply.code, actions.reply.enhanced, actions.reply.milter_text)
            return int(Milter.REJECT if actions.decision is Decision.REJECT else Milter.TEMPFAIL)
        for name, occurrence in actions.headers_remove:  # highest first
            self.chgheader(name, occurrence, "")
        for name, value in reversed(actions.headers_add):  # the last one inserted at 0 is on top
            blank = " " if self.protocol & Milter.P_HDR_LEADSPC else ""  # else Postfix puts it there itself
            self.addheader(name, blank + value, 0)  # index 0 is above our own Received
        if actions.decision is Decision.QUARANTINE:
            self.quarantine(actions.quarantine)  # does not end the transaction
        return int(Milter.CONTINUE)

    def _default(self, queue_id: str) -> int:
        """The answer for a message in which we failed ourselves."""
        deferrals = self._setup().deferrals
        key = ("fault", self._ip, self._mail_from)
        deferrals.note(key)
        forever = deferrals.age(key) >= self._setup().rules.max_deferral
        accept = self._setup().accept_on_fault or forever
        self._setup().account.fault(queue_id, self.broken, accepted=accept)
        if accept:
            names = self._setup().names
            forged = self._transaction.forged() if self._transaction else forged_fields(self._orphans, names)
            return self._carry_out(Actions(Decision.ACCEPT, headers_remove=forged))
        self.setreply("451", "4.3.0", "Internal fault while the message was checked; try again later")
        return int(Milter.TEMPFAIL)

    def _macro(self, name: str) -> str:
        try:
            return self.getsymval(name) or ""
        except UnicodeDecodeError:
            return ""


def _path(sent: bytes) -> str:
    text = sent.decode("utf-8", "replace").strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if text.startswith("@") and ":" in text:  # RFC 5321 §4.1.1.3: a source route is ignored
        text = text.partition(":")[2]
    return text


def _event(name: str) -> Callable[..., int]:
    """The callback for one step: a fault in it spoils the message, never the session or the worker."""
    method = getattr(Session, name)
    no_answer = _NO_ANSWER.get(name, 0)
    forget = name == "envfrom"
    always = name == "header"  # forged fields are removed from every message, whatever failed before
    silent, loud = int(Milter.NOREPLY), int(Milter.CONTINUE)

    def take(ctx: Any, *args: Any) -> int:
        session = ctx.getpriv()
        if forget:
            session.forget()
        if always or not session.broken:
            try:
                method(session, *args)
            except Exception:  # noqa: BLE001 - kept for the end of the message, where it is logged and answered
                session.broken = session.broken or traceback.format_exc()
        return silent if session.protocol & no_answer else loud

    return take


def _forget(ctx: Any) -> int:
    """ABORT ends a message, not the session."""
    ctx.getpriv().forget()
    return int(Milter.CONTINUE)


_CONNECT = _event("connect")


def _connect(ctx: Any, *args: Any) -> int:
    if not ctx.getpriv():  # an MTA that does not negotiate
        Milter.factory()._setctx(ctx)
    return _CONNECT(ctx, *args)


def open_socket(address: str, setup: Callable[[], Setup]) -> None:
    """Register with libmilter and listen on `address`, before any worker is forked; raises OSError."""
    Milter.factory = functools.partial(Session, setup)
    Milter.set_flags(_ACTIONS)
    Milter.set_connect_callback(_connect)
    Milter.set_helo_callback(_event("hello"))
    Milter.set_envfrom_callback(_event("envfrom"))
    Milter.set_envrcpt_callback(_event("envrcpt"))
    Milter.set_header_callback(_event("header"))
    Milter.set_eoh_callback(_event("eoh"))
    Milter.set_body_callback(_event("body"))
    Milter.set_eom_callback(lambda ctx: ctx.getpriv().eom())
    Milter.set_abort_callback(_forget)
    Milter.set_close_callback(Milter.close_callback)
    # text that is not UTF-8 cannot reach a callback: the event is then skipped, the message still judged
    Milter.set_exception_policy(Milter.CONTINUE)
    Milter.setbacklog(_BACKLOG)
    with contextlib.suppress(AttributeError):  # a libmilter that was built without _FFR_MAXDATASIZE
        ctypes.CDLL(milter.__file__).smfi_setmaxdatasize(ctypes.c_size_t(_MAX_PACKET))
    Milter.setconn(address)
    Milter.register("authmilter", negotiate=Milter.negotiate_callback)
    try:
        Milter.opensocket(True)
    except Milter.error as fault:
        raise OSError(f"cannot listen on {address}") from fault
    _stop_waiting_in_accept()


def _stop_waiting_in_accept() -> None:
    """Make the listening socket non-blocking: libmilter does not show it, so it is looked for.

    Several workers wait for connections on it. All of them wake up for each; who comes too late would wait in accept(2)
    for the next one, and libmilter sees no request to stop there.
    """
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # what is no socket
            found = socket.socket(fileno=int(entry.name))
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setblocking(False)
                found.set_inheritable(False)  # no program that is started has a use for it
            found.detach()  # it stays open


def messages_under_way() -> int:
    """How many messages are between MAIL and their end; Postfix tells us of MAIL together with DATA."""
    return len(_under_way)


def serve_connections() -> None:
    """libmilter's main loop; returns after SIGTERM, when the sessions have ended."""
    Milter.main()
