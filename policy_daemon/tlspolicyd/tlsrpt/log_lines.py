"""Lines of Postfix's log -> sessions, for a Postfix that sends no TLSRPT datagrams (before 3.10). No I/O.

smtp(8) with `smtp_tls_loglevel = 1` writes what it came to with each host, and then what became of the mail; the
lines of one process belong together, since it delivers one message at a time. `LogReader.feed` takes one line and
gives the sessions that it settles: those since the last recipient's line, whose address names the domain.

A host that took mail in clear because nothing demanded TLS leaves no line about TLS. It counts as one without STARTTLS
once the log has shown that smtp(8) writes of TLS: for mail that was sent to port 25 over a connection of its own, and
never where tlsproxy(8) speaks TLS in the place of smtp(8) (`smtp_tls_connection_reuse`), whose sessions are not seen.

What the log does not say: our address, the EHLO reply, and the next hop where it is not the recipient's domain
(relayhost, transport_maps).

Limits: 1,000 processes, 50 hosts for one message; lines of 4,000 characters.
Security: addresses and replies in a line are a stranger's, and Postfix escapes control characters only. Each pattern is
bound to its place in the line, a recipient with ">" in its address settles nothing, and what Postfix quotes of a reply
stands at the end: neither can look like another line.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field

from mailcommon.names import to_alabel
from tlspolicyd.tlsrpt.datagram import is_untrusted
from tlspolicyd.tlsrpt.sessions import Failure, Result, clean, clean_ip, clean_name

MAX_LINE = 4000
_MOST_PROCESSES = 1000
_MOST_HOSTS = 50

# name[address]:port; the name is that of the MX record, the address that which was connected to
_HOST = r"(?P<host>[^\s\[\]]{1,255})\[(?P<ip>[0-9a-fA-F.:]{2,45})\]"
_PROCESS = re.compile(r"(?P<name>[\w./-]{1,64})\[(?P<pid>\d{1,10})\]: (?P<text>.*)\Z")
_ESTABLISHED = re.compile(
    rf"(?P<word>Verified|Trusted|Untrusted|Anonymous) TLS connection established to {_HOST}:\d+: "
)
_NOT_VERIFIED = re.compile(rf"(?:server )?certificate verification failed for {_HOST}:\d+: (?:num=\d+:)?(?P<why>.*)\Z")
_NO_HANDSHAKE = re.compile(rf"SSL_connect error to {_HOST}:\d+: (?P<why>.*)\Z")
_UNUSABLE = re.compile(rf"warning: {_HOST}:\d+: all TLSA records unusable")
_TLSA_FAILED = re.compile(
    r"warning: TLS policy lookup for (?P<domain>[^\s/]{1,255})/(?P<host>\S{1,255}): TLSA lookup error"
)
_MX_MISMATCH = re.compile(
    r"warning: MX name '(?P<host>[^']{1,255})' does not match STS MX pattern for '(?P<domain>[^']{1,255})'"
)
_QUEUE_ID = r"(?P<id>[0-9A-Za-z]{6,20}): "
_RECIPIENT = re.compile(
    rf"{_QUEUE_ID}to=<(?P<to>[^>]*)>, (?:orig_to=<[^>]*>, )?relay=(?P<relay>\S+), (?P<used>conn_use=\d+, )?"
    r"delay=\S+ delays=\S+ dsn=\S+ status=(?P<status>\w+) \((?P<why>.*)\)\Z"
)
_RELAY = re.compile(rf"{_HOST}:25\Z")
_ANY_RECIPIENT = re.compile(rf"{_QUEUE_ID}to=<")
_NEXT_HOST = re.compile(rf"{_QUEUE_ID}(?P<why>(?:TLS is required|Server certificate not|Cannot start TLS).*)\Z")
_NOT_OFFERED = re.compile(rf"TLS is required, but (?:was not offered by host |host ){_HOST}(?P<rest>.*)\Z")

# why a certificate is not accepted, in the words of OpenSSL
_WHY = (
    (re.compile(r"hostname mismatch|IP address mismatch"), Result.HOST_MISMATCH),
    (re.compile(r"certificate has expired"), Result.EXPIRED),
    (re.compile(r"no matching DANE TLSA records"), Result.NOT_TRUSTED),
    (re.compile(r"untrusted issuer "), Result.NOT_TRUSTED),
)
_NOT_ACCEPTED = "Server certificate not"  # "verified", "trusted"


@dataclass(frozen=True, slots=True)
class LogSession:
    """What the log tells of one session."""

    domain: str  # of the recipient, A-labels
    mx: str
    ip: str
    word: str = ""  # Verified, Trusted, Untrusted, Anonymous; "": no TLS
    failure: Failure | None = None


@dataclass(slots=True)
class _Host:
    mx: str
    ip: str
    word: str = ""
    why: str = ""  # the last complaint about its certificate
    failure: Failure | None = None


@dataclass(slots=True)
class _Process:
    hosts: list[_Host] = field(default_factory=list)
    settled: tuple[str, str] = ("", "")  # queue id and reason of the last recipient


class LogReader:
    """Holds what each smtp(8) process has said since its last recipient.

    `tls_wanted`: Postfix tries TLS everywhere (its level is not "none"), so that mail in clear tells of the host.
    """

    def __init__(self, *, tls_wanted: bool = True) -> None:
        self._processes: OrderedDict[str, _Process] = OrderedDict()
        self._tls_wanted = tls_wanted
        self._writes_of_tls = False

    def feed(self, line: str) -> list[LogSession]:
        """The sessions that `line` settles; `line` begins with the name of the program: "postfix/smtp[123]: ..."."""
        match = _PROCESS.match(line[:MAX_LINE])
        if match is None:
            return []
        if match["name"].endswith("/tlsproxy") and _ESTABLISHED.match(match["text"]):
            self._tls_wanted = False  # whether TLS was spoken is not in the lines of smtp(8)
        if not is_sender(match["name"]):
            return []
        process = self._processes.setdefault(match["pid"], _Process())
        self._processes.move_to_end(match["pid"])
        if len(self._processes) > _MOST_PROCESSES:
            self._processes.popitem(last=False)
        self._writes_of_tls = self._writes_of_tls or _ESTABLISHED.match(match["text"]) is not None
        return _take(process, match["text"], clear=self._tls_wanted and self._writes_of_tls)


def is_sender(program: str) -> bool:
    """Whether a program is smtp(8). One called after the reports sends nothing but these: RFC 8460 §3 leaves it out."""
    return program.endswith("/smtp") and "tlsrpt" not in program


def _take(process: _Process, text: str, *, clear: bool) -> list[LogSession]:
    """`clear`: mail that was sent without a word about TLS went in clear."""
    if match := _RECIPIENT.match(text):
        return _settle(process, match, clear=clear)
    if match := _ANY_RECIPIENT.match(text):
        process.settled = (match["id"], "")
        process.hosts = []  # an address that is not written plainly: whose sessions these were is not known
    elif match := _NEXT_HOST.match(text):
        _complain(process, match["why"])
    elif match := _ESTABLISHED.match(text):
        _host(process, match).word = match["word"]
    elif match := _NOT_VERIFIED.match(text):
        _host(process, match).why = match["why"]
    elif match := _NO_HANDSHAKE.match(text):
        _host(process, match).failure = _failure(Result.VALIDATION, match, "tls-handshake-failure")
    elif match := _UNUSABLE.match(text):
        # the mail goes out over TLS that nobody has authenticated
        _host(process, match).failure = _failure(Result.TLSA_INVALID, match, "all-TLSA-records-unusable")
    elif match := _TLSA_FAILED.match(text):
        _add(process, _Host(clean_name(match["host"]), "", failure=_failure(Result.DNSSEC_INVALID, match)))
    elif match := _MX_MISMATCH.match(text):
        _add(process, _Host(clean_name(match["host"]), "", failure=_failure(Result.VALIDATION, match, "mx-mismatch")))
    return []


def _host(process: _Process, match: re.Match[str]) -> _Host:
    """The host that a line is about: the last one, or a new one."""
    mx, ip = clean_name(match["host"]), clean_ip(match["ip"])
    last = process.hosts[-1] if process.hosts else None
    # unusable TLSA records are complained of before the handshake; every other failure is the end of a session
    if last is not None and (last.mx, last.ip, last.word) == (mx, ip, "") and not _is_over(last):
        return last
    return _add(process, _Host(mx, ip))


def _is_over(host: _Host) -> bool:
    return host.failure is not None and host.failure.result is not Result.TLSA_INVALID


def _add(process: _Process, host: _Host) -> _Host:
    if len(process.hosts) < _MOST_HOSTS:
        process.hosts.append(host)
    return host


def _failure(result: Result, match: re.Match[str], reason: str = "") -> Failure:
    ip = clean_ip(match["ip"]) if "ip" in match.groupdict() else ""
    return Failure(result, mx=clean_name(match["host"]), ip=ip, reason=reason)


def _complain(process: _Process, why: str) -> None:
    """Why a host got no mail, in Postfix's words."""
    if match := _NOT_OFFERED.match(why):
        if match["rest"] == "" or match["rest"].startswith(" refused to start TLS"):
            _add(process, _Host(clean_name(match["host"]), clean_ip(match["ip"]))).failure = _failure(
                Result.NO_STARTTLS, match
            )
    elif why.startswith(_NOT_ACCEPTED) and process.hosts and process.hosts[-1].failure is None:
        host = process.hosts[-1]
        host.failure = _certificate(host)


def _certificate(host: _Host) -> Failure:
    for pattern, result in _WHY:
        if pattern.match(host.why):
            reason = "" if result in (Result.HOST_MISMATCH, Result.EXPIRED) else _reason(host.why)
            return Failure(result, mx=host.mx, ip=host.ip, reason=reason)
    reason = _reason(host.why) or "certificate-not-verified"
    result = Result.NOT_TRUSTED if is_untrusted(reason) else Result.VALIDATION
    return Failure(result, mx=host.mx, ip=host.ip, reason=reason)


def _reason(why: str) -> str:
    """OpenSSL's text as newer versions of Postfix write it, without the name of the issuer."""
    return clean(re.sub(r"^untrusted issuer .*", "untrusted issuer", why, flags=re.DOTALL)).strip().replace(" ", "_")


def _settle(process: _Process, match: re.Match[str], *, clear: bool) -> list[LogSession]:
    """The sessions of a message, at its first recipient."""
    relay = _RELAY.match(match["relay"])
    in_clear = clear and relay and match["status"] == "sent" and not match["used"] and not process.hosts
    if relay and in_clear and match["id"] != process.settled[0]:
        _host(process, relay).failure = _failure(Result.NO_STARTTLS, relay)
    if match["status"] != "sent" and (match["id"], match["why"]) != process.settled:
        _complain(process, match["why"])
    process.settled = (match["id"], match["why"])
    hosts, process.hosts = process.hosts, []
    domain = to_alabel(match["to"].rpartition("@")[2]) or ""
    if "." not in domain:
        return []
    return [
        LogSession(domain, host.mx, host.ip, host.word, host.failure) for host in hosts if host.word or host.failure
    ]
