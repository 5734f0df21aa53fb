"""Reports as mail: a message for one destination, handed to the local Postfix by SMTP.

SMTP rather than sendmail(1): its answer is definite, and mail that comes by it passes `smtpd_milters`, where the milter
signs it and sees that it has come. One connection serves many messages.

Diagnostics: an `Outcome`; UNKNOWN only if the connection broke after the message was begun. REFUSED only if the answer
says that the address is no good. Whatever else the host refuses ("relay access denied", a filter of its own) is for its
administrator to mend: LATER, and `own`.
Limits: `MailHost.seconds` for each answer.
Security: addresses are checked before they come near SMTP or a header.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import smtplib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage

from mailcommon.names import is_hostname, to_alabel
from mailcommon.outbox.headers import WIRE, clean
from mailcommon.outbox.sending import Carrier
from mailcommon.outbox.values import Delivery, Outcome, Report, Result

HANDOVER = "X-Gatepost-Handover"
_MAX_FAILURES = 3  # after which a host that does not answer is left alone: the next run tries again
# RFC 5321 §4.1.2 Dot-string; a quoted one is legal too, but no report box has one
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_MAX_LOCAL = 64  # octets, RFC 5321 §4.5.3.1.1
# RFC 3463 §3.2, RFC 7505 §4: what is wrong is the recipient's address or domain
_OF_RECIPIENT = re.compile(r"[45]\.1\.(?:[0-6]|10)(?!\S)").match


@dataclass(frozen=True, slots=True)
class MailHost:
    """Where mail is handed over. `mail_from`: the envelope sender, to which bounces come; "" is the null sender."""

    host: str = "127.0.0.1"
    port: int = 25
    mail_from: str = ""
    seconds: float = 60.0  # for each answer


def usable_address(destination: str) -> str:
    """The address of a "mailto:" destination with the domain in A-labels; "" if mail cannot be sent to it."""
    scheme, _, address = destination.partition(":")
    local, _, domain = address.rpartition("@")
    name = to_alabel(domain)
    if scheme.lower() != "mailto" or len(local) > _MAX_LOCAL or not _LOCAL.fullmatch(local):
        return ""
    return f"{local}@{name}" if name and "." in name and is_hostname(name) else ""


def finished(message: EmailMessage, report: Report, place: int, address: str) -> EmailMessage:
    """The message with what the carrier adds. The same report and place give the same Message-ID and Date."""
    domain = str(message["From"]).rpartition("@")[2].rstrip("> ")
    message["To"] = address
    message["Date"] = email.utils.format_datetime(datetime.fromtimestamp(report.made_at, UTC))
    # RFC 9990 §3.5.2: the report id as part of the Message-ID shows a second copy for what it is
    message["Message-ID"] = f"<{report.id}.{place}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5
    return message


_MESSAGE_ID = re.compile(r"\s*<([A-Za-z0-9]{1,100})\.([0-9]{1,3})@").match


def of_message_id(value: str) -> tuple[str, int] | None:
    """The report and the place that a Message-ID of ours names, None if it is no such."""
    match = _MESSAGE_ID(value)
    return (match[1], int(match[2])) if match else None


class MailCarrier(Carrier):
    """Hands reports to one host. `compose(report, address)` makes the message."""

    def __init__(self, compose: Callable[[Report, str], EmailMessage], host: MailHost = MailHost()) -> None:
        self._compose = compose
        self._host = host
        self._link: smtplib.SMTP | None = None
        self._failures = 0  # connections in a row that could not be made or broke

    def hand_over(self, report: Report, delivery: Delivery, token: str) -> Outcome:
        """See Carrier."""
        address = usable_address(delivery.destination)
        if not address:
            return Outcome(Result.REFUSED, "mail cannot be sent to this address")
        where = f"{self._host.host}:{self._host.port}"
        if self._failures >= _MAX_FAILURES:
            return Outcome(Result.LATER, f"{where}: nobody answers there", own=True)
        message = finished(self._compose(report, address), report, delivery.place, address)
        message[HANDOVER] = token
        try:
            link = self._connection()
            refusal = self._envelope(link, address, token)
        except (OSError, smtplib.SMTPException) as fault:
            self._drop()
            self._failures += 1
            return Outcome(Result.LATER, f"{where}: {clean(str(fault))}", own=True)
        self._failures = 0
        if refusal:
            return refusal
        return self._content(link, message.as_bytes(policy=WIRE))

    def close(self) -> None:
        """See Carrier."""
        if self._link is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._link.quit()
            self._drop()

    def _connection(self) -> smtplib.SMTP:
        if self._link is None:
            link = smtplib.SMTP(timeout=self._host.seconds, local_hostname=_own_name())
            try:
                code, text = link.connect(self._host.host, self._host.port)
                if code != 220:
                    raise smtplib.SMTPConnectError(code, text)
                link.ehlo_or_helo_if_needed()
            except BaseException:
                link.close()
                raise
            self._link = link
        return self._link

    def _envelope(self, link: smtplib.SMTP, address: str, token: str) -> Outcome | None:
        # RFC 3461 §4.4: what is given as ENVID comes back with a bounce
        options = [f"ENVID={token}", "RET=HDRS"] if link.has_extn("dsn") else []
        code, text = link.mail(self._host.mail_from, options)
        if code // 100 == 2:
            code, text = link.rcpt(address)
        if code // 100 == 2:
            return None
        with contextlib.suppress(smtplib.SMTPServerDisconnected):
            link.rset()
        return _refusal(code, text)

    def _content(self, link: smtplib.SMTP, content: bytes) -> Outcome:
        try:
            code, text = link.data(content)
        except smtplib.SMTPDataError as fault:  # DATA itself was refused
            with contextlib.suppress(smtplib.SMTPServerDisconnected):
                link.rset()
            return _refusal(fault.smtp_code, fault.smtp_error)
        except (OSError, smtplib.SMTPException) as fault:
            self._drop()
            return Outcome(Result.UNKNOWN, clean(str(fault)))
        if code // 100 != 2:
            return _refusal(code, text)
        return Outcome(Result.SENT, _text(code, text))

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def _refusal(code: int, text: bytes | str) -> Outcome:
    said = _text(code, text)
    of_recipient = _OF_RECIPIENT(said, 4) is not None
    return Outcome(Result.REFUSED if of_recipient and code // 100 == 5 else Result.LATER, said, own=not of_recipient)


def _text(code: int, text: bytes | str) -> str:
    return clean(f"{code} {text.decode('latin-1') if isinstance(text, bytes) else text}")


def _own_name() -> str:
    name = to_alabel(socket.gethostname()) or ""
    return name if is_hostname(name) else "localhost"
