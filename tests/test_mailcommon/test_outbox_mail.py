"""Reports as mail: the message that is made, and what comes of each answer of a real SMTP server."""

from __future__ import annotations

import email
import email.policy
import socket
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import pytest

from mailcommon.outbox import (
    HANDOVER,
    WIRE,
    Delivery,
    MailCarrier,
    MailHost,
    Outcome,
    Report,
    Result,
    State,
    clean,
    finished,
    letter,
    set_fields,
    usable_address,
)
from tests.support.ports import free_port, release_port
from tests.support.smtp_receiver import Receiver, content, receiving

REPORT = Report(
    "abc123", "test", "d.example", 0, 86_399, "n.gz", b"\x1f\x8b" + bytes(range(256)) * 20, made_at=86_400.0
)
TOKEN = "0123456789abcdef." + "f" * 32


def compose(report: Report, address: str) -> EmailMessage:
    assert address == "a@one.example"
    return letter(
        sender="Reports <reports@us.example>",
        subject=f"Report for {report.domain}",
        text="A text.\n",
        attachment=report.payload,
        media_type="application/gzip",
        filename=report.filename,
    )


def delivery(destination: str = "mailto:a@one.example", place: int = 0) -> Delivery:
    return Delivery(1, REPORT.id, place, destination, State.HANDING)


@pytest.fixture
def receiver_and_port() -> Iterator[tuple[Receiver, int]]:
    with receiving() as both:
        yield both


@pytest.fixture
def receiver(receiver_and_port: tuple[Receiver, int]) -> Receiver:
    return receiver_and_port[0]


@pytest.fixture
def host(receiver_and_port: tuple[Receiver, int]) -> MailHost:
    return MailHost("127.0.0.1", receiver_and_port[1], "bounces@us.example", 5.0)


def hand_over(host: MailHost, *deliveries: Delivery) -> list[Outcome]:
    carrier = MailCarrier(compose, host)
    try:
        return [carrier.hand_over(REPORT, each, TOKEN) for each in deliveries or (delivery(),)]
    finally:
        carrier.close()


def test_the_message(host: MailHost, receiver: Receiver) -> None:
    first, second = hand_over(host, delivery(), delivery(place=1))
    assert first.result is second.result is Result.SENT
    envelope, again = receiver.got
    assert envelope.mail_from == "bounces@us.example"
    assert envelope.rcpt_tos == ["a@one.example"]
    message = content(envelope)
    assert message["Message-ID"] == "<abc123.0@us.example>"
    assert content(again)["Message-ID"] == "<abc123.1@us.example>"
    assert message["Date"] == "Fri, 02 Jan 1970 00:00:00 +0000"
    assert message["To"] == "a@one.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message[HANDOVER] == TOKEN
    text, attachment = message.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_filename() == "n.gz"
    assert attachment.get_content() == REPORT.payload


@pytest.mark.parametrize(
    ("where", "answer", "result"),
    [
        ("rcpt", "450 4.1.2 domain not found", Result.LATER),
        ("rcpt", "550 5.1.1 never", Result.REFUSED),
        ("rcpt", "556 5.1.10 null MX", Result.REFUSED),
    ],
)
def test_answers_about_the_destination(
    host: MailHost, receiver: Receiver, where: str, answer: str, result: Result
) -> None:
    setattr(receiver, where, answer)
    assert hand_over(host) == [Outcome(result, answer)]
    assert receiver.got == []


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("rcpt", "450 4.2.1 not now"),
        ("rcpt", "554 5.7.1 Relay access denied"),
        ("rcpt", "550 5.1.8 sender's domain not found"),
        ("rcpt", "550 no"),
        ("data", "452 4.3.1 full"),
        ("data", "554 5.7.1 no"),
    ],
)
def test_answers_about_this_host(host: MailHost, receiver: Receiver, where: str, answer: str) -> None:
    """Its administrator may mend it, and no destination is to blame."""
    setattr(receiver, where, answer)
    assert hand_over(host) == [Outcome(Result.LATER, answer, own=True)]
    assert receiver.got == []


def test_a_refusal_does_not_harm_the_next(host: MailHost, receiver: Receiver) -> None:
    carrier = MailCarrier(compose, host)
    receiver.rcpt = "550 5.1.1 never"
    assert carrier.hand_over(REPORT, delivery(), TOKEN).result is Result.REFUSED
    receiver.rcpt = "250 OK"
    receiver.break_at_data = True
    assert carrier.hand_over(REPORT, delivery(), TOKEN).result is Result.UNKNOWN
    receiver.break_at_data = False
    assert carrier.hand_over(REPORT, delivery(), TOKEN).result is Result.SENT
    carrier.close()


def test_nobody_there() -> None:
    port = free_port()
    (outcome,) = hand_over(MailHost("127.0.0.1", port))
    assert outcome.result is Result.LATER
    assert f"127.0.0.1:{port}" in outcome.text
    release_port(port)


def test_a_host_that_does_not_answer_is_not_asked_for_ever() -> None:
    """Thousands of reports would each wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        carrier = MailCarrier(compose, MailHost("127.0.0.1", silent.getsockname()[1], seconds=0.2))
        began = time.monotonic()
        outcomes = [carrier.hand_over(REPORT, delivery(), TOKEN) for _ in range(50)]
        assert time.monotonic() - began < 5.0
    assert {outcome.result for outcome in outcomes} == {Result.LATER}
    assert outcomes[-1].text.endswith("nobody answers there")


@pytest.mark.parametrize(
    ("destination", "address"),
    [
        ("mailto:a.b+c@One.example", "a.b+c@one.example"),
        ("MAILTO:a@bücher.example", "a@xn--bcher-kva.example"),
        ("mailto:a@localhost", ""),
        ("mailto:a@[192.0.2.1]", ""),
        ("mailto:a@192.0.2.1", ""),
        ("mailto:a", ""),
        ("mailto:@b.example", ""),
        ("mailto:a b@c.example", ""),
        ("mailto:a>@c.example", ""),
        ("mailto:a\r\nRCPT TO:<x@y.example>@c.example", ""),
        ("mailto:ä@c.example", ""),
        ("mailto:" + "a" * 65 + "@c.example", ""),
        ("mailto:a@" + "b" * 1000 + ".example", ""),
        ("https://a@c.example", ""),
    ],
)
def test_addresses(host: MailHost, receiver: Receiver, destination: str, address: str) -> None:
    assert usable_address(destination) == address
    if not address:
        assert hand_over(host, delivery(destination))[0].result is Result.REFUSED
        assert receiver.got == []


@pytest.mark.parametrize(
    "hostile", ["a\r\nBcc: x@y.example", "a\0b", "\x1b[31m", "ü" * 500, "a" * 10_000, "=?utf-8?q?a?="]
)
def test_no_header_can_be_injected(hostile: str) -> None:
    made: Callable[..., EmailMessage] = letter
    message = made(
        sender="r@us.example", subject=hostile, text="x\n", attachment=b"", media_type="a/b", filename=hostile
    )
    set_fields(message, [("X-Other", hostile)])
    data = finished(message, REPORT, 0, "a@one.example").as_bytes(policy=WIRE)
    head = data.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    ours = b"From Subject MIME-Version Content-Type X-Other To Date Message-ID Auto-Submitted"
    assert sorted(names) == sorted(ours.split())
    assert data.isascii()
    assert max(len(line) for line in data.split(b"\r\n")) <= 998  # RFC 5322 §2.1.1
    assert b"\x1b" not in data
    assert b"\0" not in data


def test_clean() -> None:
    assert clean(" a\r\n b\tc ") == "a  b c"
    assert clean("x" * 1000, 10) == "x" * 10


def test_a_long_subject_stays_as_it_is() -> None:
    """Folding would turn long names into encoded words, and no receiver would know the subject any more."""
    domain = ".".join(["a" * 60] * 4)
    message = letter(
        sender="r@us.example",
        subject=f"Report Domain: {domain}",
        text="",
        attachment=b"",
        media_type="a/b",
        filename="f",
    )
    assert f"Subject: Report Domain: {domain}\r\n".encode() in message.as_bytes(policy=WIRE)


def test_multipart_report() -> None:
    message = letter(
        sender="r@us.example",
        subject="s",
        text="x\n",
        attachment=b"a",
        media_type="application/tlsrpt+gzip",
        filename="f",
        report_type="tlsrpt",
    )
    parsed = email.message_from_bytes(message.as_bytes(policy=WIRE), policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "tlsrpt"
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "application/tlsrpt+gzip"]
