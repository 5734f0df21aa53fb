"""A pymilter that does nothing: the most that a milter in Python can do on this machine.

    python -m bench.noop_milter SOCKET PROCESSES

It asks for every event that a milter of our kind asks for, with the body, as bytes, and only the end of the message
is answered. The listening socket is opened before the processes are forked, so that they share it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import Milter

milter: Any = Milter.milter  # the extension; type checkers would take the folder of that name for it


class Noop(Milter.Base):  # type: ignore[misc]  # pymilter has no types
    """One connection."""

    @Milter.noreply
    def connect(self, name: str, family: int, address: Any) -> int:  # noqa: ARG002 - the signature is pymilter's
        return int(Milter.CONTINUE)

    @Milter.noreply
    def hello(self, name: str) -> int:  # noqa: ARG002 - as above
        return int(Milter.CONTINUE)

    @Milter.noreply
    @Milter.decode("bytes")
    def envfrom(self, sender: bytes, *parameters: bytes) -> int:  # noqa: ARG002 - as above
        return int(Milter.CONTINUE)

    @Milter.noreply
    @Milter.decode("bytes")
    def envrcpt(self, recipient: bytes, *parameters: bytes) -> int:  # noqa: ARG002 - as above
        return int(Milter.CONTINUE)

    @Milter.noreply
    @Milter.decode("bytes")
    def header(self, name: str, value: bytes) -> int:  # noqa: ARG002 - as above
        return int(Milter.CONTINUE)

    @Milter.noreply
    def eoh(self) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def body(self, chunk: bytes) -> int:  # noqa: ARG002 - as above
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        return int(Milter.CONTINUE)


def main(socket: str, processes: int) -> None:
    """Serve until SIGTERM."""
    Milter.factory = Noop
    milter.set_connect_callback(Milter.connect_callback)
    milter.set_helo_callback(lambda ctx, name: ctx.getpriv().hello(name))
    milter.set_envfrom_callback(lambda ctx, *words: ctx.getpriv().envfrom_bytes(*words))
    milter.set_envrcpt_callback(lambda ctx, *words: ctx.getpriv().envrcpt_bytes(*words))
    milter.set_header_callback(lambda ctx, name, value: ctx.getpriv().header_bytes(name, value))
    milter.set_eoh_callback(lambda ctx: ctx.getpriv().eoh())
    milter.set_body_callback(lambda ctx, chunk: ctx.getpriv().body(chunk))
    milter.set_eom_callback(lambda ctx: ctx.getpriv().eom())
    milter.set_close_callback(Milter.close_callback)
    milter.setbacklog(512)
    milter.setconn(f"unix:{socket}")
    milter.register("noop", negotiate=Milter.negotiate_callback)
    milter.opensocket(True)
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            milter.main()
            os._exit(0)
        children.append(pid)

    def stop(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
