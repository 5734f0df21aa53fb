"""A real SMTP server that takes reports, and whose answers a test sets.

with receiving() as (receiver, port):
    receiver.rcpt = "550 5.1.1 never"
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.ports import free_port, release_port


class Receiver:
    """`got` has what was taken."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.rcpt = self.data = "250 OK"
        self.break_at_data = False

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.break_at_data:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
            return "250 never seen"
        if self.data.startswith("250"):
            self.got.append(envelope)
        return self.data


def content(envelope: Envelope) -> EmailMessage:
    """The message."""
    assert isinstance(envelope.content, bytes)
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@contextlib.contextmanager
def receiving() -> Iterator[tuple[Receiver, int]]:
    """A receiver and its port on 127.0.0.1."""
    port, receiver = free_port(), Receiver()
    controller = Controller(receiver, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield receiver, port
    finally:
        controller.stop()
        release_port(port)
