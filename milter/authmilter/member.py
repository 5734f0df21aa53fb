"""A worker as its parent sees it.

Diagnostics: nothing raises.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(slots=True)
class Member:
    """`control`: the writing end of its pipe, not blocking. `pulse`: a socket, not blocking, on which it sends back
    what it gets.
    """

    pid: int
    control: int
    pulse: socket.socket
    started: float
    place: int  # 0 ..., of no other worker that runs
    missed: int = -1  # rounds of `Pulse` in a row without an answer; -1: it was not asked yet
    unsaid: bytes = b""  # settings for which there was no room in the pipe yet

    def hand_over(self) -> None:
        """Write as much as goes without waiting: a worker that hangs must not hold the parent up."""
        try:
            while self.unsaid:
                self.unsaid = self.unsaid[os.write(self.control, self.unsaid) :]
        except BlockingIOError:
            pass
        except OSError:  # it died a moment ago and is about to be replaced
            self.unsaid = b""
