"""What is asked of a machine from outside, in its network: mail from a stranger. Prints JSON.

python -m tests.package.client send SENDER             one message to alice@home.example: [code, text]
python -m tests.package.client page URL                what is there
python -m tests.package.client stream SENDER SECONDS   one after the other: [[seconds, code], ...]
"""

from __future__ import annotations

import json
import smtplib
import sys
import threading
import time
import urllib.request

SERVER = "192.0.2.10"
RECIPIENT = "alice@home.example"


def send(sender: str) -> tuple[int, str]:
    """The reply that settled one message, 0 if there was no server."""
    header = {
        "From": f"<{sender}>",
        "To": f"<{RECIPIENT}>",
        "Subject": "try",
        "Message-ID": f"<{time.time()}@x.example>",
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in header.items()) + "\r\nhello\r\n"
    try:
        with smtplib.SMTP(SERVER, 25, "mail.good.example", 60.0, (SERVER, 0)) as client:
            client.ehlo()
            code, reply = client.mail(sender)
            if code < 400:
                code, reply = client.rcpt(RECIPIENT)
            if code < 400:
                code, reply = client.data(text)
            return code, reply.decode("latin-1")
    except smtplib.SMTPDataError as refusal:
        return refusal.smtp_code, str(refusal.smtp_error)
    except OSError as fault:
        return 0, str(fault)


def page(url: str) -> str:
    """What a web server in the machine answers."""
    with urllib.request.urlopen(url, timeout=30.0) as answer:
        return str(answer.read().decode())


def stream(sender: str, seconds: float) -> list[tuple[float, int]]:
    """When and how each message was answered."""
    begun = time.monotonic()
    answers = []
    while (now := time.monotonic() - begun) < seconds:
        answers.append((round(now, 2), send(sender)[0]))
        time.sleep(0.1)  # a steady trickle
    return answers


def trickle(sender: str) -> list[tuple[float, int]]:
    """When and how each message was answered, one after the other until standard input ends."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    begun = time.monotonic()
    answers = []
    while not ended.wait(0.1):
        now = time.monotonic() - begun
        answers.append((round(now, 2), send(sender)[0]))
    return answers


if __name__ == "__main__":
    _, function, *arguments = sys.argv
    calls = {"send": send, "page": page, "trickle": trickle}
    print(json.dumps(calls[function](*arguments) if function in calls else stream(arguments[0], float(arguments[1]))))
