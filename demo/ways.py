"""Two ways for a message to reach the milter: through a real Postfix, or by the milter protocol alone."""

from __future__ import annotations

import re
from typing import Protocol

from demo.cases import Case, Result
from tests.support.mailbox import split_fields
from tests.support.milter_client import MilterClient
from tests.support.milter_daemon import MilterDaemon
from tests.support.postfix import PrivatePostfix
from tests.support.waiting import wait_until

_REASON = re.compile(r' reason=(?:"((?:[^"\\]|\\.)*)"|(\S+))')


class Way(Protocol):
    """Takes one message to the milter and says what became of it."""

    def send(self, case: Case) -> Result: ...


def _reason(milter: MilterDaemon, mark: int) -> str:
    """The reason in the first line about a message behind `mark` in the milter's log."""
    line = milter.log.wait(r"^.*\bdecision=\S.*$", after=mark)[0]
    found = _REASON.search(line)
    return (found[1] or found[2]) if found else line


class ThroughPostfix:
    """Real SMTP to a real Postfix with the milter behind it."""

    def __init__(self, postfix: PrivatePostfix, milter: MilterDaemon) -> None:
        """Both must be running."""
        self._postfix = postfix
        self._milter = milter

    def send(self, case: Case) -> Result:
        """Send and wait until the message is in the mailbox, in the hold queue, or refused."""
        mark = self._milter.log.mark()
        before = len(self._postfix.mailbox.messages(case.rcpt))
        exchange = self._postfix.send(
            case.message,
            client_ip=case.client.ip,
            client_name=case.client.host,
            helo=case.client.host,
            mail_from=case.mail_from,
            rcpts=[case.rcpt],
            raw=True,
        )
        why = _reason(self._milter, mark)
        if not exchange.accepted:
            return Result(str(exchange.final), "refused" if exchange.final.code >= 500 else "deferred", why, [])

        def arrived() -> tuple[str, bytes] | None:
            messages = self._postfix.mailbox.messages(case.rcpt)
            if len(messages) > before:
                return "delivered", messages[-1].header
            if self._postfix.queue_of(exchange.queue_id) == "hold":
                return "held", self._postfix.content(exchange.queue_id).partition(b"\n\n")[0]
            return None

        fate, header = wait_until(arrived, "the message's arrival", context=lambda: self._postfix.log.text()[-2000:])
        return Result(str(exchange.final), fate, why, split_fields(header))


class ThroughProtocol:
    """The milter protocol, spoken as Postfix speaks it, where there is no Postfix."""

    def __init__(self, milter: MilterDaemon) -> None:
        """It must be running."""
        self._milter = milter

    def send(self, case: Case) -> Result:
        """Say what Postfix would have done on the milter's answer."""
        mark = self._milter.log.mark()
        with MilterClient(self._milter.address) as client:
            client.open(ip=case.client.ip, name=case.client.host, helo=case.client.host)
            outcome = client.send(case.message, mail_from=case.mail_from, rcpts=[case.rcpt])
        why = _reason(self._milter, mark)
        if not outcome.taken:
            return Result(outcome.smtp, "refused" if outcome.smtp.startswith("5") else "deferred", why, [])
        fate = "delivered" if outcome.quarantine is None else "held"
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in outcome.header]
        return Result("250 2.0.0 Ok", fate, why, fields)
