"""Messages as packets of the milter protocol, in the order and form in which Postfix sends them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from authmilter.facts import HeaderField
from bench.domains import Host

_CHUNK = 65535  # octets of body per packet
_ME = "mx.bench.example"


@dataclass(frozen=True, slots=True)
class Envelope:
    client: Host
    sender: str
    recipient: str
    queue_id: str


def _packet(command: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data) + 1) + command + data


def _strings(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


def _macros(command: bytes, *pairs: str) -> bytes:
    return _packet(b"D", command + _strings(*pairs))


def connection(client: Host) -> bytes:
    """The packets of a new connection, HELO included."""
    named = f"{client.name} [{client.ip}]"
    daemon = ("{daemon_name}", _ME, "{daemon_addr}", "192.0.2.250", "v", "Postfix 3.7.11")
    address = struct.pack(">H", 40000 + int(ipaddress.ip_address(client.ip)) % 20000)
    return b"".join(
        (
            _macros(b"C", "j", _ME, *daemon, "_", named),
            _packet(b"C", _strings(client.name) + b"4" + address + _strings(client.ip)),
            _macros(b"H"),
            _packet(b"H", _strings(client.name)),
        )
    )


def _mail(envelope: Envelope, size: int) -> bytes:
    sender, recipient = envelope.sender, envelope.recipient
    host = sender.rpartition("@")[2]
    return b"".join(
        (
            _macros(b"M", "{mail_addr}", sender, "{mail_host}", host, "{mail_mailer}", "smtp"),
            _packet(b"M", _strings(f"<{sender}>", f"SIZE={size}", "BODY=8BITMIME")),
            _macros(b"R", "{rcpt_addr}", recipient, "{rcpt_host}", "", "{rcpt_mailer}", "local"),
            _packet(b"R", _strings(f"<{recipient}>", "ORCPT=rfc822;" + recipient)),
            _macros(b"T", "i", envelope.queue_id),
            _packet(b"T"),
        )
    )


def message(envelope: Envelope, fields: Sequence[HeaderField], body: bytes) -> bytes:
    """The packets of one message, from the macros of MAIL to the end of the message."""
    parts = [_mail(envelope, len(body) + sum(len(field.name) + len(field.value) for field in fields))]
    # a fold reaches a filter as LF
    parts += [_packet(b"L", field.name + b"\0" + field.value.replace(b"\r\n", b"\n") + b"\0") for field in fields]
    parts += [_macros(b"N", "i", envelope.queue_id), _packet(b"N")]
    parts += [_packet(b"B", body[start : start + _CHUNK]) for start in range(0, len(body), _CHUNK)]
    parts += [_macros(b"E", "i", envelope.queue_id), _packet(b"E")]
    return b"".join(parts)
