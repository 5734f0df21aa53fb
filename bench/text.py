"""Headers and bodies that look like mail: fields of transport and of bulk mail, MIME parts, long lines, base64."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

from authmilter.facts import HeaderField

_TEXT = """
account agenda amount answer april archive attached balance before board booking branch budget calendar change
client comment concert contract customer date deadline delivery department detail discount document draft error
estimate evening figure final following garden history house invoice january journal kind label later letter machine
market meeting member message minute morning network notice number office offer order package page payment please
point price process project question quarter reason receipt record reminder reply report request room sales schedule
season second service session shipment signature station status summer summary supplier table team thank ticket
today tomorrow total travel update version visit weather website week window winter
"""
_WORDS = _TEXT.split()
_CRLF = b"\r\n"


def field(name: str, value: str) -> HeaderField:
    """A header field; folds in `value` are CRLF and blank."""
    return HeaderField(name.encode(), b" " + value.encode())


def words(rng: random.Random, count: int) -> str:
    """Some words with a blank between them."""
    return " ".join(rng.choices(_WORDS, k=count))


def _prose(rng: random.Random, size: int) -> bytes:
    """Lines of 50 to 76 octets, paragraphs, quoted lines, and now and then two blanks or one at the end."""
    lines: list[bytes] = []
    total = 0
    while total < size:
        line = words(rng, rng.randint(7, 10))[:76].encode()
        kind = rng.random()
        if kind < 0.08:
            line = b""
        elif kind < 0.16:
            line = b"> " + line[:70]
        elif kind < 0.22:
            line = line.replace(b" ", b"  ", 1) + b" "
        lines.append(line)
        total += len(line) + 2
    return _CRLF.join(lines) + _CRLF


def _html(rng: random.Random, size: int) -> bytes:
    """Markup with lines of 100 to 900 octets."""
    lines = [b'<!DOCTYPE html><html><head><meta charset="utf-8"><style>td { padding: 4px }</style></head><body><table>']
    total = len(lines[0])
    while total < size:
        cells = "".join(
            f'<td align="left" style="font-family: sans-serif; font-size: {rng.randint(9, 20)}px; color: '
            f'#{rng.randrange(1 << 24):06x}">{words(rng, rng.randint(3, 12))}</td>'
            for _ in range(rng.randint(1, 5))
        )
        line = f"<tr>{cells}</tr>"[:900].encode()
        lines.append(line)
        total += len(line) + 2
    lines.append(b"</table></body></html>")
    return _CRLF.join(lines) + _CRLF


def base64_lines(data: bytes) -> bytes:
    """`data` in base64 with lines of 76 octets and CRLF."""
    return base64.encodebytes(data).replace(b"\n", _CRLF)


def body(rng: random.Random, size: int) -> tuple[str, bytes]:
    """Give a Content-Type and a body of about `size` octets."""
    kind = rng.random()
    if kind < 0.2:
        return "text/plain; charset=utf-8", _prose(rng, size)
    boundary = f"----=_Part_{rng.randrange(10**9)}"
    mark = f"--{boundary}".encode()
    attached = kind > 0.7
    plain, markup = (size // 8, size // 3) if attached else (size // 4, size * 3 // 4)
    parts = [
        b"Content-Type: text/plain; charset=utf-8" + _CRLF * 2 + _prose(rng, plain),
        b"Content-Type: text/html; charset=utf-8" + _CRLF * 2 + _html(rng, markup),
    ]
    if attached:
        head = b'Content-Type: application/pdf; name="document.pdf"' + _CRLF + b"Content-Transfer-Encoding: base64"
        parts.append(head + _CRLF * 2 + base64_lines(rng.randbytes((size - plain - markup) * 73 // 100)))
    text = b"".join(mark + _CRLF + part + _CRLF for part in parts) + mark + b"--" + _CRLF
    return f'multipart/{"mixed" if attached else "alternative"};\r\n\tboundary="{boundary}"', text


def received(rng: random.Random, domain: str, stamp: str) -> Iterator[HeaderField]:
    """One to four Received fields."""
    for hop in range(rng.randint(1, 4)):
        yield field(
            "Received",
            f"from app{hop}.{domain} (app{hop}.{domain} [10.{rng.randrange(256)}.{rng.randrange(256)}.7])\r\n"
            f"\tby relay{hop}.{domain} (Postfix) with ESMTPS id 4{rng.randrange(10**9):X}\r\n"
            f"\tfor <user@receiver.example>; {stamp}",
        )


def optional_fields(rng: random.Random, domain: str) -> list[HeaderField]:
    """Fields that a message may have, in random order."""
    token = f"{rng.randrange(1 << 64):016x}"
    fields = [
        ("Reply-To", f"<reply-{token[:6]}@{domain}>"),
        ("List-Unsubscribe", f"<mailto:leave-{token}@{domain}>,\r\n <https://www.{domain}/leave?u={token}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Id", f"{words(rng, 2)} <{token[:4]}.list.{domain}>"),
        ("Precedence", "bulk"),
        ("X-Mailer", f"Mailer {rng.randint(1, 9)}.{rng.randint(0, 20)}"),
        ("Feedback-ID", f"{token}:{token[:5]}:news"),
        ("X-Campaign", f"{token[:8]}; {words(rng, 6)}"),
        ("References", "\r\n ".join(f"<{rng.randrange(1 << 60):x}@{domain}>" for _ in range(rng.randint(1, 6)))),
        ("In-Reply-To", f"<{rng.randrange(1 << 60):x}@{domain}>"),
        ("Thread-Index", base64.b64encode(rng.randbytes(22)).decode()),
        ("Content-Language", "en"),
        ("Importance", "normal"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Entity-Ref-ID", token),
        ("Organization", words(rng, 3)),
    ]
    rng.shuffle(fields)
    return [field(name, value) for name, value in fields]
